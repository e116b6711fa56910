"""From a model's 402 to the first request that no longer meets it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.figures import Figure, median_of
from benchmarks.home import FALLBACK, MAIN, until
from benchmarks.scale import Scale
from benchmarks.stage import Stage, Synccr
from benchmarks.survey import OK, Survey

_PAUSE = 0.01
"""Seconds between the requests of the one client: how finely the moment is seen."""
_USUAL = 20
"""Answers before the event."""


@dataclass(frozen=True)
class Seen:
    """What one client saw of a model that turned to 402.

    Attributes:
        met: its requests that were answered 402 by the provider.
        failed: its requests that it got no right answer to.
        took: milliseconds from the first 402 to the first answer of the fallback.
        usual: milliseconds of an answer before that.
        swap: of the swap that followed, as synccr reports it, milliseconds.
    """

    met: int
    failed: int
    took: float
    usual: float
    swap: float


def recovery(stage: Stage, scale: Scale) -> Iterator[Figure]:
    """In turn: a 402 under synccr, and a boot of bare CCR."""
    seen, boots = [], []
    for _ in range(scale.runs):
        with stage.synccr() as synccr:
            seen.append(_turned(stage, synccr))
        with stage.bare() as bare:
            bare.stop()
            boots.append(1000 * bare.start())
    usual = statistics.median(s.usual for s in seen)
    yield Figure(
        "requests of a client that met the 402 (most of a run)",
        max(s.met for s in seen),
        target=1,
        runs=[s.met for s in seen],
        note="the next one goes elsewhere, without a swap",
    )
    yield Figure(
        "failed requests, up to the swap that follows (all runs)",
        sum(s.failed for s in seen),
        target=0,
        runs=[s.failed for s in seen],
    )
    yield median_of(
        "from the 402 to the first answer of the fallback",
        [s.took for s in seen],
        boots,
        unit="ms",
        note=f"bare: its start -> /health; an answer takes {usual:.2g} ms before",
    )
    yield median_of(
        "the swap that follows, as synccr reports it", [s.swap for s in seen], unit="ms"
    )


def _turned(stage: Stage, synccr: Synccr) -> Seen:
    """One run."""
    with Survey(synccr.port, 1, pause=_PAUSE) as survey:
        began = time.time()
        until(lambda: len(stage.asked(began, status=200)) > _USUAL, step=0.1)
        turned = time.time()
        stage.provider.set(MAIN, "billing")
        # Seldom: to answer this the supervisor must stop what is measured.
        until(lambda: synccr.status().get("profile") == "fallback", step=0.2)
        time.sleep(0.2)
    met = stage.asked(turned, status=402)
    swap = synccr.status()["last_swap"]["took_ms"]
    stage.provider.set(MAIN, "ok")
    wall = time.time() - time.monotonic()
    served = next(r.ended for r in survey.requests if r.outcome == OK and r.model == FALLBACK)
    before = [r.ended - r.sent for r in survey.requests if r.model == MAIN]
    return Seen(
        len(met),
        sum(r.outcome != OK for r in survey.requests),
        1000 * (served + wall - met[0]),
        1000 * statistics.median(before),
        swap,
    )
