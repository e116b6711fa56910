"""Header fields that are of one hop: all that the proxy changes in a head.

``Connection`` speaks to one neighbour alone (RFC 9110 7.6.1): what a client says of its
connection to the proxy is not what the proxy says of its own to the backend. It is another one
on the other side only where that spares a connection to the backend for each request.
``x-synccr-…`` fields are between the proxy and CCR, and the model that answers is told to the
client in one. Framing fields change with a body that is another one.
"""

from __future__ import annotations

import re
from typing import Final

from synccr.models.report import ModelRef
from synccr.proxy.framing import RequestHead, ResponseHead
from synccr.turns.turn import Turn

_CLOSE: Final = b"\r\nconnection: close\r\n"
_KEEP: Final = b"\r\nconnection: keep-alive\r\n"
_OURS: Final = re.compile(rb"\r\nx-synccr-[^\r]*(?=\r\n)", re.IGNORECASE)
_KEYS: Final = re.compile(rb"\r\n(?:authorization|x-api-key):[^\r]*(?=\r\n)", re.IGNORECASE)
_FRAMING: Final = re.compile(
    rb"\r\n(?:content-length|transfer-encoding|expect):[^\r]*(?=\r\n)", re.IGNORECASE
)


def kept_open(head: RequestHead) -> bytes | None:
    """The bytes of *head* so that the backend keeps the connection; None where the client did
    not plainly ask for its end."""
    if head.version != b"HTTP/1.1" or head.count(b"connection") != 1:
        return None
    at = head.lower.find(_CLOSE)
    if at < 0:
        return None
    return b"".join((head.raw[:at], _KEEP, head.raw[at + len(_CLOSE) :]))


def marked(
    head: RequestHead, fields: bytes, turn: Turn | None, secret: bytes, *, opens: bool
) -> bytes:
    """*fields*, the bytes of *head* as they are sent on, with the turn's number and the secret
    for CCR. Whatever a client says in fields of our own is taken out.

    Args:
        opens: the secret is the key of CCR's port as well: it takes the place of the client's.
    """
    if head.has(b"x-synccr-"):
        fields = _OURS.sub(b"", fields)
    end = fields.index(b"\r\n")
    own = b"\r\nx-synccr-turn: %d" % turn.number if turn is not None else b""
    own += b"\r\nx-synccr-secret: %b" % secret
    if opens:
        fields = _KEYS.sub(b"", fields)
        own += b"\r\nauthorization: Bearer %b" % secret
    return fields[:end] + own + fields[end:]


def with_body(message: bytes, body: bytes) -> bytes:
    """The request *message* with *body* in place of its own."""
    head = _FRAMING.sub(b"", message[: message.index(b"\r\n\r\n") + 2])
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)


def closing(head: ResponseHead, piece: bytes) -> bytes:
    """*piece*, which begins with *head*, saying that the connection ends with this answer."""
    at = head.lower.find(_KEEP)
    if at >= 0:
        return b"".join((piece[:at], _CLOSE, piece[at + len(_KEEP) :]))
    end = len(head.raw) - 4
    return b"".join((piece[:end], _CLOSE, piece[end + 2 :]))


def served_by(head: ResponseHead, piece: bytes, model: ModelRef | None) -> bytes:
    """*piece*, which begins with *head*, saying which model answers."""
    if model is None:
        return piece
    name = str(model).encode("ascii", "replace")
    if not name.isascii() or b"\r" in name or b"\n" in name:
        return piece
    end = len(head.raw) - 2
    return b"%bx-synccr-model: %b\r\n%b" % (piece[:end], name, piece[end:])
