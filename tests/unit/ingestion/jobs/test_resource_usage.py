import ctypes
import subprocess
import sys

import numpy as np
import psutil
import pytest

from ingestion.jobs.resource_usage import ResourceMonitor, return_freed_memory

# Uses 100 MB and some processor time, says so, and ends with its input.
CHILD = """
import sys
held = b"x" * 100_000_000
sum(range(5_000_000))
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_running_child_adds_its_memory_and_an_ended_one_its_processor_time() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        monitor, alone = ResourceMonitor(lambda: [child.pid]), ResourceMonitor()
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        monitor.sample()
        alone.sample()
    own = alone.peak_memory

    assert 100_000_000 < monitor.peak_memory - own < 130_000_000
    assert monitor.cpu_seconds > 0.05


def test_a_child_that_has_ended_has_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass

    monitor = ResourceMonitor(lambda: [child.pid])

    assert monitor.peak_memory < 2 * ResourceMonitor().peak_memory


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps what is freed")
def test_freed_memory_between_used_blocks_goes_back_to_the_system() -> None:
    used = [np.ones(8_000) for _ in range(2_000)]  # 128 MB in blocks that are too small for a mapping each
    used = used[::20]
    before = psutil.Process().memory_info().rss

    return_freed_memory()

    assert before - psutil.Process().memory_info().rss > 80_000_000
    assert len(used) == 100
