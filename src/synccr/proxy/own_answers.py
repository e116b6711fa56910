"""What the proxy itself says and hands to its hooks."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_to_bytes

from synccr.proxy.framing import Head

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

# Error types of Anthropic's API; its clients show the message and know which to retry.
_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    408: "timeout_error",
    413: "request_too_large",
    431: "request_too_large",
    501: "invalid_request_error",
    503: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request collected whole for a handler.

    Attributes:
        method: for example ``b"POST"``.
        path: the path without query, percent-decoded.
        head: request line and header fields; ``head.get(b"authorization")`` reads one.
        body: the body as sent; a chunked one still has its chunk lines.
    """

    method: bytes
    path: bytes
    head: Head = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """What a handler answers.

    Attributes:
        status: HTTP status code, 200 or more.
        body: the whole body.
        content_type: value of the header field.
        headers: further header fields; framing and connection are the proxy's own.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Guard = Callable[[bytes, bytes, Head], Response | None]
"""Sees method, target and head of each request; returns how it is refused, or None."""

Handler = Callable[[Request], Awaitable[Response]]
"""Answers a request in the backend's place."""


def error(status: int, message: str, *, retry_after: int | None = None) -> Response:
    """An error in the shape of Anthropic's API."""
    kind = _ERROR_TYPES.get(status, "api_error")
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}})
    headers = () if retry_after is None else (("retry-after", str(retry_after)),)
    return Response(status, body.encode(), headers=headers)


def encode(response: Response, *, close: bool, bodiless: bool) -> bytes:
    """The bytes of *response*; *close* announces the end of the connection."""
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = ""
    lines = [
        f"HTTP/1.1 {response.status} {phrase}",
        f"content-type: {response.content_type}",
        f"content-length: {len(response.body)}",
        *(f"{name}: {value}" for name, value in response.headers),
        f"connection: {'close' if close else 'keep-alive'}",
    ]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head if bodiless else head + response.body


def path_of(target: bytes) -> bytes:
    """The path of a request target as CCR's router sees it: no origin, no query, decoded."""
    if not target.startswith(b"/"):  # absolute form: http://host/path
        _, _, rest = target.partition(b"://")
        target = b"/" + rest.partition(b"/")[2]
    for delimiter in (b"?", b"#", b";"):
        target = target.partition(delimiter)[0]
    return unquote_to_bytes(target) if b"%" in target else target
