"""Asking twelve models at once, in a fresh process, beside the slowest of them.

``python -m benchmarks.preflight URL`` is that process: it prints seconds of the preflight, of
the slowest answer, and of everything since Python was up.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, median_of
from benchmarks.pairs import median_ratio
from benchmarks.scale import Scale
from benchmarks.stage import KEY, Stage

_MODELS = tuple(f"vendor/slow-{number}" for number in range(12))
_LATENCY = 1.0
"""Seconds that each model takes."""

COLD = 1.15
"""Target: all twelve in relation to the slowest."""


def preflight(stage: Stage, scale: Scale) -> Iterator[Figure]:
    """Cold: nothing imported, nothing known."""
    for model in _MODELS:
        stage.provider.set(model, {"delay": _LATENCY})
    command = [sys.executable, "-m", "benchmarks.preflight", stage.provider.url]
    took: list[float] = []
    slowest: list[float] = []
    process: list[float] = []
    for turn in range(-1, scale.runs):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        if turn >= 0:
            for values, value in zip(
                (took, slowest, process), json.loads(done.stdout), strict=True
            ):
                values.append(1000 * value)
    yield median_of(
        "cold preflight of 12 models",
        took,
        slowest,
        unit="ms",
        judged=median_ratio(took, slowest),
        target=COLD,
        note="bare: the slowest answer; loading the HTTP client is in the time",
    )
    yield median_of("the same, from the start of Python", process, slowest, unit="ms")


async def _ask(url: str, began: float) -> None:
    from synccr.config.profile import Provider
    from synccr.probe.record import ModelRecord
    from synccr.probe.run import preflight as ask
    from synccr.settings import Settings

    provider = Provider(name="acme", url=url, key=KEY, models=_MODELS)
    nothing = ModelRecord(Path("/nonexistent/models.json"), max_age=0)
    asked = time.perf_counter()
    result = await ask(
        [(provider, model) for model in _MODELS], settings=Settings(), record=nothing
    )
    ended = time.perf_counter()
    reports = result.reports.values()
    assert all(report.status == "ok" for report in reports), reports
    slowest = max(report.latency_ms or 0 for report in reports) / 1000
    print(json.dumps([ended - asked, slowest, ended - began]))


if __name__ == "__main__":
    asyncio.run(_ask(sys.argv[1], time.perf_counter()))
