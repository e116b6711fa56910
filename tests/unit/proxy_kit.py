"""A backend that follows a script, and a client that speaks bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from synccr.proxy import BackendAddress, Proxy
from synccr.proxy.stream import NEXT, State, Stream

TIMEOUT = 20


@dataclass(frozen=True)
class Seen:
    """A request as a backend got it."""

    head: bytes
    body: bytes

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n")[0]


Handler = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


def request(
    target: str = "/echo", body: bytes = b"", *headers: str, method: str = "", version: str = "1.1"
) -> bytes:
    """A request; with a body it is a POST."""
    lines = [f"{method or ('POST' if body else 'GET')} {target} HTTP/{version}", "Host: localhost"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def response(body: bytes = b"ok", *headers: str, status: str = "200 OK") -> bytes:
    """A response with a length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def chunked(*parts: bytes) -> bytes:
    """A chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def echo(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Answer with what was asked."""
    writer.write(response(seen.line + b"|" + seen.body))


def after(go_on: asyncio.Event, answer: bytes | None = None) -> Handler:
    """Answer once that has happened; with what was asked, if no *answer* is given."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        if answer is None:
            await echo(seen, writer)
        else:
            writer.write(answer)

    return handler


async def never(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    del seen, writer
    await asyncio.Event().wait()


async def read_message(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Seen:
    """One message to its end; raises IncompleteReadError when it breaks off."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = head.lower()
    body = b""
    try:
        if b"\r\ntransfer-encoding: chunked" in fields and not bodiless:
            size = -1
            while size:
                size = int(await reader.readuntil(b"\r\n"), 16)
                body += (await reader.readexactly(size + 2))[:-2]
        elif b"\r\ncontent-length:" in fields and not bodiless:
            length = int(fields.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
    except asyncio.IncompleteReadError as end:
        raise asyncio.IncompleteReadError(head + end.partial, None) from end
    return Seen(head, body)


@contextlib.asynccontextmanager
async def byte_backend(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    generation: int = 1,
    **options: int,
) -> AsyncIterator[BackendAddress]:
    """A backend that decides about every byte; enter it before the stage."""
    options = {"port": 0, **options}
    server = await asyncio.start_server(serve, "127.0.0.1", **options)
    try:
        yield BackendAddress(generation, *server.sockets[0].getsockname())
    finally:
        server.close()


class FakeBackend:
    """A listener that records the requests it gets and answers them by its handler."""

    def __init__(self, generation: int, handler: Handler) -> None:
        self.generation = generation
        self.handler = handler
        self.seen: list[Seen] = []
        self.connections = 0
        self.open = 0
        self.broken = 0  # connections that ended within a request or an answer
        self.changed = asyncio.Condition()
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._sock.setblocking(False)
        self.port: int = self._sock.getsockname()[1]
        self._tasks: dict[asyncio.Task[None], socket.socket] = {}
        asyncio.get_running_loop().add_reader(self._sock, self._accept)

    @property
    def address(self) -> BackendAddress:
        return BackendAddress(self.generation, "127.0.0.1", self.port)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something this backend has seen makes *condition* true."""
        async with asyncio.timeout(TIMEOUT), self.changed:
            await self.changed.wait_for(condition)

    def stop_listening(self) -> None:
        """Take no new connection; those that are open stay."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    async def kill(self) -> None:
        """Be gone at once, as a process is that gets SIGKILL."""
        if self._sock.fileno() >= 0:
            self.stop_listening()
        tasks = dict(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in tasks.values():
            connection.close()

    def _accept(self) -> None:
        connection, _ = self._sock.accept()
        task = asyncio.create_task(self._serve(connection))
        self._tasks[task] = connection
        task.add_done_callback(self._tasks.pop)
        self.connections += 1

    async def _note(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=1 << 22)
        self.open += 1
        broken = False
        try:
            await self._note()
            message = await read_message(reader)
            while True:
                self.seen.append(message)
                await self._note()
                # The proxy sends one request at a time, so only an end can come meanwhile.
                following = asyncio.create_task(read_message(reader))
                answering = asyncio.create_task(self._answer(message, writer))
                try:
                    await asyncio.wait({following, answering}, return_when="FIRST_COMPLETED")
                    if answering.done():
                        await answering
                    message = await following
                    assert answering.done()
                finally:
                    broken = not answering.done()
                    for unfinished in (following, answering):
                        unfinished.cancel()
                    await asyncio.wait({following, answering})
                    for finished in (following, answering):
                        finished.cancelled() or finished.exception()
        except asyncio.IncompleteReadError as end:
            broken = broken or bool(end.partial)
        except OSError:
            broken = True
        finally:
            self.broken += broken
            writer.transport.abort()
            self.open -= 1
            await asyncio.sleep(0)  # the transport closes its socket in the next round
            await asyncio.shield(asyncio.create_task(self._note()))

    async def _answer(self, message: Seen, writer: asyncio.StreamWriter) -> None:
        await self.handler(message, writer)
        await writer.drain()


class Wire:
    """A client that decides about every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self, *, bodiless: bool = False) -> Seen:
        """One response to its end."""
        async with asyncio.timeout(TIMEOUT):
            return await read_message(self.reader, bodiless=bodiless)

    async def ask(self, data: bytes, *, bodiless: bool = False) -> Seen:
        """Send *data* and return the response."""
        await self.send(data)
        return await self.receive(bodiless=bodiless)

    async def rest(self) -> bytes:
        """Everything until the connection ends in the ordinary way."""
        async with asyncio.timeout(TIMEOUT):
            return await self.reader.read()

    def leave(self, *, reset: bool = False) -> None:
        """Close both directions at once."""
        if reset:
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Stage:
    """A proxy, its backends and its clients, all cleaned up at the end."""

    def __init__(self, proxy: Proxy, port: int) -> None:
        self.proxy = proxy
        self.port = port
        self.backends: list[FakeBackend] = []
        self.wires: list[Wire] = []

    async def backend(self, handler: Handler = echo, *, switch: bool = True) -> FakeBackend:
        """A further backend, by default the current one from now on."""
        backend = FakeBackend(len(self.backends) + 1, handler)
        self.backends.append(backend)
        if switch:
            self.proxy.switch.use(backend.address)
        return backend

    async def wire(self) -> Wire:
        """A new client."""
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22))
        self.wires.append(wire)
        return wire

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the proxy has come so far."""
        async with asyncio.timeout(TIMEOUT):
            while not condition():
                await asyncio.sleep(0.002)

    async def idle(self) -> None:
        """Wait until nothing is in flight anywhere."""
        await self.until(
            lambda: not any(self.proxy.switch.in_flight(b.generation) for b in self.backends)
        )


@contextlib.asynccontextmanager
async def stage(proxy: Proxy | None = None) -> AsyncIterator[Stage]:
    """A proxy on a free port, with nothing behind it yet. Each of its streams goes from one state
    to the next as `NEXT` says, and nothing of one is left."""
    steps: set[tuple[State, State]] = set()
    become = Stream._become

    def watched(self: Stream, state: State) -> None:
        steps.add((self.state, state))
        become(self, state)

    proxy = proxy or Proxy(hold_timeout=TIMEOUT)
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    await proxy.start(sock)
    scene = Stage(proxy, port)
    Stream._become = watched  # type: ignore[method-assign]
    try:
        yield scene
    finally:
        for wire in scene.wires:
            wire.leave()
        await proxy.close(0)
        for backend in scene.backends:
            await backend.kill()
        await asyncio.sleep(0)
        Stream._become = become  # type: ignore[method-assign]
        assert proxy.shared.budget.used == 0
        assert not any(proxy.switch.in_flight(backend.generation) for backend in scene.backends)
        assert [step for step in steps if step[1] not in NEXT[step[0]]] == []


def status(seen: Seen) -> int:
    """The status code of a response."""
    return int(seen.head.split()[1])


def error_type(seen: Seen) -> str:
    """The error's type in Anthropic's shape."""
    document = json.loads(seen.body)
    assert document["type"] == "error"
    assert document["error"]["message"]
    return str(document["error"]["type"])
