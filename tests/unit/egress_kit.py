"""A provider that follows a script, and CCR's side of the egress, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from proxy_kit import Seen, chunked, read_message

from synccr.config.profile import Provider
from synccr.egress.attempt_runner import AttemptServices
from synccr.egress.egress import Egress
from synccr.egress.provider_lookup import ProviderLookup
from synccr.egress.silence_limits import SilenceLimits
from synccr.judge.outcome import Failure
from synccr.models.report import ModelRef
from synccr.transport import Transport
from synccr.turns.attempt import Attempt
from synccr.turns.turn import Turn, Turns

MAIN = ModelRef("acme", "main")
Handler = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


def sse(*documents: Any) -> list[bytes]:
    """Events of OpenAI's chat form."""
    return [b"data: " + json.dumps(d).encode() + b"\n\n" for d in documents]


def delta(text: str, finish: str | None = None) -> dict[str, Any]:
    """One piece of a streamed answer."""
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def completion(text: str, finish: str = "stop") -> bytes:
    """A whole answer."""
    message = {"role": "assistant", "content": text}
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def piece(data: bytes) -> bytes:
    """One chunk."""
    return chunked(data).removesuffix(b"0\r\n\r\n")


@dataclass
class Keys:
    """Puts one key in place of one placeholder."""

    placeholder: bytes = b"synccr.ACME.00"
    key: bytes = b"real-key"

    def substitute(
        self, url: str, headers: Sequence[tuple[bytes, bytes]]
    ) -> tuple[str, Sequence[tuple[bytes, bytes]]]:
        return url, [(n, v.replace(self.placeholder, self.key)) for n, v in headers]


@dataclass
class Scene:
    """An egress between a provider and whoever plays CCR."""

    egress: Egress
    provider: asyncio.Server
    ended: list[tuple[Turn | None, Attempt]]
    seen: list[Seen]
    left: list[bool]
    address: str

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.egress.port, limit=1 << 22)

    def request(
        self,
        turn: Turn | None = None,
        *,
        stream: bool = True,
        path: str = "/v1/chat/completions",
        **fields: str,
    ) -> bytes:
        body = json.dumps({"model": "main", "stream": stream, "messages": []}).encode()
        headers = {
            "host": "x",
            "x-synccr-secret": self.egress.secret,
            "x-synccr-to": self.address,
            "x-synccr-turn": str(turn.number) if turn else "",
            "authorization": "Bearer synccr.ACME.00",
            "content-length": str(len(body)),
            **{name.replace("_", "-"): value for name, value in fields.items()},
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body

    async def ask(
        self,
        turn: Turn | None = None,
        *,
        stream: bool = True,
        path: str = "/v1/chat/completions",
    ) -> Seen:
        """One request of CCR on a connection of its own, and the answer's end."""
        reader, writer = await self.connect()
        try:
            writer.write(self.request(turn, stream=stream, path=path))
            async with asyncio.timeout(10):
                return await read_message(reader)
        finally:
            writer.transport.abort()

    def turn(self) -> Turn:
        return self.egress.services.turns.begin("session", "/v1/messages", time.monotonic())

    async def until(self, fact: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not fact():
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def stage(
    handler: Handler,
    *,
    permit: Callable[[Attempt, Turn | None], Failure | None] = lambda _attempt, _turn: None,
    silence: SilenceLimits | None = None,
    most_unproven: int = 256,
) -> AsyncIterator[Scene]:
    """Everything up, and everything down again."""
    seen: list[Seen] = []
    left: list[bool] = []
    ended: list[tuple[Turn | None, Attempt]] = []
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            message = await read_message(reader)
            seen.append(message)
            gone = asyncio.ensure_future(reader.read(1))
            answering = asyncio.ensure_future(handler(message, writer))
            try:
                await asyncio.wait({gone, answering}, return_when="FIRST_COMPLETED")
                if not answering.done():
                    left.append(True)
                    return
            finally:
                for unfinished in (gone, answering):
                    unfinished.cancel()
                await asyncio.gather(gone, answering, return_exceptions=True)

    provider = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 22)
    port = provider.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    acme = Provider("acme", url, "real-key", ("main", "spare"))
    lookup = ProviderLookup((acme,))
    services = AttemptServices(
        turns=Turns(),
        transport=Transport(environ={}),
        silence=silence or SilenceLimits(60.0, 180.0),
        providers=lambda: lookup,
        substitute=Keys().substitute,
        permit=permit,
        on_ended=lambda turn, attempt: ended.append((turn, attempt)),
        provider_at={"p1": acme}.get,
    )
    egress = Egress(services, most_unproven=most_unproven)
    await egress.start()
    try:
        yield Scene(egress, provider, ended, seen, left, url)
    finally:
        await egress.close()
        provider.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(2):  # the loop closes sockets in its next round
            await asyncio.sleep(0)
