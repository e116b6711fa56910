"""The same request for another model: who decides about it, and how it is renamed.

Only the value of its top-level ``model`` becomes another one; every other value keeps its
bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import httptools
import msgspec

from synccr.models.report import ModelRef
from synccr.proxy.forwarded_headers import with_body
from synccr.proxy.framing import RequestHead
from synccr.proxy.own_answers import Response
from synccr.turns.turn import Turn


@dataclass(frozen=True, slots=True)
class Resend:
    """Send the request again.

    Attributes:
        to: the model to name.
        wait: seconds before that.
    """

    to: ModelRef
    wait: float = 0.0


class TurnKeeper(Protocol):
    """What the proxy asks about the requests that it carries."""

    secret: bytes
    """Lets the proxy, and nobody else, into CCR's own port."""

    secret_opens: bool
    """Whether CCR's own port takes it for its key, in the place of the client's, which the proxy
    has looked at by then."""

    def begin(self, head: RequestHead, client: int) -> Turn:
        """A request begins; *client* tells connections apart."""
        ...

    def after_failure(self, turn: Turn, body: bytes) -> Resend | Response:
        """The latest try of *turn* failed and nothing was passed on.

        *body* is the client's.
        """
        ...

    def begun(self, turn: Turn, status: int) -> None:
        """An answer begins."""
        ...

    def ended(self, turn: Turn) -> None:
        """The turn is over, however it ended."""
        ...


def body_of(sent: bytes) -> bytes:
    """The body of a request as it was sent, without its chunks."""
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(sent)
    except httptools.HttpParserError:
        return b""
    return b"".join(collector.parts)


def renamed(sent: bytes, body: bytes, model: ModelRef) -> bytes:
    """The request *sent*, whose body is *body*, for *model*.

    Raises:
        ValueError: the body is no JSON object, so that it names no model.
    """
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError("the body is no JSON object") from error
    fields["model"] = msgspec.Raw(msgspec.json.encode(str(model)))
    return with_body(sent, msgspec.json.encode(fields))


class _Collector:
    """Takes a body out of its framing."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)
