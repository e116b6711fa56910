"""Sends turns where the policy wants them: which model is asked next, and whether one is asked.

The proxy asks here who gets a request whose attempt failed, the egress whether a model is asked
at all. What came of each attempt goes to the policy as evidence, and into the trace.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from synccr.clock import utc_now
from synccr.journal import Journal, stamp
from synccr.judge.outcome import Failure, Trouble, failure
from synccr.judge.verdict import known_detail, verdict_of
from synccr.models.report import ModelRef
from synccr.models.shape import Shape
from synccr.policy import events as e
from synccr.policy.breaker import allows, trial_for
from synccr.policy.events import Now, PolicyEvent
from synccr.policy.retry_budget import RetryBudget
from synccr.policy.route_plan import NOTHING, Need, Tried, next_try
from synccr.policy.state import PolicyState
from synccr.policy.traffic import wants
from synccr.proxy import Response, error
from synccr.proxy.framing import RequestHead
from synccr.proxy.messages import path_of
from synccr.proxy.resend import Resend
from synccr.turns.attempt import Attempt
from synccr.turns.final_error import final_error
from synccr.turns.resent_log import Entry, ResentLog
from synccr.turns.trace import OK, AttemptRow, TraceLog, TurnRow
from synccr.turns.turn import Turn, Turns

MESSAGES: Final = "/v1/messages"
_BYTES_A_TOKEN: Final = 4
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=]{4096,}")


@dataclass
class TurnDispatcher:
    """Dispatches the turns of one supervisor.

    Attributes:
        journal: hears of what was sent again and cut, rarely.
        now: both clocks.
        trace: the last turns.
        secret: opens CCR's port and the egress.
        turns: those under way.
        budget: how many requests may be sent again.
        clock: monotonic seconds, as the egress and the proxy count them.
        resent_log: makes few entries of many.
        state: the policy's; None before there is one.
        post: takes events to the policy.
    """

    journal: Journal
    now: Callable[[], Now]
    trace: TraceLog
    secret: bytes = field(repr=False)
    turns: Turns = field(default_factory=Turns)
    budget: RetryBudget = field(default_factory=lambda: RetryBudget(0.2))
    clock: Callable[[], float] = time.monotonic
    resent_log: ResentLog = field(default_factory=ResentLog)
    state: Callable[[], PolicyState | None] = lambda: None
    post: Callable[[PolicyEvent], None] = lambda _event: None

    def consult(
        self, state: Callable[[], PolicyState], post: Callable[[PolicyEvent], None]
    ) -> None:
        """Ask the policy, and tell it, from now on: there is one."""
        self.state, self.post = state, post

    # ------------------------------------------------------------ for the proxy

    def begin(self, head: RequestHead, client: int) -> Turn:
        """A request begins."""
        session = head.get(b"x-claude-code-session-id")
        who = session.decode("latin-1")[:64] if session else f"connection {client}"
        self.budget.request(self.clock())
        path = path_of(head.target).decode("latin-1")[:200]
        return self.turns.begin(who, path, self.clock())

    def after_failure(self, turn: Turn, body: bytes) -> Resend | Response:
        """The latest attempt failed, and the client has nothing of it: who is asked next?"""
        state = self.state()
        if state is None:
            return self._give_up(turn)
        if turn.need is None:
            turn.need = need_of(body)
            turn.named = named_by_client(body)
        chosen = self._next(state, turn)
        if chosen is None:
            return self._give_up(turn)
        if turn.attempts[-1].sent and not self.budget.spend(self.clock()):
            return self._give_up(turn)
        self._note_resent(turn, chosen.to)
        turn.wanted = chosen.to
        return chosen

    def begun(self, turn: Turn, status: int) -> None:
        """An answer begins."""
        turn.status = status

    def ended(self, turn: Turn) -> None:
        """The turn is over, however it ended."""
        self.turns.end(turn)
        self._report_failures(turn)
        last = turn.attempts[-1] if turn.attempts else None
        if last and last.failure and last.failure.passed:
            self._write(self.resent_log.cut(str(last.ref), last.failure.trouble, self.clock()))
        if turn.path == MESSAGES and turn.status:
            self.trace.add(self._row(turn))

    # ------------------------------------------------------------ for the egress

    def permit(self, attempt: Attempt, turn: Turn | None) -> Failure | None:
        """Whether a model is asked now; else what is answered in its place."""
        state = self.state()
        if state is None:
            return None
        session, now = turn.session if turn else "", self.now().mono
        if turn is not None and turn.wanted is None:
            need = Need(attempt.tools, attempt.bytes_out // _BYTES_A_TOKEN)
            turn.trial = trial_for(state, attempt.ref, session, now, need)
            if turn.trial is not None:
                return failure(Trouble.TRIAL, f"{turn.trial} is tried first")
        again = turn is not None and attempt.ref in turn.refused
        permit = allows(state, attempt.ref, session=session, now=now, again=again)
        if permit.trial:
            self.post(e.TrialStarted(attempt.ref, session))
        if permit.allowed:
            return None
        report = permit.report
        detail = known_detail(report.status, report.detail) if report else "not asked now"
        return failure(permit.refused or Trouble.KNOWN, detail, http_status=permit.http_status)

    def attempt_ended(self, turn: Turn | None, attempt: Attempt) -> None:
        """An attempt has ended: it is evidence."""
        state = self.state()
        if state is None:
            return
        if attempt.went_well:
            now = self.now()
            if wants(state, attempt.ref, now.mono):
                session = turn.session if turn else ""
                self.post(e.AttemptServed(attempt.ref, self._wall(attempt.started), session))
        elif attempt.failure and attempt.sent:
            self._post_failure(turn, attempt, elsewhere=None)

    # ------------------------------------------------------------ within

    def _next(self, state: PolicyState, turn: Turn) -> Resend | None:
        """Who is asked now; None when the client is to be told."""
        last = turn.attempts[-1].failure
        if last and last.trouble is Trouble.TRIAL and turn.trial is not None:
            return Resend(turn.attempts[0].ref if turn.named else turn.trial)
        real = [t for t in turn.attempts if t.failure and t.failure.trouble is not Trouble.TRIAL]
        found = next_try(
            state.route_plan,
            turn.attempts[0].ref,
            [_tried(one) for one in real],
            turn.need or NOTHING,
            named=turn.named,
        )
        return Resend(found.candidate.ref, found.after) if found.candidate else None

    def _give_up(self, turn: Turn) -> Response:
        found = final_error(turn.attempts, utc_now())
        turn.status = found.status
        return error(found.status, found.message, retry_after=found.retry_after)

    def _report_failures(self, turn: Turn) -> None:
        """Now it is known whether another model could answer the same request."""
        failed = [t for t in turn.attempts if t.failure and t.sent]
        asked = {t.ref for t in turn.attempts if t.sent}
        if self.state() is None or len(asked) < 2:
            return
        for attempt in failed:
            self._post_failure(turn, attempt, elsewhere=turn.went_well)

    def _post_failure(self, turn: Turn | None, attempt: Attempt, *, elsewhere: bool | None) -> None:
        found = attempt.failure
        assert found is not None  # noqa: S101  # who calls has looked
        self.post(
            e.AttemptFailed(
                ref=attempt.ref,
                trouble=found.trouble,
                http_status=found.http_status,
                body=found.body.decode("utf-8", "replace"),
                headers=attempt.headers,
                at=self._wall(attempt.ended or self.clock()),
                turn=turn.number if turn else 0,
                elsewhere=elsewhere,
                passed=found.passed,
                shape=Shape(attempt.streamed, attempt.tools, attempt.bytes_out // _BYTES_A_TOKEN),
            )
        )

    def _wall(self, moment: float) -> datetime:
        """A reading of our clock as a time of day, UTC."""
        return self.now().wall - timedelta(seconds=max(0.0, self.clock() - moment))

    def _note_resent(self, turn: Turn, to: ModelRef) -> None:
        last = turn.attempts[-1]
        if last.failure and last.failure.trouble is not Trouble.TRIAL:
            self._write(
                self.resent_log.resent(str(last.ref), last.failure.trouble, str(to), self.clock())
            )

    def _write(self, entry: Entry | None) -> None:
        if entry is not None:
            self.journal.write(entry.kind, **entry.fields())

    def _row(self, turn: Turn) -> TurnRow:
        state, now = self.state(), self.clock()
        first = turn.attempts[0].ref if turn.attempts else None
        route = ""
        if first and state is not None:
            route = str(first) if turn.named else state.route_plan.scenario_of(first)
        served = turn.served_by if turn.status < 400 else None
        return TurnRow(
            turn=turn.number,
            at=stamp(self._wall(turn.began)),
            route=route,
            path=turn.path,
            stream=turn.stream,
            status=turn.status,
            served_by=str(served) if served else None,
            took_ms=_ms(now - turn.began),
            judged=bool(turn.attempts) or turn.status >= 400,
            attempts=[_attempt_row(one, turn.began) for one in turn.attempts],
        )


def _tried(attempt: Attempt) -> Tried:
    found, now = attempt.failure, utc_now()
    if found is None:
        return Tried(attempt.ref, Trouble.CUT, 502)
    verdict = verdict_of(found, attempt.headers, now)
    after = (verdict.retry_at - now).total_seconds() if verdict.retry_at else None
    return Tried(
        attempt.ref,
        found.trouble,
        found.http_status,
        scope=verdict.scope,
        too_long=verdict.too_long,
        retry_after=after,
    )


def need_of(body: bytes) -> Need:
    """What a request of a client needs of a model, from what it carries."""
    return Need(
        tools=b'"tools":[{' in body or b'"tools": [{' in body,
        tokens=(len(body) - _attached(body)) // _BYTES_A_TOKEN,
    )


def _attached(body: bytes) -> int:
    """Bytes of images and documents: they are worth far fewer tokens than their text has."""
    if b'"base64"' not in body:
        return 0
    return sum(len(match[0]) for match in _BASE64.finditer(body))


def named_by_client(body: bytes) -> bool:
    """Whether a request names ``provider,model`` itself, so that no route leads it."""
    try:
        model = msgspec.json.decode(body, type=_Model).model
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(model, str) and "," in model


class _Model(msgspec.Struct):
    model: Any = None


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
