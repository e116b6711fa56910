"""Asking a CCR whether it serves."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, auto

_REQUEST = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class Look(Enum):
    """What ``GET /health`` came to."""

    HEALTHY = auto()
    CLOSED = auto()
    """The connection was refused: nobody listens there any more."""
    SILENT = auto()
    """No answer in time, or another one than 200."""


async def look(port: int, timeout: float) -> Look:
    """Ask for ``/health`` on 127.0.0.1 and wait ``timeout`` seconds for the answer."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_REQUEST)
            line = await reader.readline()
    except ConnectionRefusedError:
        return Look.CLOSED
    except (OSError, ValueError, TimeoutError):
        return Look.SILENT
    finally:
        if writer:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    return Look.HEALTHY if line.split(b" ")[1:2] == [b"200"] else Look.SILENT


async def answers(port: int, timeout: float) -> bool:
    """Whether ``GET /health`` on 127.0.0.1 is answered with 200 within ``timeout`` seconds."""
    return await look(port, timeout) is Look.HEALTHY
