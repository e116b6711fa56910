"""What the transport tests share: a receiver that keeps what it hears, and answers."""

from __future__ import annotations

import asyncio

from synccr.transport import Broken, CannotReach, Outgoing, Transport
from synccr.transport.http_types import Headers
from ways import Handler

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Heard:
    """A receiver."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self.failure: CannotReach | Broken | None = None
        self.ends = 0
        self.over = asyncio.Event()
        self.begun = asyncio.Event()

    def head(self, status: int, headers: Headers) -> None:
        assert not self.over.is_set()
        self.status, self.headers = status, dict(headers)

    def body(self, data: bytes) -> None:
        assert not self.over.is_set()
        self.pieces.append(data)
        self.begun.set()

    def end(self) -> None:
        self.ends += 1
        self.over.set()

    def cut(self, failure: CannotReach | Broken) -> None:
        self.failure = failure
        self.ends += 1
        self.over.set()

    # Last in the class: below it `bytes` is not the type.
    @property
    def bytes(self) -> bytes:
        return b"".join(self.pieces)


async def ask(transport: Transport, url: str, body: bytes = b"", **options: str) -> Heard:
    """One request, to its end."""
    heard = Heard()
    transport.start(Outgoing("POST" if body else "GET", url, (), body), heard, **options)
    await asyncio.wait_for(heard.over.wait(), 10)
    await asyncio.sleep(0)
    assert heard.ends == 1
    return heard


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of a request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    return head, await reader.readexactly(length)


def answering(*answers: bytes, keep: bool = True) -> Handler:
    """Each request gets the next answer, the last one for ever; then the end or the next one."""
    left = list(answers)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()
            if not keep:
                return

    return handler
