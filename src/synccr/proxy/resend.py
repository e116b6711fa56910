"""The same request for another model: how a request is named and changed on its way.

Only a request's head and the value of its top-level ``model`` are ever other ones than the
client sent; every other value keeps its bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

import httptools
import msgspec

from synccr.models.report import ModelRef
from synccr.proxy.framing import RequestHead, ResponseHead
from synccr.proxy.messages import Response
from synccr.turns.turn import Turn

_OURS: Final = re.compile(rb"\r\nx-synccr-[^\r]*(?=\r\n)", re.IGNORECASE)
_FRAMING: Final = re.compile(
    rb"\r\n(?:content-length|transfer-encoding|expect):[^\r]*(?=\r\n)", re.IGNORECASE
)


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


def marked(head: RequestHead, fields: bytes, turn: Turn | None, secret: bytes) -> bytes:
    """*fields*, the bytes of *head* as they are sent on, with the turn's number and the secret
    for CCR. Whatever a client says in fields of our own is taken out."""
    if head.has(b"x-synccr-"):
        fields = _OURS.sub(b"", fields)
    end = fields.index(b"\r\n")
    number = b"\r\nx-synccr-turn: %d" % turn.number if turn is not None else b""
    return b"%b%b\r\nx-synccr-secret: %b%b" % (fields[:end], number, secret, fields[end:])


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
    spliced = msgspec.json.encode(fields)
    head = _FRAMING.sub(b"", sent[: sent.index(b"\r\n\r\n") + 2])
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(spliced), spliced)


def served_by(head: ResponseHead, piece: bytes, model: ModelRef | None) -> bytes:
    """*piece*, which begins with *head*, saying which model answers."""
    if model is None:
        return piece
    name = str(model).encode("ascii", "replace")
    if not name.isascii() or b"\r" in name or b"\n" in name:
        return piece
    end = len(head.raw) - 2
    return b"%bx-synccr-model: %b\r\n%b" % (piece[:end], name, piece[end:])


class _Collector:
    """Takes a body out of its framing."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)
