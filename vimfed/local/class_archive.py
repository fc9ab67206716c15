"""Kafka's classes as Java loads them soonest: its class-data sharing.

An archive of the classes that a broker has loaded takes a quarter off the work of a start. To make
it takes as long as two starts, so that is for who starts many: the tests. Java itself looks whether
an archive is of this Java and of these jars, and does without it where it is not.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def archive_of(jars: Path, java: str, version: str) -> Path:
    """Return where the archive lies, whether or not it is there: beside the jars.

    ``version`` is what this ``java`` tells of itself; another Java's archive has another name, as
    has that of jars that were elsewhere when it was made.
    """
    told = "\n".join((str(jars.absolute()), str(Path(java).resolve()), version))
    digest = hashlib.sha256(told.encode()).hexdigest()
    return jars.with_name(f"{jars.name}-classes-{digest[:12]}.jsa")


def reading_options(archive: Path) -> tuple[str, ...]:
    """Return Java's options that read the archive, without a word where it does not fit."""
    if not archive.exists():
        return ()
    return (f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", "-Xlog:cds*=off")


def writing_options(archive: Path) -> tuple[str, ...]:
    """Return Java's options that write what it has loaded when it ends."""
    return (f"-XX:ArchiveClassesAtExit={archive}", "-Xlog:cds*=off")


def make_archive(archive: Path, run_broker: Callable[[Path], None]) -> bool:
    """Make the archive where it is missing; return whether it is there.

    ``run_broker`` runs a broker from its start to its end, and has it write to the path that it is
    given. Two processes may be at it: each writes its own, and the last one stays.
    """
    if archive.exists():
        return True
    fresh = archive.with_name(f"{archive.name}.{os.getpid()}")
    try:
        run_broker(fresh)
        with suppress(OSError):  # Java has written none, or the cache cannot be written
            fresh.replace(archive)
    finally:
        with suppress(OSError):
            fresh.unlink()
    return archive.exists()
