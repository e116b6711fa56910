"""TCP ports of 127.0.0.1: one that nobody has, and who has one."""

from __future__ import annotations

import random
import socket

# Below what Linux (32768), macOS and Windows (49152) number outgoing connections with, and a
# program that asks for any port: nobody is given one of these between the look and its use.
_RANGE = range(20_000, 32_000)
_TRIES = 50


def free_port() -> int:
    """A port that nobody has at this moment, and that nobody is handed by chance."""
    for port in random.SystemRandom().sample(_RANGE, _TRIES):
        if is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nobody has this port at this moment."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


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
