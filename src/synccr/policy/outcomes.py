"""The latest outcomes of one model's requests: when do failures among them persist?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from synccr.judge.outcome import Trouble

SIZE = 20
"""Outcomes that are kept of one model."""
WINDOW = 1800.0
"""Seconds for which an outcome counts: on slow traffic a request comes every few minutes."""
_HALF = SIZE // 2
_SLOW = frozenset({Trouble.SILENT, Trouble.CUT})
_EXPENSIVE, _SEEN = 2, 3
"""What a failure costs that makes a person wait, and one that a person sees."""


class Outcome(NamedTuple):
    """How one request went.

    Attributes:
        at: when, monotonic seconds.
        turn: the client's request; 0 for one that was served.
        cost: 0 when it was served; more for a failure that makes a person wait, or is seen.
        counts: the failure is evidence: another model served the same turn, or the answer
            had begun well.
    """

    at: float
    turn: int = 0
    cost: int = 0
    counts: bool = False


Outcomes = tuple[Outcome, ...]


def served(outcomes: Outcomes, now: float) -> Outcomes:
    """One more that went well."""
    return _kept((*outcomes, Outcome(now)), now)


def failed(
    outcomes: Outcomes, trouble: Trouble, turn: int, now: float, *, counts: bool, passed: bool
) -> Outcomes:
    """One more that failed; of one turn the latest word replaces the ones before, in its place."""
    cost = _SEEN if passed else _EXPENSIVE if trouble in _SLOW else 1
    outcome = Outcome(now, turn, cost, counts)
    reported = [o for o in outcomes if o.cost and o.turn == turn]
    if reported:
        return tuple(outcome if o is reported[0] else o for o in outcomes if o not in reported[1:])
    return _kept((*outcomes, outcome), now)


def persists(outcomes: Outcomes, count: int) -> bool:
    """Whether these failures are no chance: as many in a row, or half of the latest."""
    return _row(outcomes) >= count or _cost(outcomes) >= _HALF


def unexplained(outcomes: Outcomes, count: int) -> bool:
    """Whether so many failed in a row, be it evidence or not."""
    return sum(1 for _ in takewhile(lambda o: o.cost, reversed(outcomes))) >= count


def troubled(outcomes: Outcomes) -> bool:
    """Whether a failure is among them, so that what goes well counts, too."""
    return any(o.cost for o in outcomes)


def _row(outcomes: Outcomes) -> int:
    return _cost(tuple(takewhile(lambda o: o.cost, reversed(outcomes))))


def _cost(outcomes: Sequence[Outcome]) -> int:
    return sum(o.cost for o in outcomes if o.counts)


def _kept(outcomes: Outcomes, now: float) -> Outcomes:
    return tuple(o for o in outcomes if o.at > now - WINDOW)[-SIZE:]
