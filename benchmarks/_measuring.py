"""What benchmarks read off processes and disks."""

from pathlib import Path

import psutil

from vimfed.local.kafka import LocalKafka


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has taken until now."""
    return sum(psutil.Process(pid).cpu_times()[:2])


def bytes_under(folder: Path, pattern: str) -> int:
    """Return the size of the files below a folder whose names match."""
    return sum(each.stat().st_size for each in folder.rglob(pattern) if each.is_file())


def topic_bytes(kafka: LocalKafka, topic: str, partitions: int) -> int:
    """Return the size of a topic's records as the broker keeps them."""
    folder = kafka.data_dir / "data"
    return sum(bytes_under(folder / f"{topic}-{each}", "*.log") for each in range(partitions))
