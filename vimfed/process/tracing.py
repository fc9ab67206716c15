"""Whether a process takes part in traces; without, nothing of OpenTelemetry is imported."""

from typing import TYPE_CHECKING

from vimfed.errors import UsageError
from vimfed.settings import TracingSettings

if TYPE_CHECKING:
    from vimfed.process.spans import Tracing


def started_tracing(settings: TracingSettings, service: str) -> "Tracing | None":
    """Return how a process tells of traces, as ``service``; None where it does not.

    Raises UsageError where the packages for it are not installed.
    """
    if not settings.enabled:
        return None
    try:
        from vimfed.process.spans import Tracing
    except ModuleNotFoundError as error:
        raise UsageError(
            f"tracing.enabled needs packages that are not installed ({error.name}): "
            "pip install 'vim-event-federation[tracing]'"
        ) from None
    return Tracing(settings.sample_ratio, service)
