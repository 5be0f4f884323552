"""What a run costs: CPU seconds and memory of this process, with its threads."""

import time

import psutil


class Meter:
    """Measures from its making on.

    Memory is sampled: a peak between two samples is not seen, one that lasts is.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._started = time.monotonic()
        self._cpu_before = self._cpu()
        self.peak_memory = 0
        self.sample()

    def sample(self) -> None:
        self.peak_memory = max(self.peak_memory, self._process.memory_info().rss)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def cpu_seconds(self) -> float:
        return self._cpu() - self._cpu_before

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system
