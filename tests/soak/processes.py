"""The memory and the open files of processes, sampled while they run."""

import threading
import time
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import NamedTuple, Self

import psutil

from vimfed.local.child import Child

EVERY = 3.0
"""Seconds between two samples."""


class Sample(NamedTuple):
    """What one process held at a moment."""

    at: float
    """Monotonic."""
    pid: int
    resident: float
    """MB."""
    handles: int


class Sampler:
    """Samples children in a thread."""

    def __init__(self, children: Mapping[str, Child]) -> None:
        self.samples: dict[str, list[Sample]] = {name: [] for name in children}
        self._children = children
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(EVERY):
            for name, samples in self.samples.items():
                try:
                    process = psutil.Process(self._children[name].pid)
                    resident = process.memory_info().rss / 1e6
                    samples.append(
                        Sample(time.monotonic(), process.pid, resident, process.num_fds())
                    )
                except psutil.NoSuchProcess:
                    continue  # it was killed just now


def slope_per_minute(samples: Sequence[Sample], values: Sequence[float]) -> float:
    """Return by how much values grow in a minute: the line that fits them best."""
    times = [sample.at / 60 for sample in samples]
    middle, average = mean(times), mean(values)
    spread = sum((at - middle) ** 2 for at in times)
    if not spread:
        return 0.0
    covariance = sum(
        (at - middle) * (value - average) for at, value in zip(times, values, strict=True)
    )
    return covariance / spread
