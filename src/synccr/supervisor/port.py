"""The public port: bound before anything else, and whose it is when it is taken."""

from __future__ import annotations

import errno
import hmac
import socket
import sys

from synccr.errors import SynccrError, Taken
from synccr.relay import Guard
from synccr.relay.framing import Head

_NAMES = ("127.0.0.1", "localhost", "[::1]")


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket.

    Raises:
        Taken: another process listens there; says which, as far as the system tells.
        SynccrError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform != "win32":  # there it would let two programs share a port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            owner = listener_of(port)
            raise Taken(
                f"Port {port} is taken by {owner or 'another process'}.",
                "End that, or choose another port: synccr start --port N",
            ) from error
        raise SynccrError(
            f"Port {port} of {host} cannot be used: {error.strerror}.",
            "Choose another: synccr start --port N",
        ) from error
    return listener


def listener_of(port: int) -> str | None:
    """Who listens on a local port, in words; None when the system does not tell."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            at = connection.laddr
            if (
                at
                and at.port == port
                and connection.status == psutil.CONN_LISTEN
                and connection.pid
            ):
                process = psutil.Process(connection.pid)
                words = " ".join(process.cmdline()[:3])[:80]
                return f"{process.name()} (pid {process.pid}: {words})"
    except (psutil.Error, OSError):
        return None
    return None


def rebinding_guard(port: int) -> Guard:
    """Refuses requests whose ``Host`` is no name of this machine's loopback.

    A web page can make a browser send requests to 127.0.0.1 under a name of its
    own (DNS rebinding); without an ``APIKEY`` nothing else would stop it.
    """
    allowed = {f"{name}:{port}".encode() for name in _NAMES} | {n.encode() for n in _NAMES}

    def guard(_method: bytes, _target: bytes, head: Head) -> bytes | None:
        host = head.get(b"host")
        if host is None or host.lower() in allowed:
            return None
        return b"This address is not known here; use http://127.0.0.1:%d" % port

    return guard


def page_refusal(head: Head, port: int, api_key: str | None) -> tuple[int, str] | None:
    """Why CCR would not let its page's requests in, as status and text; None when it would.

    With an ``APIKEY`` CCR asks for it; without one it takes them from its own pages
    and from programs, which send no ``Origin``.
    """
    if not api_key:
        own = {f"http://{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}
        origin = head.get(b"origin")
        foreign = origin is not None and origin not in own
        return (403, "CORS not allowed for this origin") if foreign else None
    given = head.get(b"authorization") or head.get(b"x-api-key")
    if not given:
        return 401, "APIKEY is missing"
    token = given.removeprefix(b"Bearer").strip()
    return None if hmac.compare_digest(token, api_key.encode()) else (401, "Invalid API key")
