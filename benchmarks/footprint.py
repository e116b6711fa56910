"""What the supervisor takes while it does nothing, beside what npx keeps; and what CCR takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import psutil

from benchmarks.bare import Bare
from benchmarks.cost import load
from benchmarks.figures import Figure
from benchmarks.held import held
from benchmarks.home import MAIN, Home, config, healthy, until
from benchmarks.latency import Task
from benchmarks.processes import cpu_seconds
from benchmarks.scale import Scale
from benchmarks.stage import Stage, Synccr
from benchmarks.wire import KEY

_MEMORY = 40
"""Target: MB of the supervisor."""
_STREAM = 0.04
"""Target: MB for each answer that is under way."""
_SETTLE = 2.0
"""Seconds after which a process that has just started is idle."""


def footprint(stage: Stage, scale: Scale) -> Iterator[Figure]:
    """Memory after start, after load and with many streams under way, and CPU while idle."""
    with (
        stage.home() as home,
        stage.bare() as bare,
        stage.synccr(Providers=_providers(stage)) as synccr,
        load() as generator,
    ):
        npx = _npx(stage, home)
        supervisor = psutil.Process(synccr.pid)
        yield from _memory("started", supervisor, npx)
        yield from _ccr("started", synccr, bare)
        time.sleep(_SETTLE)
        yield _idle(supervisor, npx, scale.idle)
        for port in (synccr.port, bare.port):
            for fresh in (False, True):
                generator.run(Task(port, "message", scale.clients, fresh, scale.requests))
        when = f"after {2 * scale.requests} requests"
        yield from _memory(when, supervisor, None)
        yield from _ccr(when, synccr, bare)
    yield _streams(stage, scale.streams)


def _ccr(when: str, synccr: Synccr, bare: Bare) -> Iterator[Figure]:
    """Of each of CCR's processes."""
    theirs = bare.processes()
    for name, process in synccr.processes().items():
        mine, other = (_mb(one.memory_info().rss) for one in (process, theirs[name]))
        yield Figure(f"memory of CCR ({name}), {when}: RSS", mine, other, "MB")


def _streams(stage: Stage, count: int) -> Figure:
    """Of a fresh supervisor whose answers have begun and do not end; beside what CCR takes."""
    with stage.synccr() as synccr:
        processes = [psutil.Process(synccr.pid), *synccr.processes().values()]
        before = [p.memory_info().rss for p in processes]
        stage.provider.set(MAIN, "stall")
        with held(synccr.port, count):
            after = [p.memory_info().rss for p in processes]
        stage.provider.set(MAIN, "ok")
    kilobytes = [(b - a) / count / 1000 for a, b in zip(before, after, strict=True)]
    return Figure(
        f"memory of the supervisor, {count} streams under way: RSS",
        _mb(after[0]),
        unit="MB",
        target=_MEMORY + _STREAM * count,
        note=f"{kilobytes[0]:.3g} KB for each; its CCR {sum(kilobytes[1:]):.3g} KB for each",
    )


def _providers(stage: Stage) -> list[dict[str, object]]:
    """Of these one speaks TLS, as real ones do: certificates take memory."""
    closed = {
        "name": "tls",
        "api_base_url": "https://127.0.0.1:9/v1/chat/completions",
        "api_key": KEY,
        "models": ["unreachable"],
    }
    return [*config(stage.provider.url, 0, MAIN)["Providers"], closed]


def _npx(stage: Stage, home: Home) -> psutil.Process | None:
    """What people run without synccr; the process that stays above CCR. None without npx, and
    for CCR 3, which npx cannot bring where its registry lacks two packages."""
    if not stage.node.npx or stage.apart:
        return None
    home.write(home.paths.ccr_config, config(stage.provider.url, home.port, MAIN))
    package = f"@musistudio/claude-code-router@{stage.version}"
    child = home.spawn(*stage.node.npx, "--yes", f"--package={package}", "--", "ccr", "start")
    until(lambda: healthy(home.port))
    return psutil.Process(child.pid)


def _memory(when: str, ours: psutil.Process, theirs: psutil.Process | None) -> Iterator[Figure]:
    mine = ours.memory_full_info()
    other = theirs.memory_full_info() if theirs else None
    figure = Figure(
        f"memory of the supervisor, {when}: RSS",
        _mb(mine.rss),
        _mb(other.rss) if other else None,
        "MB",
        target=_MEMORY,
        note="bare: the npx process that stays above CCR; MB of 10^6 bytes",
    )
    yield figure
    for name in ("pss", "uss"):
        if hasattr(mine, name):
            yield replace(
                figure,
                what=f"memory of the supervisor, {when}: {name.upper()}",
                synccr=_mb(getattr(mine, name)),
                bare=_mb(getattr(other, name)) if other else None,
                target=None,
            )


def _mb(size: int) -> float:
    return round(size / 1e6, 1)


def _idle(ours: psutil.Process, theirs: psutil.Process | None, seconds: float) -> Figure:
    processes = [ours, *([theirs] if theirs else [])]
    before = [cpu_seconds(p) for p in processes]
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    shares = [100 * (cpu_seconds(p) - b) / took for p, b in zip(processes, before, strict=True)]
    return Figure(
        "idle CPU of the supervisor, of one core",
        shares[0],
        shares[1] if theirs else None,
        "%",
        target=0.2,
        note=f"over {seconds:.0f} s",
    )
