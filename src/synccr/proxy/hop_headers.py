"""``Connection`` speaks to one neighbour alone (RFC 9110 7.6.1): what a client says of its
connection to the relay is not what the relay says of its own to the backend.

It is another one on the other side only where that spares a connection to the backend for each
request.
"""

from __future__ import annotations

from typing import Final

from synccr.proxy.framing import RequestHead, ResponseHead

_CLOSE: Final = b"\r\nconnection: close\r\n"
_KEEP: Final = b"\r\nconnection: keep-alive\r\n"


def kept_open(head: RequestHead) -> bytes | None:
    """The bytes of *head* so that the backend keeps the connection; None where the client did
    not plainly ask for its end."""
    if head.version != b"HTTP/1.1" or head.count(b"connection") != 1:
        return None
    at = head.raw.lower().find(_CLOSE)
    if at < 0:
        return None
    return b"".join((head.raw[:at], _KEEP, head.raw[at + len(_CLOSE) :]))


def closing(head: ResponseHead, piece: bytes) -> bytes:
    """*piece*, which begins with *head*, saying that the connection ends with this answer."""
    at = head.raw.lower().find(_KEEP)
    if at >= 0:
        return b"".join((piece[:at], _CLOSE, piece[at + len(_KEEP) :]))
    end = len(head.raw) - 4
    return b"".join((piece[:end], _CLOSE, piece[end + 2 :]))
