"""From a 402 in CCR's log to the first answer of the other profile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from benchmarks.figures import Figure, median_of
from benchmarks.scale import Scale
from benchmarks.stage import FALLBACK, MAIN, Stage, Synccr, until
from benchmarks.survey import OK, Survey

_PAUSE = 0.01
"""Seconds between the requests of the one client: how finely the moment is seen."""


class _Line(msgspec.Struct):
    time: float
    msg: str = ""


def recovery(stage: Stage, scale: Scale) -> Iterator[Figure]:
    """In turn: a 402 under synccr, and a boot of bare CCR."""
    ours, theirs, swaps = [], [], []
    for _ in range(scale.runs):
        with stage.synccr() as synccr:
            took, swap = _swap(stage, synccr)
            ours.append(took)
            swaps.append(swap)
        with stage.bare() as bare:
            bare.stop()
            theirs.append(1000 * bare.start())
    figure = median_of(
        "402 in CCR's log -> first answer of the fallback",
        ours,
        theirs,
        unit="ms",
        note="bare: node cli.js start -> /health; the target is for the ratio",
    )
    yield replace(figure, target=1.2, judged=figure.ratio)
    yield median_of("of that, the swap as synccr reports it", swaps, unit="ms")


def _swap(stage: Stage, synccr: Synccr) -> tuple[float, float]:
    """Milliseconds of one recovery, and of the swap in it."""
    with Survey(synccr.port, 1, pause=_PAUSE) as survey:
        time.sleep(0.5)
        stage.provider.set(MAIN, "billing")
        # Seldom: to answer this the supervisor must stop what is measured.
        until(lambda: synccr.status().get("profile") == "fallback", step=0.2)
        time.sleep(0.2)
    swap = synccr.status()["last_swap"]["took_ms"]
    stage.provider.set(MAIN, "ok")
    wall = time.time() - time.monotonic()
    served = next(r.ended for r in survey.requests if r.outcome == OK and r.model == FALLBACK)
    return 1000 * (served + wall - _first_402(synccr)), swap


def _first_402(synccr: Synccr) -> float:
    """When CCR wrote its first line about it, seconds since the epoch."""
    decode = msgspec.json.Decoder(_Line).decode
    lines = [
        decode(line)
        for log in synccr.home.paths.ccr_logs.glob("ccr-*.log")
        for line in log.read_bytes().splitlines()
        if b"[provider_response_error]" in line
    ]
    return min(line.time for line in lines if ": 402)" in line.msg) / 1000
