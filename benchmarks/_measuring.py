"""What benchmarks read off processes and disks."""

from pathlib import Path

import psutil

from vimfed.local.kafka import LocalKafka


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and those that it started have taken until now."""
    process = psutil.Process(pid)
    family = (process, *process.children(recursive=True))
    return sum(sum(each.cpu_times()[:2]) for each in family)


def bytes_under(folder: Path, pattern: str) -> int:
    """Return the size of the files below a folder whose names match."""
    return sum(each.stat().st_size for each in folder.rglob(pattern) if each.is_file())


def topic_bytes(kafka: LocalKafka, topic: str, partitions: int) -> int:
    """Return the size of a topic's records as the broker keeps them."""
    folder = kafka.data_dir / "data"
    return sum(bytes_under(folder / f"{topic}-{each}", "*.log") for each in range(partitions))
