"""What goes out, what comes back, and why nothing did. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, Protocol
from urllib.parse import quote, urlsplit

PORTS: Final = {"http": 80, "https": 443}

Headers = Sequence[tuple[bytes, bytes]]
Why = Literal["dns", "refused", "tls", "proxy", "timeout", "address", "network"]

HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding"}
    | {b"upgrade"}
)
"""Headers that are about one connection (RFC 9110 7.6.1)."""
_OURS: Final = HOP | {b"accept-encoding", b"content-length", b"expect", b"host"}
_SAFE: Final = "!$%&'()*+,/:;=?@[]~"


@dataclass(frozen=True)
class Outgoing:
    """One request; what may hold a key or a prompt is not shown in ``repr``.

    Attributes:
        method: for example ``POST``.
        url: whole, http or https.
        headers: as given, but for those that the transport writes itself: ``host``,
            ``content-length``, ``accept-encoding``, ``expect`` and those of one connection.
        body: whole.
    """

    method: str
    url: str = field(repr=False)
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False, default=())
    body: bytes = field(repr=False, default=b"")


@dataclass(frozen=True)
class CannotReach:
    """There was no connection, so nothing was sent.

    Attributes:
        kind: what is in the way.
        detail: one line for a person, without credentials.
    """

    kind: Why
    detail: str


@dataclass(frozen=True)
class Broken:
    """There was a connection, and no whole answer.

    Attributes:
        detail: one line for a person.
        began: the head of an answer had come.
        unreadable: bytes came that cannot be unpacked.
    """

    detail: str
    began: bool
    unreadable: bool = False


@dataclass(frozen=True)
class Answer:
    """A whole answer, or its first bytes; names of headers are lower case."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = field(repr=False)


class Receiver(Protocol):
    """Whom an answer is told: one ``head``, ``body`` as often as bytes come, then ``end``; or
    ``cut`` at any time, after which nothing follows. Never called within ``Transport.start``."""

    def head(self, status: int, headers: Headers) -> None:
        """Names are lower case; headers of one connection are left out."""

    def body(self, data: bytes) -> None:
        """Without chunk marks, and unpacked."""

    def end(self) -> None:
        """The answer is whole."""

    def cut(self, failure: CannotReach | Broken) -> None:
        """No connection, or it broke."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads.

    Attributes:
        host: lower case, without brackets.
        resource: path and query as they are sent.
        authority: as it is sent in ``host``.
    """

    scheme: str
    host: str
    port: int
    resource: bytes = field(repr=False)
    authority: bytes


@lru_cache(512)
def target_of(url: str) -> Target:
    """Understand an http(s) URL.

    Raises:
        ValueError: nothing can be sent there. A name and a password in it are refused, as
            Node's ``fetch`` does.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
        host = parts.hostname or ""
        if ":" not in host:
            host = host.encode("idna").decode()
    except ValueError:
        host, port = "", 0
    if not host or not port:
        raise ValueError("api_base_url is not a usable http(s) address")
    if "@" in parts.netloc:
        raise ValueError("api_base_url holds a name or a password, which is not sent")
    shown = f"[{host}]" if ":" in host else host
    if port != PORTS[parts.scheme]:
        shown += f":{port}"
    resource = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        resource += "?" + quote(parts.query, safe=_SAFE)
    return Target(parts.scheme, host, port, resource.encode(), shown.encode())


def head_of(request: Outgoing, target: Target) -> bytes:
    """The head of a request, its empty line included.

    Raises:
        ValueError: a line break where none may be.
    """
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), target.resource)]
    lines += [b"host: " + target.authority, b"accept-encoding: identity"]
    lines += [b"%s: %s" % field for field in request.headers if field[0].lower() not in _OURS]
    if request.body or request.method in {"POST", "PUT", "PATCH"}:
        lines.append(b"content-length: %d" % len(request.body))
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if not len(lines) + 1 == head.count(b"\n") == head.count(b"\r"):
        raise ValueError("a header holds a line break")
    return head
