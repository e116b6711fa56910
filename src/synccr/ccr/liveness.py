"""Asking a CCR whether it serves."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from enum import Enum, auto

UNHEALTHY_AFTER = 3
"""Looks at ``/health`` in a row without an answer after which a backend is dead."""
BUSY_LIMIT = 150.0
"""Seconds for which one that works and answers nothing is waited for."""
BUSY_SHARE = 0.1
"""The share of a core from which on it works. One that hangs uses next to nothing; one that
works has the whole core only where nobody else wants it."""

_REQUEST = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class Look(Enum):
    """What ``GET /health`` came to."""

    HEALTHY = auto()
    CLOSED = auto()
    """The connection was refused: nobody listens there any more."""
    SILENT = auto()
    """No answer in time, or another one than 200."""


@dataclass
class Liveness:
    """Tells a backend that is dead from one that works: CCR counts the tokens of a request in
    one go, and answers nothing meanwhile. 100 KB of one letter take it 18 s.

    Attributes:
        missed: looks in a row that count as without an answer.
    """

    missed: int = 0
    _silent_since: float | None = None

    @property
    def uneasy(self) -> bool:
        """Whether the latest look had no answer."""
        return self._silent_since is not None

    def over(self, found: Look, *, used: float, waited: float, now: float) -> bool:
        """Take a look; whether the backend is as good as dead.

        Args:
            found: what the look came to.
            used: CPU seconds that the backend used meanwhile.
            waited: how long that was, in seconds.
            now: monotonic seconds.
        """
        if found is not Look.SILENT:
            self.missed, self._silent_since = 0, None
            return False
        if self._silent_since is None:
            self._silent_since = now - waited
        busy = waited >= 1 and used >= waited * BUSY_SHARE and now - self._silent_since < BUSY_LIMIT
        self.missed += not busy
        return self.missed >= UNHEALTHY_AFTER


async def look(port: int, timeout: float) -> Look:
    """Ask for ``/health`` on 127.0.0.1 and wait ``timeout`` seconds for the answer."""
    try:
        status = await _status(port, "/health", timeout)
    except ConnectionRefusedError:
        return Look.CLOSED
    except (OSError, ValueError, TimeoutError):
        return Look.SILENT
    return Look.HEALTHY if status == b"200" else Look.SILENT


async def answers(port: int, timeout: float) -> bool:
    """Whether ``GET /health`` on 127.0.0.1 is answered with 200 within ``timeout`` seconds."""
    return await look(port, timeout) is Look.HEALTHY


async def refuses(port: int, timeout: float) -> bool:
    """Whether ``GET /`` without the proxy's secret is answered with 403, which CCR never does."""
    try:
        return await _status(port, "/", timeout) == b"403"
    except (OSError, ValueError, TimeoutError):
        return False


async def _status(port: int, target: str, timeout: float) -> bytes:
    """The status that a GET is answered with; empty for what is no HTTP.

    Raises:
        OSError, ValueError, TimeoutError: there is none.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_REQUEST % target.encode())
            line = await reader.readline()
    finally:
        if writer:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    return b"".join(line.split(b" ")[1:2])
