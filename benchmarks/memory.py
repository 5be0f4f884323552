"""Peak memory of this process."""

import resource
from pathlib import Path


def peak_memory() -> int:
    """The peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    # Bytes on macOS, where there is no /proc.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
