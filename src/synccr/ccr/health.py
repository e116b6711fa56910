"""Asking a CCR whether it serves."""

from __future__ import annotations

import asyncio
import contextlib

_REQUEST = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


async def answers(port: int, timeout: float) -> bool:
    """Whether ``GET /health`` on 127.0.0.1 is answered with 200 within ``timeout`` seconds."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_REQUEST)
            line = await reader.readline()
    except (OSError, ValueError, TimeoutError):
        return False
    finally:
        if writer:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    return line.split(b" ")[1:2] == [b"200"]
