"""What the system tells of a process."""

from __future__ import annotations

from pathlib import Path

import psutil


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of all threads; in nanoseconds where the system counts those (Linux), for
    the usual ticks of 10 ms are too coarse."""
    tasks = Path(f"/proc/{process.pid}/task")
    try:
        return sum(int((t / "schedstat").read_text().split()[0]) for t in tasks.iterdir()) / 1e9
    except (OSError, IndexError):
        times = process.cpu_times()
        return float(times.user + times.system)
