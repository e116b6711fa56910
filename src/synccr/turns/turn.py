"""A turn, its attempts, and the registry in which proxy and egress find them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count

from synccr.judge.outcome import Failure, Trouble
from synccr.models.report import ModelRef
from synccr.policy.route_plan import Need
from synccr.turns.attempt import Attempt

MOST_TURNS = 65_536
"""Turns in the registry; beyond it the oldest is let go of, and is no longer judged."""


@dataclass(slots=True, eq=False)
class Turn:
    """One request of a client.

    Attributes:
        number: its name in CCR, unique in this process.
        session: who asks: a session of Claude Code, or a connection.
        path: of the request.
        began: monotonic seconds.
        attempts: in the order made; the latest is the one that counts.
        wanted: the model that was named in sending it again; None the first time.
        trial: a model that this turn is to try, in place of where its route leads.
        need: what the request needs of a model, once that had to be known.
        named: the client named a model of a provider itself.
        over: nobody waits for its answer any more.
        status: what the client was answered; 0 while it was not.
    """

    number: int
    session: str
    path: str
    began: float
    attempts: list[Attempt] = field(default_factory=list)
    wanted: ModelRef | None = None
    trial: ModelRef | None = None
    need: Need | None = None
    named: bool = False
    stream: bool = False
    over: bool = False
    status: int = 0

    @property
    def failure(self) -> Failure | None:
        """Why the latest attempt is no answer; None when it is one, or none was made."""
        return self.attempts[-1].failure if self.attempts else None

    @property
    def served_by(self) -> ModelRef | None:
        """Whose answer it is; None without one."""
        last = self.attempts[-1] if self.attempts else None
        return last.ref if last is not None and last.failure is None else None

    @property
    def went_well(self) -> bool:
        """Whether some model has answered it whole."""
        return any(attempt.went_well for attempt in self.attempts)

    @property
    def emptied(self) -> bool:
        """Whether some attempt ended well and without content: the next such one is the answer."""
        return any(t.failure and t.failure.trouble is Trouble.EMPTY for t in self.attempts)

    @property
    def refused(self) -> set[ModelRef]:
        """Models that were not asked, since they were left alone."""
        return {t.ref for t in self.attempts if t.failure and t.failure.trouble is Trouble.KNOWN}

    def close(self) -> None:
        """Nobody waits any more: what still runs for it at a provider is ended."""
        self.over = True
        for attempt in self.attempts:
            if attempt.abort is not None:
                attempt.abort()


class Turns:
    """The turns that are under way."""

    def __init__(self, most: int = MOST_TURNS) -> None:
        self._most = most
        self._numbers = count(1)
        self._turns: OrderedDict[int, Turn] = OrderedDict()

    def __len__(self) -> int:
        return len(self._turns)

    def begin(self, session: str, path: str, now: float) -> Turn:
        """A new turn."""
        turn = Turn(next(self._numbers), session, path, now)
        self._turns[turn.number] = turn
        if len(self._turns) > self._most:
            self._turns.popitem(last=False)
        return turn

    def get(self, number: int) -> Turn | None:
        """The turn of that number while it is under way."""
        return self._turns.get(number)

    def end(self, turn: Turn) -> None:
        """The turn is over, however it ended."""
        self._turns.pop(turn.number, None)
        turn.close()
