"""Sends turns where the policy wants them, and keeps a record of them.

The proxy asks here who gets a request whose attempt failed, and tells when a turn is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from synccr.clock import utc_now
from synccr.journal import Journal, stamp
from synccr.judge.outcome import Trouble
from synccr.policy.retry_budget import RetryBudget
from synccr.proxy import Response, error
from synccr.proxy.framing import RequestHead
from synccr.proxy.own_answers import path_of
from synccr.proxy.resend import Resend
from synccr.supervisor.turn_policy import TurnPolicy
from synccr.turns.final_error import final_error
from synccr.turns.request_need import named_by_client, need_of
from synccr.turns.resent_log import Entry, ResentLog
from synccr.turns.trace import TraceLog, turn_row
from synccr.turns.turn import Turn, Turns

MESSAGES: Final = "/v1/messages"


@dataclass
class TurnDispatcher:
    """Dispatches the turns of one supervisor.

    Attributes:
        journal: hears of what was sent again and cut, rarely.
        trace: the last turns.
        secret: opens CCR's port and the egress.
        secret_opens: it is the key of CCR's port, in the place of what clients show.
        policy: says where turns go.
        turns: those under way.
        budget: how many requests may be sent again.
        clock: monotonic seconds, as the egress and the proxy count them.
        resent_log: makes few entries of many.
    """

    journal: Journal
    trace: TraceLog
    secret: bytes = field(repr=False)
    secret_opens: bool = False
    policy: TurnPolicy = field(default_factory=TurnPolicy)
    turns: Turns = field(default_factory=Turns)
    budget: RetryBudget = field(default_factory=lambda: RetryBudget(0.2))
    clock: Callable[[], float] = time.monotonic
    resent_log: ResentLog = field(default_factory=ResentLog)

    def begin(self, head: RequestHead, client: int) -> Turn:
        """A request begins."""
        session = head.get(b"x-claude-code-session-id")
        who = session.decode("latin-1")[:64] if session else f"connection {client}"
        self.budget.request(self.clock())
        path = path_of(head.target).decode("latin-1")[:200]
        return self.turns.begin(who, path, self.clock())

    def after_failure(self, turn: Turn, body: bytes) -> Resend | Response:
        """The latest attempt failed, and the client has nothing of it: who is asked next?"""
        if turn.need is None:
            turn.need = need_of(body)
            turn.named = named_by_client(body)
        found = self.policy.next_model(turn)
        if found is None:
            return self._give_up(turn)
        if turn.attempts[-1].sent and not self.budget.spend(self.clock()):
            return self._give_up(turn)
        chosen = Resend(*found)
        self._note_resent(turn, str(chosen.to))
        turn.wanted = chosen.to
        return chosen

    def begun(self, turn: Turn, status: int) -> None:
        """An answer begins."""
        turn.status = status

    def ended(self, turn: Turn) -> None:
        """The turn is over, however it ended."""
        self.turns.end(turn)
        self.policy.turn_ended(turn)
        last = turn.attempts[-1] if turn.attempts else None
        if last and last.failure and last.failure.passed:
            self._write(self.resent_log.cut(str(last.ref), last.failure.trouble, self.clock()))
        if turn.path == MESSAGES and turn.status:
            at, route = stamp(self.policy.wall(turn.began)), self.policy.route_of(turn)
            self.trace.add(turn_row(turn, at, route, self.clock()))

    def _give_up(self, turn: Turn) -> Response:
        found = final_error(turn.attempts, utc_now())
        turn.status = found.status
        return error(found.status, found.message, retry_after=found.retry_after)

    def _note_resent(self, turn: Turn, to: str) -> None:
        last = turn.attempts[-1]
        if last.failure and last.failure.trouble is not Trouble.TRIAL:
            self._write(
                self.resent_log.resent(str(last.ref), last.failure.trouble, to, self.clock())
            )

    def _write(self, entry: Entry | None) -> None:
        if entry is not None:
            self.journal.write(entry.kind, **entry.fields())
