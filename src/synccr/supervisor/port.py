"""The public port: bound before anything else, and whose it is when it is taken."""

from __future__ import annotations

import errno
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
