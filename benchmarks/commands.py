"""Commands that people and status lines call again and again, beside CCR 2's own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure, median_of
from benchmarks.home import Home
from benchmarks.pairs import median_ratio
from benchmarks.scale import Scale
from benchmarks.stage import Stage

QUICK_COMMAND = 0.25
"""Target: time in relation to CCR's command."""
_TIMES = 3
"""For each run: they are short."""


def commands(stage: Stage, scale: Scale) -> Iterator[Figure]:
    """``status`` of what runs, and ``--help``, in turns."""
    with stage.synccr() as ours, stage.bare() as theirs:
        ccr = stage.package.command[:-1]
        synccr = (sys.executable, "-m", "synccr")
        for what, mine, other in (("status", "status", "status"), ("--help", "--help", "-h")):
            times: tuple[list[float], list[float]] = ([], [])
            for turn in range(-1, _TIMES * scale.runs):
                pair = (_run(ours.home, (*synccr, mine)), _run(theirs.home, (*ccr, other)))
                if turn >= 0:
                    for values, value in zip(times, pair, strict=True):
                        values.append(value)
            yield median_of(
                what,
                *times,
                unit="ms",
                judged=median_ratio(*times),
                target=QUICK_COMMAND,
                note=f"bare: ccr {other}",
            )


def _run(home: Home, command: Sequence[str]) -> float:
    """Milliseconds of a command that succeeds."""
    began = time.perf_counter()
    subprocess.run(command, env=home.environ, check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - began)
