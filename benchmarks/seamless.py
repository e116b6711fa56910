"""What clients notice of a swap, and of a CCR that is killed."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.bare import Bare
from benchmarks.figures import Figure, median_of
from benchmarks.home import FALLBACK, MAIN, until
from benchmarks.scale import Scale
from benchmarks.stage import Stage, Synccr
from benchmarks.survey import CUT, Request, Survey, failures, longest_gap

_AFTER = 1.0
"""Seconds after the event that still count: what breaks late breaks then."""
_WARM = 0.5
_NOBODY_ACTS = 3.0
"""Seconds for which nobody starts the bare CCR that was killed. It would be for ever."""
_LATENCY = {"delay": 0.02, "chunk_delay": 0.005}
"""Of the provider, so that requests are in flight when something happens."""


@dataclass(frozen=True)
class Seen:
    """What clients saw of one event.

    Attributes:
        requests: that ended while it lasted.
        failed: of these, without a byte of an answer.
        cut: answers that broke off; nobody can carry those over.
        gap: seconds of the longest time without a success.
        steady: the same in a window of equal length just before.
        outcomes: what the failures were.
    """

    requests: int
    failed: int
    cut: int
    gap: float
    steady: float
    outcomes: dict[str, int]

    @property
    def above(self) -> float:
        """Milliseconds of the gap above the steady state's own."""
        return max(0.0, 1000 * (self.gap - self.steady))


def seen(requests: list[Request], steady: float, begin: float, end: float) -> Seen:
    """Judge one survey: *steady* is where the quiet window may begin, times monotonic."""
    lost = failures(requests, begin, end)
    cut = lost.pop(CUT, 0)
    quiet = max(steady, begin - (end - begin))
    return Seen(
        sum(begin <= r.ended <= end for r in requests),
        lost.total(),
        cut,
        longest_gap(requests, begin, end),
        longest_gap(requests, quiet, begin),
        dict(lost),
    )


def _watch(port: int, scale: Scale, event: Callable[[], None]) -> Seen:
    """Let something happen under load."""
    with Survey(port, scale.clients) as survey:
        time.sleep(_WARM)  # clients connect
        steady = time.monotonic()
        time.sleep(scale.steady)
        begin = time.monotonic()
        event()
        time.sleep(_AFTER)
        end = time.monotonic()
    return seen(survey.requests, steady, begin, end)


def swap(stage: Stage, scale: Scale) -> Iterator[Figure]:
    """``synccr swap`` and what a person does to the bare CCR in turn, under load; then other
    providers in a profile that runs."""
    changed = []
    with _slow(stage), stage.bare() as bare, stage.synccr() as synccr:
        ours, theirs = [], []
        for run in range(scale.runs):
            role, model = (("fallback", FALLBACK), ("primary", MAIN))[run % 2]
            ours.append(_watch(synccr.port, scale, partial(synccr.run, "swap", role)))
            theirs.append(_watch(bare.port, scale, partial(bare.change, model)))
        synccr.swap("primary")
        for run in range(scale.runs):
            act = synccr.write if run % 2 else synccr.add_provider
            changed.append(_watch(synccr.port, scale, partial(_edit, synccr, act)))
    yield from _figures("swap", ours, theirs, f"bare: {bare.changed_by}")
    yield from _figures("change of providers", changed, [], "a second CCR beside the first")


def restart(stage: Stage, scale: Scale) -> Iterator[Figure]:
    """``synccr restart`` and a restart of the bare CCR in turn, under load."""
    with _slow(stage), stage.bare() as bare, stage.synccr() as synccr:
        ours, theirs = [], []
        for _ in range(scale.runs):
            ours.append(_watch(synccr.port, scale, partial(synccr.run, "restart")))
            theirs.append(_watch(bare.port, scale, bare.restart))
    yield from _figures("restart", ours, theirs, f"bare: {bare.restarted_by}")


def kill(stage: Stage, scale: Scale) -> Iterator[Figure]:
    """SIGKILL of each process of CCR with synccr and without, in turn, under load."""
    ours: dict[str, list[Seen]] = {}
    theirs: dict[str, list[Seen]] = {}
    with _slow(stage), stage.bare() as bare:
        for name in bare.processes():
            for _ in range(scale.runs):
                with stage.synccr() as synccr:  # a new one: a row of crashes is met with pauses
                    event = partial(_kill_ours, synccr, name)
                    ours.setdefault(name, []).append(_watch(synccr.port, scale, event))
                event = partial(_kill_theirs, bare, name)
                theirs.setdefault(name, []).append(_watch(bare.port, scale, event))
                bare.stop()
                bare.boot()
    note = f"bare: nobody acts for {_NOBODY_ACTS:.0f} s, then the count ends; it would go on"
    for name, seen_by_ours in ours.items():
        yield from _figures(f"SIGKILL of {name}", seen_by_ours, theirs[name], note)


@contextlib.contextmanager
def _slow(stage: Stage) -> Iterator[None]:
    stage.provider.set("*", _LATENCY)
    yield
    stage.provider.set("*", None)


def _edit(synccr: Synccr, edit: Callable[[], None]) -> None:
    before = synccr.status()["last_swap"]
    edit()
    until(lambda: synccr.status().get("last_swap", before) != before, step=0.2)


def _kill_ours(synccr: Synccr, name: str) -> None:
    pid = synccr.status()["ccr"]["pid"]
    synccr.processes()[name].kill()
    until(lambda: synccr.status().get("ccr", {}).get("pid") not in (None, pid), step=0.2)


def _kill_theirs(bare: Bare, name: str) -> None:
    bare.processes()[name].kill()
    time.sleep(_NOBODY_ACTS)


def _figures(name: str, ours: list[Seen], theirs: list[Seen], note: str) -> Iterator[Figure]:
    yield Figure(
        f"failed requests, {name} (all runs)",
        sum(s.failed for s in ours),
        sum(s.failed for s in theirs) if theirs else None,
        target=0,
        runs=[s.failed for s in ours],
        bare_runs=[s.failed for s in theirs],
        note="; ".join((note, *(_told(seen) for seen in (ours, theirs) if seen))),
    )
    yield Figure(
        f"answers cut off, {name} (all runs)",
        sum(s.cut for s in ours),
        sum(s.cut for s in theirs) if theirs else None,
        target=None if name.startswith("SIGKILL") else 0,
        note="a byte had reached the client, so nobody can send the request again",
    )
    yield median_of(
        f"longest gap, {name}, above the steady state",
        [s.above for s in ours],
        [s.above for s in theirs],
        unit="ms",
        target=50 if name == "swap" else None,
        note="steady state's own longest gap: "
        + " and ".join(
            f"{1000 * statistics.median(s.steady for s in x):.0f} ms" for x in (ours, theirs) if x
        ),
    )


def _told(runs: list[Seen]) -> str:
    found = [f"{count} {name}" for s in runs for name, count in s.outcomes.items()]
    return f"of {sum(s.requests for s in runs)} requests {', '.join(found) or 'none failed'}"
