"""A fresh data directory of the local Kafka, formatted once per cache and not per broker."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_FILES = ("bootstrap.checkpoint", "meta.properties")
"""All that Kafka's format writes; the last one says that the directory is formatted."""


def is_formatted(data: Path) -> bool:
    """Return whether Kafka finds a formatted directory at ``data``."""
    return (data / _FILES[-1]).exists()


def format_as(template: Path, data: Path, run_format: Callable[[], None]) -> None:
    """Format ``data`` as ``template`` is; where that is not there, run Kafka's format and keep it.

    ``run_format`` formats ``data`` with a JVM of its own, which takes seconds. The two files tell
    the version, node and cluster, and nothing of ports, paths or topics: what several brokers of
    one version, node and cluster id may share, each for itself. A template that cannot be written
    is made by the next broker. Raises what ``run_format`` raises, and OSError.
    """
    if is_formatted(template):
        data.mkdir(parents=True, exist_ok=True)
        _copy(template, data)
        return
    run_format()
    with suppress(OSError):  # another process was faster, or the cache cannot be written
        _keep(data, template)


def _keep(data: Path, template: Path) -> None:
    fresh = Path(tempfile.mkdtemp(prefix="kafka-", dir=template.parent))
    try:
        _copy(data, fresh)
        fresh.rename(template)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    for name in _FILES:
        shutil.copyfile(source / name, target / name)
