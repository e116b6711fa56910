"""Asking twelve models at once, in a fresh process, beside the slowest of them.

``python -m benchmarks.preflight URL`` is that process: it prints seconds of the preflight and of
the slowest answer. The command is ``synccr models``, from its start to its end.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure, median_of
from benchmarks.home import Home, config
from benchmarks.pairs import median_ratio
from benchmarks.scale import Scale
from benchmarks.stage import Stage
from benchmarks.wire import KEY

_MODELS = tuple(f"vendor/slow-{number}" for number in range(12))
_LATENCY = 1.0
"""Seconds that each model takes."""

COLD = 1.15
"""Target: all twelve in relation to the slowest."""
COMMAND = 1.25
"""Target: the command in relation to the slowest."""


def preflight(stage: Stage, scale: Scale) -> Iterator[Figure]:
    """Cold: nothing imported, nothing known."""
    for model in _MODELS:
        stage.provider.set(model, {"delay": _LATENCY})
    command = [sys.executable, "-m", "benchmarks.preflight", stage.provider.url]
    pairs = [_milliseconds(command) for _ in range(-1, scale.runs)][1:]
    yield _figure("cold preflight of 12 models", pairs, COLD)
    with stage.home() as home:
        for name in ("ccr-config", "ccr-config-fallback"):
            document = config(stage.provider.url, home.port, *_MODELS)
            home.write(home.paths.config / f"{name}.json", document)
        pairs = [_command(home) for _ in range(-1, scale.runs)][1:]
    yield _figure("synccr models of 12 models", pairs, COMMAND)


def _figure(what: str, pairs: Sequence[tuple[float, float]], target: float) -> Figure:
    took, slowest = zip(*pairs, strict=True)
    return median_of(
        what,
        took,
        slowest,
        unit="ms",
        judged=median_ratio(took, slowest),
        target=target,
        note="bare: the slowest answer",
    )


def _milliseconds(command: Sequence[str]) -> tuple[float, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    took, slowest = json.loads(done.stdout)
    return 1000 * took, 1000 * slowest


def _command(home: Home) -> tuple[float, float]:
    """Milliseconds of ``synccr models``, and of the slowest answer in it."""
    command = (sys.executable, "-m", "synccr", "models", "--fresh", "--json")
    began = time.perf_counter()
    done = subprocess.run(command, env=home.environ, stdout=subprocess.PIPE, check=True)
    took = 1000 * (time.perf_counter() - began)
    return took, max(row["latency_ms"] for row in json.loads(done.stdout)["models"])


async def _ask(url: str) -> None:
    from synccr.config.profile import Provider
    from synccr.probe.preflight_run import preflight as ask
    from synccr.probe.record import ModelRecord
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
    print(json.dumps([ended - asked, slowest]))


if __name__ == "__main__":
    asyncio.run(_ask(sys.argv[1]))
