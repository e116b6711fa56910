"""What the last full check found, and what is different now.

The comparison is pure; the file is written by whoever checks: a supervisor on its
schedule, or ``synccr models --changes``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from synccr.files import write_atomic
from synccr.models.report import SERVING, TRANSIENT, Report, Status

_MOST_NAMED = 5


class LastCheck(msgspec.Struct, frozen=True):
    """One full check.

    Attributes:
        at: when, UTC.
        models: status by ``provider,model``.
        offered: names in each provider's list of models, where it has one.
    """

    at: datetime
    models: dict[str, str] = {}
    offered: dict[str, list[str]] = {}


class Changes(msgspec.Struct, frozen=True):
    """What is different.

    Attributes:
        since: the time of the check before; None when there was none.
        new: ``provider,model`` that a provider offers now and did not.
        gone: the other way round.
        states: configured models whose state changed: model, before, after.
    """

    since: datetime | None = None
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    states: tuple[tuple[str, str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.states)


def take(
    before: LastCheck | None,
    reports: Iterable[Report],
    offered: Mapping[str, Sequence[str]],
    now: datetime,
) -> LastCheck:
    """What this check found. A list that could not be had this time is as it was, and so is
    a model with a trouble that passes by itself."""
    known = before.offered if before else {}
    states = before.models if before else {}
    return LastCheck(
        now,
        {
            ref: states.get(ref, report.status.value)
            if report.status in TRANSIENT
            else report.status.value
            for ref, report in ((str(report.ref), report) for report in reports)
        },
        {**known, **{name: sorted(set(ids)) for name, ids in offered.items() if ids}},
    )


def compare(before: LastCheck | None, after: LastCheck) -> Changes:
    """What changed between two checks; nothing when there was none before.

    A list seen for the first time brings no news, and neither does a model that is
    configured only now.
    """
    if before is None:
        return Changes()
    new, gone = [], []
    for name in sorted(after.offered.keys() & before.offered.keys()):
        old, now = set(before.offered[name]), set(after.offered[name])
        new += [f"{name},{model}" for model in sorted(now - old)]
        gone += [f"{name},{model}" for model in sorted(old - now)]
    states = tuple(
        (ref, before.models[ref], status)
        for ref, status in after.models.items()
        if ref in before.models and _differ(before.models[ref], status)
    )
    return Changes(before.at, tuple(new), tuple(gone), states)


def _differ(one: str, other: str) -> bool:
    good = {status.value for status in SERVING}
    return one != other and not (one in good and other in good)


def lines(changes: Changes) -> list[str]:
    """The changes for a person, one thing a line."""
    found = []
    for ref, before, after in changes.states:
        better = after == Status.OK
        found.append(f"{ref}: {before} -> {after}" + (", it serves again" if better else ""))
    if changes.new:
        found.append(f"new models on offer: {_named(changes.new)}")
    if changes.gone:
        found.append(f"no longer on offer: {_named(changes.gone)}")
    return found


def _named(refs: Sequence[str]) -> str:
    rest = len(refs) - _MOST_NAMED
    return ", ".join(refs[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def load(path: Path) -> LastCheck | None:
    """The last check's; None when there was none or the file is damaged."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=LastCheck)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None
    return found if found.at.tzinfo else None


def save(path: Path, found: LastCheck) -> None:
    """Keep it; a disk that is full loses it, and the next check compares with the one before."""
    with suppress(OSError):
        write_atomic(path, msgspec.json.encode(found))
