"""One provider request of CCR: sent with the real key, its answer judged, its outcome told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from synccr.egress.asked import asked
from synccr.egress.server import Connection, Headers
from synccr.judge import (
    Abort,
    Action,
    Body,
    Cut,
    Done,
    End,
    Event,
    Fail,
    Head,
    Judge,
    Pass,
    Silent,
    dialect_for,
)
from synccr.judge.outcome import Failure, Trouble, own_body
from synccr.judge.outcome import failure as make_failure
from synccr.transport import Broken, Call, CannotReach, Outgoing
from synccr.turns.capture import Direction
from synccr.turns.turn import Try

if TYPE_CHECKING:
    from synccr.egress.egress import Egress

LONGEST_HOLD: Final = 280.0
"""Seconds from a turn's beginning in which something has to be passed on: Claude Code ends a
request without a head after 290."""

GRACE: Final = 2.0
"""Seconds in which an answer that has its end mark may end its connection, too."""

_NOT_PASSED: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"set-cookie", b"alt-svc"}
)
_MOST_FIELDS: Final = 8 * 1024
"""Bytes of the fields of an answer's head that are passed on; Node takes no more than 16 KiB."""
_TOLD: Final = (b"retry-after", b"x-ratelimit-", b"anthropic-ratelimit-", b"ratelimit")
_MOST_TOLD: Final = 40


