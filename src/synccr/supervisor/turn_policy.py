"""What the policy says of turns and their attempts, and what it is told of them.

It says whether a model is asked at all, and which one is asked next; what came of each attempt
goes to it as evidence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from synccr.clock import Now, utc_now
from synccr.clock import now as both_clocks
from synccr.judge.outcome import Failure, Trouble, failure
from synccr.judge.verdict import known_detail, verdict_of
from synccr.models.report import ModelRef
from synccr.models.shape import Shape
from synccr.policy import events as e
from synccr.policy.breaker import allows, trial_for
from synccr.policy.observe_traffic import wants
from synccr.policy.route_plan import NOTHING, Need, Tried, next_try
from synccr.policy.state import PolicyState
from synccr.turns.attempt import Attempt
from synccr.turns.request_need import BYTES_A_TOKEN
from synccr.turns.turn import Turn


@dataclass
class TurnPolicy:
    """The policy of one supervisor; until there is one, every model is asked and none twice.

    Attributes:
        now: both clocks.
        clock: monotonic seconds, as the egress and the proxy count them.
        state: the policy's; None before there is one.
        post: takes events to the policy.
    """

    now: Callable[[], Now] = both_clocks
    clock: Callable[[], float] = time.monotonic
    state: Callable[[], PolicyState | None] = lambda: None
    post: Callable[[e.PolicyEvent], None] = lambda _event: None

    def consult(
        self, state: Callable[[], PolicyState], post: Callable[[e.PolicyEvent], None]
    ) -> None:
        """Ask the policy, and tell it, from now on: there is one."""
        self.state, self.post = state, post

    # ------------------------------------------------------------ what it says

    def permit(self, attempt: Attempt, turn: Turn | None) -> Failure | None:
        """Whether a model is asked now; else what is answered in its place."""
        state = self.state()
        if state is None:
            return None
        session, now = turn.session if turn else "", self.now().mono
        if turn is not None and turn.wanted is None:
            need = Need(attempt.tools, attempt.bytes_out // BYTES_A_TOKEN)
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

    def next_model(self, turn: Turn) -> tuple[ModelRef, float] | None:
        """Who is asked after the latest attempt failed, and in how many seconds; None when the
        client is to be told."""
        state = self.state()
        if state is None:
            return None
        last = turn.attempts[-1].failure
        if last and last.trouble is Trouble.TRIAL and turn.trial is not None:
            return (turn.attempts[0].ref if turn.named else turn.trial), 0.0
        real = [t for t in turn.attempts if t.failure and t.failure.trouble is not Trouble.TRIAL]
        found = next_try(
            state.route_plan,
            turn.attempts[0].ref,
            [_tried(one) for one in real],
            turn.need or NOTHING,
            named=turn.named,
        )
        return (found.candidate.ref, found.after) if found.candidate else None

    def route_of(self, turn: Turn) -> str:
        """The scenario that CCR took, or the model that the client named."""
        state = self.state()
        if state is None or not turn.attempts:
            return ""
        first = turn.attempts[0].ref
        return str(first) if turn.named else state.route_plan.scenario_of(first)

    # ------------------------------------------------------------ what it is told

    def attempt_ended(self, turn: Turn | None, attempt: Attempt) -> None:
        """An attempt has ended: it is evidence."""
        state = self.state()
        if state is None:
            return
        if attempt.went_well:
            if wants(state, attempt.ref, self.now().mono):
                session = turn.session if turn else ""
                self.post(e.AttemptServed(attempt.ref, self.wall(attempt.started), session))
        elif attempt.failure and attempt.sent:
            self._post_failure(turn, attempt, attempt.failure, elsewhere=None)

    def turn_ended(self, turn: Turn) -> None:
        """A turn is over: now it is known whether another model could answer the same request."""
        asked = {t.ref for t in turn.attempts if t.sent}
        if self.state() is None or len(asked) < 2:
            return
        for attempt in turn.attempts:
            if attempt.failure and attempt.sent:
                self._post_failure(turn, attempt, attempt.failure, elsewhere=turn.went_well)

    def wall(self, moment: float) -> datetime:
        """A reading of our clock as a time of day, UTC."""
        return self.now().wall - timedelta(seconds=max(0.0, self.clock() - moment))

    def _post_failure(
        self, turn: Turn | None, attempt: Attempt, found: Failure, *, elsewhere: bool | None
    ) -> None:
        self.post(
            e.AttemptFailed(
                ref=attempt.ref,
                trouble=found.trouble,
                http_status=found.http_status,
                body=found.body.decode("utf-8", "replace"),
                headers=attempt.headers,
                at=self.wall(attempt.ended or self.clock()),
                turn=turn.number if turn else 0,
                elsewhere=elsewhere,
                passed=found.passed,
                shape=Shape(attempt.streamed, attempt.tools, attempt.bytes_out // BYTES_A_TOKEN),
            )
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
