"""The first request to a CCR 3 takes a second more; it is ours, and reaches no provider."""

from __future__ import annotations

import asyncio
import contextlib

_BODY = b'{"model":"synccr,none","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}'
_REQUEST = (
    b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
    b"content-type: application/json\r\nx-synccr-warm-up: 1\r\nauthorization: Bearer %b\r\n"
    b"content-length: %d\r\n\r\n%b"
)


async def warm_up(port: int, secret: str, timeout: float) -> None:
    """Ask once for a model that nobody has. One that does not answer is warmed by a client.

    Args:
        port: of the gateway, on 127.0.0.1.
        secret: opens it.
        timeout: seconds.
    """
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(_REQUEST % (secret.encode(), len(_BODY), _BODY))
                await reader.read()
            finally:
                writer.close()