class Attempt:
    """Takes one request from CCR to its provider; the events of the answer go to the judge,
    and what the judge says is done."""

    def __init__(self, egress: Egress, connection: Connection) -> None:
        self._egress = egress
        self._connection = connection
        self._call: Call | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._longest_gap = 0.0
        self._begun = False
        self._over = self._ending = False
        self._status = 0
        self._fields: Headers = []

    # Towards CCR.

    def start(self) -> None:
        """The request is whole: send it, or answer at once."""
        egress, connection = self._egress, self._connection
        number = connection.header(b"x-synccr-turn") or b""
        self._turn = egress.turns.get(int(number)) if number.isdigit() else None
        if number.isdigit() and self._turn is None:
            connection.abort()  # its client has left meanwhile
            return
        url = (connection.header(b"x-synccr-to") or b"").decode("latin-1")
        body, connection.body = connection.body, b""  # the call lets go of it once it is answered
        self._asked = asked(url, body)
        headers = [h for h in connection.headers if not h[0].startswith(b"x-synccr-")]
        url, fields = egress.substitute(url, headers)
        wanted = self._turn.wanted if self._turn else None
        ref = egress.directory().find(
            url, [value for _, value in fields], self._asked.model, wanted
        )
        if ref is None:
            self._over = True
            connection.refuse(403, "synccr knows no provider at this address.")
            return
        self._ref = ref
        self._try = Try(
            ref,
            egress.clock(),
            bytes_out=len(body),
            streamed=self._asked.streamed,
            tools=self._asked.tools,
        )
        if self._turn is not None:
            self._turn.tries.append(self._try)
            self._turn.stream = self._turn.stream or self._asked.streamed
        refused = egress.permit(self._try, self._turn)
        if refused is not None:
            self._fail(refused)
            return
        self._send(Outgoing(connection.method, url, tuple(fields), body))

    def left(self) -> None:
        """CCR has gone, or was told that nobody waits."""
        if not self._over:
            self._finish(None)

    def throttle(self, *, full: bool) -> None:
        """CCR reads slowly: so do we, and what is not read is no silence."""
        if self._call is None:
            return
        if full:
            self._call.pause()
            self._stop_watching()
        else:
            self._call.resume()
            self._last = self._egress.clock()
            self._watch()

    # From the provider.

    def head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """The answer's head."""
        self._alive()
        self._status = self._try.http_status = status
        self._fields = _passed(headers)
        self._try.headers = _told(headers)
        kind = next((v for n, v in headers if n == b"content-type"), b"")
        self._take(Head(status, kind.decode("latin-1")))

    def body(self, data: bytes) -> None:
        """A piece of the answer."""
        self._alive()
        self._try.bytes_in += len(data)
        self._capture("answer", data)
        self._take(Body(data))

    def end(self) -> None:
        """The provider says that it is whole."""
        self._take(End())

    def cut(self, failure: CannotReach | Broken) -> None:
        """No connection, or it broke."""
        if isinstance(failure, CannotReach):
            self._fail(make_failure(Trouble.UNREACHABLE, failure.detail))
        else:
            self._take(Cut(failure.detail))

    # What follows.

    def _send(self, request: Outgoing) -> None:
        egress = self._egress
        self._judge = Judge(
            dialect_for(self._asked.dialect or ""),
            streamed=self._asked.streamed,
            done_alone=egress.done_alone(self._ref),
            accept_empty=self._turn is not None and self._turn.emptied,
        )
        self._try.sent = True
        self._try.abort = self._leave
        self._last = egress.clock()
        self._capture("request", request.body)
        self._call = egress.transport.start(request, self)
        self._watch()

    def _take(self, event: Event) -> None:
        if self._over:
            return
        self._do(self._judge.take(event))
        if self._judge.whole and not self._over and not self._ending:
            self._ending = True
            self._watch()

    def _do(self, action: Action) -> None:
        match action:
            case Pass(data):
                self._pass(data)
            case Done(data):
                self._whole(data)
            case Fail(failure):
                self._fail(failure)
            case Abort(failure):
                self._broken(failure)

    def _pass(self, data: bytes) -> None:
        if self._begun:
            self._connection.write(data)
        else:
            self._begun = True
            self._connection.begin(self._status, self._fields, data)
            if self._connection.full:
                self.throttle(full=True)

    def _whole(self, data: bytes) -> None:
        if self._begun:
            self._connection.end(data)
        else:
            self._connection.answer(self._status, data, self._fields)
        self._finish(None, went_well=True)

    def _fail(self, failure: Failure) -> None:
        """Nothing was passed on: CCR gets an HTTP error."""
        failure = self._answerable(failure)
        self._finish(failure)
        fields: Headers = [(b"content-type", b"application/json")]
        self._connection.answer(failure.http_status, failure.body, fields)

    def _answerable(self, failure: Failure) -> Failure:
        """A failure as CCR can be answered: with an error's status, since CCR would follow a
        redirect, and without the key, which some providers quote."""
        status = failure.http_status if 400 <= failure.http_status < 600 else 502
        redact = self._egress.redact()
        body = failure.body or own_body(failure.trouble, failure.detail)
        return replace(
            failure,
            http_status=status,
            body=redact(body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"),
            detail=redact(failure.detail),
        )

    def _broken(self, failure: Failure) -> None:
        """Something was passed on: CCR, and so the client, must not take it for the whole."""
        if not self._begun:  # content and trouble came in one piece
            self._fail(replace(failure, passed=False))
            return
        self._finish(failure)
        self._connection.abort()

    def _leave(self) -> None:
        """Nobody waits for this any more: the provider is not to go on, nor CCR."""
        if not self._over:
            self._finish(None)
            self._connection.abort()

    def _finish(self, failure: Failure | None, *, went_well: bool = False) -> None:
        self._over = True
        attempt = self._try
        attempt.abort = None
        attempt.ended = self._egress.clock()
        attempt.failure = failure
        attempt.went_well = went_well
        self._stop_watching()
        call, self._call = self._call, None
        if call is not None:
            call.abort()  # nothing happens where the answer has ended
        if attempt.sent:
            usage = self._judge.usage
            attempt.tokens = (usage.tokens_in, usage.tokens_out) if usage else (None, None)
        if went_well:
            first = (attempt.first_byte or attempt.ended) - attempt.started
            self._egress.patience.answered(
                self._ref,
                self._asked.size,
                first,
                self._longest_gap,
                streamed=self._asked.streamed,
            )
        self._egress.told(self._turn, attempt)

    def _capture(self, direction: Direction, data: bytes) -> None:
        """A person wants to see bodies: they are written, for as long as that holds."""
        capture, turn = self._egress.capture(), self._turn
        if capture is not None:
            number, tried = (turn.number, len(turn.tries)) if turn else (0, 0)
            capture.write(number, tried, direction, data)
            if direction == "request":
                capture.end(number, tried, direction)

    # Silence.

    def _alive(self) -> None:
        now = self._egress.clock()
        if self._try.first_byte is None:
            self._try.first_byte = now
        else:
            self._longest_gap = max(self._longest_gap, now - self._last)
        self._last = now

    def _limit(self) -> float:
        patience, asked = self._egress.patience, self._asked
        if self._begun:
            return patience.gap(self._ref, streamed=asked.streamed)
        return patience.first(self._ref, asked.size, streamed=asked.streamed)

    def _watch(self) -> None:
        """Look again when silence would be too long: one timer, however many pieces come."""
        self._stop_watching()
        now = self._egress.clock()
        until = self._last + (GRACE if self._ending else self._limit())
        if not self._begun and self._turn is not None:
            until = min(until, self._turn.began + LONGEST_HOLD)
        if now >= until:
            silence = now - self._last
            if not self._ending:
                self._egress.patience.gave_up(self._ref, silence, streamed=self._asked.streamed)
            self._take(Silent(silence))
            return
        self._timer = asyncio.get_running_loop().call_later(until - now, self._watch)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _passed(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """The fields that CCR gets, what tells the body's form before all others."""
    fields: Headers = []
    room = _MOST_FIELDS
    for name, value in sorted(headers, key=lambda field: field[0] != b"content-type"):
        room -= len(name) + len(value) + 4
        if room < 0:
            break
        if name not in _NOT_PASSED:
            fields.append((name, value))
    return fields


def _told(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Rate limits and ``Retry-After``: they are the policy's."""
    told = [(n, v) for n, v in headers if n.startswith(_TOLD)][:_MOST_TOLD]
    return {n.decode("latin-1"): v.decode("latin-1")[:200] for n, v in told}
