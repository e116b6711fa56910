"""The last turns, without a word of their content, and what they add up to.

A *turn* is one request of a client, an *attempt* one request to a provider that it caused. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from synccr.turns.attempt import Attempt
    from synccr.turns.capture import Capture
    from synccr.turns.turn import Turn

KEPT = 200
"""Turns that are kept."""
OK = "ok"
"""The verdict on an attempt whose answer was whole."""
_SILENT = "silent"


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a provider. Times are milliseconds.

    Attributes:
        target: ``provider,model``.
        status: the provider's HTTP status; None when there was none.
        verdict: ``ok``, or what was wrong (a value of ``Trouble``).
        started_ms: since the turn began.
        first_byte_ms: of the provider's answer, since the attempt began; None when none came.
        took_ms: since the attempt began.
        bytes_in: of the provider's answer.
        bytes_out: of the request.
        tokens_in, tokens_out: as the provider told them.
        detail: one line, without content and secrets.
    """

    target: str
    status: int | None
    verdict: str
    started_ms: int
    first_byte_ms: int | None
    took_ms: int
    bytes_in: int = 0
    bytes_out: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    detail: str = ""


class TurnRow(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a client, when it is over.

    Attributes:
        turn: its number.
        at: when it came, ISO 8601, UTC.
        route: the scenario that CCR took, or the model that the client named.
        path: of the request, without its query.
        stream: whether the client asked for a stream.
        status: what the client was answered.
        served_by: whose answer the client got, ``provider,model``; None when nobody's.
        took_ms: from the request's first byte to the answer's last, milliseconds.
        judged: whether the provider's own answer was seen.
        attempts: in the order in which they began; ``tries`` in JSON.
    """

    turn: int
    at: str
    route: str
    path: str
    stream: bool
    status: int
    served_by: str | None
    took_ms: int
    judged: bool
    attempts: list[AttemptRow] = msgspec.field(name="tries", default_factory=list)

    @property
    def moved_from(self) -> AttemptRow | None:
        """The first attempt, when another model served the turn after it."""
        if not self.served_by or not self.attempts or self.attempts[0].target == self.served_by:
            return None
        return self.attempts[0]

    @property
    def broken_off(self) -> bool:
        """Whether an answer that had begun was not brought to its end."""
        return self.status < 400 and bool(self.attempts) and self.attempts[-1].verdict != OK


class TurnCounters(msgspec.Struct):
    """Sums since the supervisor's start.

    Attributes:
        requests: turns.
        resent: attempts beyond the first of their turn.
        ended_with_error: turns that were answered with an error.
        cut: turns whose answer had begun and was broken off.
        silent: attempts whose provider sent no byte within the limit.
        not_judged: turns that went round the egress.
    """

    requests: int = 0
    resent: int = 0
    ended_with_error: int = 0
    cut: int = 0
    silent: int = 0
    not_judged: int = 0

    def count(self, row: TurnRow) -> None:
        """Add one turn."""
        self.requests += 1
        self.resent += max(0, len(row.attempts) - 1)
        self.ended_with_error += row.status >= 400
        self.cut += row.broken_off
        self.silent += sum(each.verdict == _SILENT for each in row.attempts)
        self.not_judged += not row.judged


class TraceLog:
    """The last turns in the order of their end.

    Attributes:
        counters: the sums of all turns, those included that are not kept any more.
        capture: takes the bodies while a person wants them; None at all other times.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._rows: deque[TurnRow] = deque(maxlen=kept)
        self.counters = TurnCounters()
        self.capture: Capture | None = None

    def add(self, row: TurnRow) -> None:
        """A turn is over: it is kept, and counted."""
        self._rows.append(row)
        self.counters.count(row)

    def rows(self, after: int = 0) -> list[TurnRow]:
        """The kept turns, oldest first, but for the first ``after`` of all that were added.

        Turns do not end in the order of their numbers, so a reader goes on after
        ``counters.requests``, not after a number.
        """
        fresh = self.counters.requests - max(0, after)
        return list(self._rows)[-fresh:] if fresh > 0 else []

    def document(self) -> dict[str, Any]:
        """``turns`` of ``status --json``: the sums, who served each route last, and the file that
        bodies are written to."""
        return {
            **msgspec.structs.asdict(self.counters),
            "served": served(self._rows),
            "capture": str(self.capture.path) if self.capture else None,
        }

    def first_bytes(self) -> dict[str, int]:
        """See :func:`first_bytes`."""
        return first_bytes(self._rows)


def turn_row(turn: Turn, at: str, route: str, now: float) -> TurnRow:
    """What is kept of a turn that is over.

    Args:
        turn: it.
        at, route: as in `TurnRow`.
        now: monotonic seconds.
    """
    served = turn.served_by if turn.status < 400 else None
    return TurnRow(
        turn=turn.number,
        at=at,
        route=route,
        path=turn.path,
        stream=turn.stream,
        status=turn.status,
        served_by=str(served) if served else None,
        took_ms=_ms(now - turn.began),
        judged=bool(turn.attempts) or turn.status >= 400,
        attempts=[_attempt_row(one, turn.began) for one in turn.attempts],
    )


def _attempt_row(one: Attempt, began: float) -> AttemptRow:
    ended = one.ended or one.started
    first = one.first_byte
    return AttemptRow(
        target=str(one.ref),
        status=one.http_status,
        verdict=one.failure.trouble if one.failure else OK,
        started_ms=_ms(one.started - began),
        first_byte_ms=_ms(first - one.started) if first is not None else None,
        took_ms=_ms(ended - one.started),
        bytes_in=one.bytes_in,
        bytes_out=one.bytes_out,
        tokens_in=one.tokens[0],
        tokens_out=one.tokens[1],
        detail=one.failure.detail if one.failure else "",
    )


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def served(rows: Iterable[TurnRow]) -> dict[str, dict[str, Any]]:
    """Who answered the latest turn of each route, and in whose place and why.

    Args:
        rows: oldest first.
    """
    return {
        row.route: {
            "model": row.served_by,
            "at": row.at,
            "instead_of": row.moved_from.target if row.moved_from else None,
            "verdict": row.moved_from.verdict if row.moved_from else None,
        }
        for row in rows
        if row.served_by
    }


def first_bytes(rows: Iterable[TurnRow]) -> dict[str, int]:
    """Milliseconds to the first byte of each model's good answers: the middle one by size."""
    times: dict[str, list[int]] = {}
    for row in rows:
        for each in row.attempts:
            if each.verdict == OK and each.first_byte_ms is not None:
                times.setdefault(each.target, []).append(each.first_byte_ms)
    return {target: sorted(found)[len(found) // 2] for target, found in times.items()}
