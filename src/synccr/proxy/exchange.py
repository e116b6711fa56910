"""What happens to one request: the proxy's judgement, without a socket or a clock.

An exchange is one request and its answer. It is told what happened and returns what to do;
its `Stream` does it.

    told                 nothing passed, kept       nothing passed, not kept   answer begun
    place                FORWARD, WAIT or FAIL      FORWARD, WAIT or FAIL      -
    lost                 RESEND                     FAIL                       CUT
    garbage              FAIL                       FAIL                       CUT
    answered 1xx         SWALLOW or INTERIM         SWALLOW or INTERIM         -
    answered 503         PASS, VERIFY or RESEND     PASS                       -
    answered otherwise   PASS                       PASS                       -
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

MAX_GENERATIONS: Final = 3
"""A request that has seen so many backends die is not given to a further one: it may be why."""

MAX_SENDS: Final = 3
"""Times one generation gets a request: once, again at once (the usual race with an idle
connection being closed), and once more after a pause."""


class Action(Enum):
    """What to do with a request or an answer now."""

    FORWARD = auto()  # send the request to the current backend, from its first byte
    WAIT = auto()  # keep it until a backend comes, the pause is over, or time is up
    RESEND = auto()  # take it back from its backend, then place it again
    PASS = auto()  # pass the answer on; from here it has begun
    INTERIM = auto()  # pass the interim response on; the answer is still to come
    SWALLOW = auto()  # drop the interim response
    VERIFY = auto()  # hold the answer back and find out whether the backend still listens
    CUT = auto()  # abort the client's connection: what it got is not whole
    FAIL = auto()  # answer 502


class Exchange:
    """One request on its way.

    Attributes:
        begun: a byte of the final answer may have reached the client.
        generation: the backend that got the request last, None before the first time.
        generations: how many different backends got it.
        sends: how often `generation` got it.
    """

    __slots__ = ("begun", "generation", "generations", "sends")

    def __init__(self) -> None:
        self.begun = False
        self.generation: int | None = None
        self.generations = 0
        self.sends = 0

    def place(self, available: int | None, *, paused: bool = False) -> Action:
        """Where the request goes, given the generation that serves now (None: none does).

        *paused* tells that a reconnect pause has passed since it was lost.
        """
        if available != self.generation and self.generations >= MAX_GENERATIONS:
            return Action.FAIL
        if available is None:
            return Action.WAIT
        if available != self.generation:
            return Action.FORWARD
        if self.sends >= MAX_SENDS:
            return Action.FAIL
        return Action.FORWARD if self.sends < MAX_SENDS - 1 or paused else Action.WAIT

    def sent(self, generation: int) -> None:
        """The request was given to *generation*."""
        if generation != self.generation:
            self.generation = generation
            self.generations += 1
            self.sends = 0
        self.sends += 1

    def again(self) -> None:
        """The request goes out as another one, for another model: its sends count anew. The
        backend that carried it is none that died of it."""
        self.sends = 0

    def lost(self, *, kept: bool) -> Action:
        """The backend's connection ended, or its time is over, before the answer was whole."""
        if self.begun:
            return Action.CUT
        return Action.RESEND if kept else Action.FAIL

    def garbage(self) -> Action:
        """The backend sent something that is not HTTP."""
        return Action.CUT if self.begun else Action.FAIL

    def answered(self, status: int, *, kept: bool, serving: bool, closes: bool) -> Action:
        """The head of a response is complete.

        *serving* tells whether its backend is the current one, as far as is known; *closes*
        whether the response ends its connection. A CCR that has had SIGTERM answers 503 with
        ``Connection: close`` on connections that are open; so may a provider through it.
        """
        if status < 200:
            # The proxy has answered Expect: 100-continue itself.
            return Action.SWALLOW if status == 100 else Action.INTERIM
        if status == 503 and kept:
            if not serving and self.generations < MAX_GENERATIONS:
                return Action.RESEND
            if serving and closes:
                return Action.VERIFY
        self.begun = True
        return Action.PASS

    def verified(self, *, listening: bool, kept: bool) -> Action:
        """What VERIFY found: whether the backend that said 503 takes new connections."""
        if not listening and kept and self.generations < MAX_GENERATIONS:
            return Action.RESEND
        self.begun = True
        return Action.PASS
