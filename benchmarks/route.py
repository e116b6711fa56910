"""From the decision for other routes to the first request that goes there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.figures import Figure, median_of
from benchmarks.home import FALLBACK, MAIN, ask, until
from benchmarks.pairs import median_ratio
from benchmarks.scale import Scale
from benchmarks.stage import Stage, Synccr

IN_PLACE = 60
"""Target: milliseconds, where CCR takes other routes as it runs."""
SECOND = 1.3
"""Target: time of a second CCR in relation to a boot of bare CCR."""
_STEP = 0.05
"""Seconds between the messages that ask who serves: they must not slow what is measured."""


def route(stage: Stage, scale: Scale) -> Iterator[Figure]:
    """In turn: a swap by hand, there and back; providers that were not there, and without them
    again; and a boot of bare CCR to its first answer."""
    swaps: list[float] = []
    changes: list[float] = []
    boots: list[float] = []
    with stage.synccr() as synccr, stage.bare() as bare:
        bare.stop()
        for _ in range(scale.runs):
            moves = (
                (swaps, partial(synccr.swap, "fallback"), FALLBACK),
                (swaps, partial(synccr.swap, "primary"), MAIN),
                (changes, synccr.add_provider, FALLBACK),
                (changes, synccr.write, MAIN),
            )
            for found, act, model in moves:
                found.append(_moved(stage, synccr, act, model))
                if found is changes:
                    boots.append(1000 * bare.boot())
                    bare.stop()
    with_ccr = f"CCR {stage.version}"
    yield median_of(
        f"{with_ccr}, same providers: decision to first request",
        swaps,
        unit="ms",
        target=IN_PLACE if stage.apart else None,
    )
    yield median_of(
        f"{with_ccr}, other providers: decision to first request",
        changes,
        boots,
        unit="ms",
        judged=median_ratio(changes, boots),
        target=SECOND,
        note="bare: from its start to the first answer",
    )


def _moved(stage: Stage, synccr: Synccr, act: Callable[[], None], model: str) -> float:
    """Milliseconds from the decision that this leads to."""
    began = time.time()
    act()
    until(lambda: ask(synccr.port) == model, step=_STEP)
    return 1000 * (min(stage.asked(began, model=model)) - synccr.decided())
