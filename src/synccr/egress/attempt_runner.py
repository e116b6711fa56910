"""One provider request of CCR: sent with the real key, its answer judged, its outcome reported."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from synccr.config.profile import Provider
from synccr.egress.addressed import addressed
from synccr.egress.provider_lookup import ProviderLookup
from synccr.egress.request_shape import read_shape
from synccr.egress.server import CcrConnection, Headers
from synccr.egress.silence_limits import SilenceLimits
from synccr.egress.wordless import worded
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
from synccr.models.report import ModelRef
from synccr.redact import Redactor
from synccr.transport import Broken, Call, CannotReach, Outgoing, Transport
from synccr.turns.attempt import Attempt
from synccr.turns.capture import Capture, Direction
from synccr.turns.turn import Turn, Turns

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
_REPORTED: Final = (b"retry-after", b"x-ratelimit-", b"anthropic-ratelimit-", b"ratelimit")
_MOST_REPORTED: Final = 40


ASKED_TWICE: Final = {401: 403}
"""Statuses after which CCR 3 asks the same again, and what it is told instead (measured)."""

Fields = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class AttemptServices:
    """What attempts need; functions answer for the moment at which they are called.

    Attributes:
        turns: the turns under way.
        transport: towards providers.
        silence: how long each model may be silent.
        providers: those that requests can be for.
        substitute: puts keys in the place of placeholders in an address and header values.
        permit: why a model is not asked now; None when it is.
        on_ended: hears of each attempt when it has ended.
        provider_at: the provider whose address one of ours stands for.
        redact: masks keys; it may learn of more.
        capture: takes bodies while a person wants them.
        done_alone: whether a model's streams end with ``[DONE]`` and no finish.
        clock: monotonic seconds.
    """

    turns: Turns
    transport: Transport
    silence: SilenceLimits
    providers: Callable[[], ProviderLookup]
    substitute: Callable[[str, Fields], tuple[str, Fields]]
    permit: Callable[[Attempt, Turn | None], Failure | None]
    on_ended: Callable[[Turn | None, Attempt], None]
    provider_at: Callable[[str], Provider | None] = lambda _place: None
    redact: Redactor = field(default_factory=Redactor)
    capture: Callable[[], Capture | None] = lambda: None
    done_alone: Callable[[ModelRef], bool] = lambda _ref: False
    clock: Callable[[], float] = time.monotonic


class AttemptRunner:
    """Makes one attempt: takes a request of CCR to its provider, gives the events of the answer to
    the judge, and does what the judge says."""

    def __init__(self, services: AttemptServices, connection: CcrConnection) -> None:
        self._services = services
        self._connection = connection
        self._call: Call | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._longest_gap = 0.0
        self._begun = False
        self._over = self._ending = False
        self._status = 0
        self._fields: Headers = []
        self._twice: Mapping[int, int] = {}
        self._worded: Callable[[bytes], bytes] = bytes

    # Towards CCR.

    def start(self) -> None:
        """The request is whole: send it, or answer at once."""
        services, connection = self._services, self._connection
        number = connection.header(b"x-synccr-turn") or b""
        self._turn = services.turns.get(int(number)) if number.isdigit() else None
        if number.isdigit() and self._turn is None:
            connection.abort()  # its client has left meanwhile
            return
        body, connection.body = connection.body, b""  # the call lets go of it once it is answered
        request, ref = self._addressed(body) or self._led(body)
        if ref is None:
            self._over = True
            connection.refuse(403, "synccr knows no provider at this address.")
            return
        self._ref = ref
        self._attempt = self._begin_attempt()
        refused = services.permit(self._attempt, self._turn)
        if refused is not None:
            self._fail(refused)
        else:
            self._send(request)

    def _addressed(self, body: bytes) -> tuple[Outgoing, ModelRef] | None:
        """What a CCR asks that was given addresses of ours."""
        connection = self._connection
        found = addressed(connection.target.decode("latin-1"), self._services.provider_at)
        if found is None:
            return None
        self._shape = read_shape(found.url, body)
        self._twice = ASKED_TWICE
        self._worded = partial(worded, found.dialect)
        model = self._shape.model
        request = found.outgoing(connection.method, connection.headers, body, model)
        return request, found.ref(model)

    def _led(self, body: bytes) -> tuple[Outgoing, ModelRef | None]:
        """What a CCR asks that was led here on its way to a provider."""
        url = (self._connection.header(b"x-synccr-to") or b"").decode("latin-1")
        self._shape = read_shape(url, body)
        request = self._with_keys(url, body)
        return request, self._asked_model(request)

    def _with_keys(self, url: str, body: bytes) -> Outgoing:
        """The request as the provider gets it."""
        headers = [h for h in self._connection.headers if not h[0].startswith(b"x-synccr-")]
        url, fields = self._services.substitute(url, headers)
        return Outgoing(self._connection.method, url, tuple(fields), body)

    def _asked_model(self, request: Outgoing) -> ModelRef | None:
        wanted = self._turn.wanted if self._turn else None
        values = [value for _, value in request.headers]
        return self._services.providers().find(request.url, values, self._shape.model, wanted)

    def _begin_attempt(self) -> Attempt:
        shape = self._shape
        attempt = Attempt(
            self._ref,
            self._services.clock(),
            bytes_out=shape.size,
            streamed=shape.streamed,
            tools=shape.tools,
        )
        if self._turn is not None:
            self._turn.attempts.append(attempt)
            self._turn.stream = self._turn.stream or shape.streamed
        return attempt

    def left(self) -> None:
        """CCR has gone, or was told that nobody waits."""
        if not self._over:
            self._finish(None)

    def throttle(self, *, full: bool) -> None:
        """CCR reads slowly, so the provider is read slowly; meanwhile there is no silence."""
        if self._call is None:
            return
        if full:
            self._call.pause()
            self._stop_watching()
        else:
            self._call.resume()
            self._last = self._services.clock()
            self._watch()

    # From the provider.

    def head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """The answer's head."""
        self._alive()
        self._status = self._attempt.http_status = status
        self._fields = _passed(headers)
        self._attempt.headers = _reported(headers)
        kind = next((v for n, v in headers if n == b"content-type"), b"")
        self._take(Head(status, kind.decode("latin-1")))

    def body(self, data: bytes) -> None:
        """A piece of the answer."""
        self._alive()
        self._attempt.bytes_in += len(data)
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
        services = self._services
        self._judge = Judge(
            dialect_for(self._shape.dialect or ""),
            streamed=self._shape.streamed,
            done_alone=services.done_alone(self._ref),
            accept_empty=self._turn is not None and self._turn.emptied,
        )
        self._attempt.sent = True
        self._attempt.abort = self._leave
        self._last = services.clock()
        self._capture("request", request.body)
        self._call = services.transport.start(request, self)
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
            case Abort(failure, data):
                self._broken(failure, data)

    def _pass(self, data: bytes) -> None:
        if self._begun:
            self._connection.write(data)
        else:
            self._begun = True
            self._connection.begin(self._status, self._fields, data)
            if self._call is not None:
                self._call.join_pieces()
            if self._connection.full:
                self.throttle(full=True)
            else:
                self._watch()  # the limit between pieces may be much shorter than the first one

    def _whole(self, data: bytes) -> None:
        if self._begun:
            self._connection.end(data)
        else:
            self._connection.answer(self._status, self._worded(data), self._fields)
        self._finish(None, went_well=True)

    def _fail(self, failure: Failure) -> None:
        """Nothing was passed on: CCR gets an HTTP error."""
        failure = self._answerable(failure)
        self._finish(failure)
        fields: Headers = [(b"content-type", b"application/json")]
        status = self._twice.get(failure.http_status, failure.http_status)
        self._connection.answer(status, failure.body, fields)

    def _answerable(self, failure: Failure) -> Failure:
        """A failure as CCR can be answered: with an error's status, since CCR would follow a
        redirect, and without the key, which some providers quote."""
        status = failure.http_status if 400 <= failure.http_status < 600 else 502
        redact = self._services.redact
        body = failure.body or own_body(failure.trouble, failure.detail)
        return replace(
            failure,
            http_status=status,
            body=redact(body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"),
            detail=redact(failure.detail),
        )

    def _broken(self, failure: Failure, data: bytes) -> None:
        """Something was passed on: break it off, so that nobody takes it for the whole."""
        if not self._begun:  # content and trouble came in one piece
            self._fail(replace(failure, passed=False))
            return
        self._finish(failure)
        self._connection.write(data)
        self._connection.abort()

    def _leave(self) -> None:
        """Nobody waits for this any more: end it on both sides."""
        if not self._over:
            self._finish(None)
            self._connection.abort()

    def _finish(self, failure: Failure | None, *, went_well: bool = False) -> None:
        self._over = True
        attempt = self._attempt
        attempt.abort = None
        attempt.ended = self._services.clock()
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
            self._services.silence.answered(
                self._ref,
                self._shape.size,
                first,
                self._longest_gap,
                streamed=self._shape.streamed,
            )
        self._services.on_ended(self._turn, attempt)

    def _capture(self, direction: Direction, data: bytes) -> None:
        """Write bodies for as long as a person wants to see them."""
        capture, turn = self._services.capture(), self._turn
        if capture is not None:
            number, nth = (turn.number, len(turn.attempts)) if turn else (0, 0)
            capture.write(number, nth, direction, data)
            if direction == "request":
                capture.end(number, nth, direction)

    # Silence.

    def _alive(self) -> None:
        now = self._services.clock()
        if self._attempt.first_byte is None:
            self._attempt.first_byte = now
        else:
            self._longest_gap = max(self._longest_gap, now - self._last)
        self._last = now

    def _limit(self) -> float:
        silence, shape = self._services.silence, self._shape
        if self._begun:
            return silence.gap(self._ref, streamed=shape.streamed)
        return silence.first(self._ref, shape.size, streamed=shape.streamed)

    def _watch(self) -> None:
        """Look again when silence would be too long. Pieces that come do not touch the timer."""
        self._stop_watching()
        now = self._services.clock()
        until = self._last + (GRACE if self._ending else self._limit())
        if not self._begun and self._turn is not None:
            until = min(until, self._turn.began + LONGEST_HOLD)
        if now >= until:
            silence = now - self._last
            if not self._ending:
                self._services.silence.gave_up(self._ref, silence, streamed=self._shape.streamed)
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


def _reported(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Rate limits and ``Retry-After``, for the policy."""
    found = [(n, v) for n, v in headers if n.startswith(_REPORTED)][:_MOST_REPORTED]
    return {n.decode("latin-1"): v.decode("latin-1")[:200] for n, v in found}
