"""What a process writes is for its own user: rows of all clouds, logs, a Kafka's data."""

import logging
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

LOG = logging.getLogger(__name__)

_OTHERS = 0o077


def keep_files_private(state_dir: Path) -> None:
    """Let nobody else read what this process and its children write; warn of what others read now.

    Files get mode 0600, folders 0700, also those that RocksDB, Java and the like make.
    """
    os.umask(_OTHERS)
    for folder in _readable_by_others(state_dir):
        LOG.warning(
            "state_dir: others may read %s, which holds rows or logs: chmod -R go= %s",
            folder,
            shlex.quote(str(folder)),
        )


def _readable_by_others(state_dir: Path) -> Iterator[Path]:
    """Yield the folders of ours that others may read.

    Not one in a folder that is closed; a volume is often the system's, and only what we made in it
    can be closed by us.
    """
    if not _is_open(state_dir):
        return
    if state_dir.stat().st_uid == os.geteuid():
        yield state_dir
        return
    for folder in sorted(state_dir.iterdir()):
        if folder.is_dir() and _is_open(folder) and folder.stat().st_uid == os.geteuid():
            yield folder


def _is_open(folder: Path) -> bool:
    return folder.is_dir() and bool(folder.stat().st_mode & _OTHERS)
