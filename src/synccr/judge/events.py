"""What happens to an answer, and what the judge says to each happening."""

from __future__ import annotations

import msgspec

from synccr.judge.outcome import Failure


class Head(msgspec.Struct, frozen=True):
    """The answer's status and ``content-type``; an empty text when that is missing."""

    status: int
    content_type: str


class Body(msgspec.Struct, frozen=True):
    """Some bytes of the body, without transfer or content coding."""

    data: bytes

    def __repr__(self) -> str:
        return f"Body({len(self.data)} bytes)"


class End(msgspec.Struct, frozen=True):
    """The body ended as HTTP ends one."""


class Cut(msgspec.Struct, frozen=True):
    """The connection broke."""

    reason: str


class Silent(msgspec.Struct, frozen=True):
    """No byte came for this long."""

    seconds: float


Event = Head | Body | End | Cut | Silent


class Hold(msgspec.Struct, frozen=True):
    """Nothing to do."""


class Pass(msgspec.Struct, frozen=True):
    """Hand these bytes on; before the first ones, the head."""

    data: bytes

    def __repr__(self) -> str:
        return f"Pass({len(self.data)} bytes)"


class Fail(msgspec.Struct, frozen=True):
    """Nothing was passed on: answer with this failure. Nothing follows."""

    failure: Failure


class Abort(msgspec.Struct, frozen=True):
    """A trouble after content: break the connection. Nothing follows.

    Attributes:
        failure: what happened.
        data: bytes from before the trouble that have not been passed on. Content is among
            them when it came in one piece with the trouble; then nothing has been passed
            on, and the failure may be answered as :class:`Fail` is.
    """

    failure: Failure
    data: bytes = b""

    def __repr__(self) -> str:
        return f"Abort({self.failure!r}, {len(self.data)} bytes)"


class Done(msgspec.Struct, frozen=True):
    """Whole: hand the remaining bytes on and end the answer. Nothing follows."""

    data: bytes

    def __repr__(self) -> str:
        return f"Done({len(self.data)} bytes)"


Action = Hold | Pass | Fail | Abort | Done
