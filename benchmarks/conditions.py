"""What a figure depends on besides the code."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.stage import Stage
from synccr import __version__


def conditions(stages: Sequence[Stage]) -> dict[str, Any]:
    """The machine and the programs."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if os.name == "posix" else 0
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "python": platform.python_version(),
        "ccr": ", ".join(f"{one.version} on Node {one.node.version}" for one in stages),
        "synccr": __version__,
        "load_before": load(),
    }


def load() -> list[float]:
    """The load averages; what else the machine does is the largest source of noise."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else []


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
