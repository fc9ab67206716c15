"""Log records on standard error: a line each, for people or as JSON for programs."""

import logging
import warnings

from pythonjsonlogger.json import JsonFormatter

from vimfed.settings import LogSettings

_NOISY = (
    "aiokafka",
    "oslo.messaging",
    "oslo_service",
    "amqp",
    "kafka",
    "aiohttp.access",
    "faust",
    "mode",
)
"""Libraries that log every poll below WARNING; producing those records costs more than our work."""


def configure_logging(log: LogSettings, process: str) -> None:
    """Send log records to standard error as ``log`` says; ``process`` names this one in each."""
    handler = logging.StreamHandler()
    if log.format == "json":
        formatter: logging.Formatter = JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"process": process},
        )
    else:
        formatter = logging.Formatter(f"%(asctime)s {process} %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(formatter)
    logging.basicConfig(level=log.level, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # oslo.messaging imports eventlet, whichever executor is used, and nobody can do about it.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
