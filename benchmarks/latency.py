"""The load generator of what synccr costs, a process of its own.

``python -m benchmarks.latency`` reads one JSON task a line from standard input and answers
each with one line: ``{"times": [seconds, ...], "took": seconds}`` or ``{"error": TEXT}``.

One client is a blocking socket, many are `asyncio.Protocol`s: whatever this process needs
is taken from what it measures.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time

import msgspec

from benchmarks import wire


class Task(msgspec.Struct, frozen=True):
    """One block of requests.

    Attributes:
        port: where to.
        kind: ``health``, ``message``, ``stream``, or ``first``: a stream, timed to its first text.
        clients: how many at once.
        fresh: a new connection for each request.
        requests: of all clients together.
    """

    port: int
    kind: str
    clients: int
    fresh: bool
    requests: int

    def bytes(self) -> bytes:
        """The request."""
        if self.kind == "health":
            return wire.request("/health", close=self.fresh)
        body = wire.message(stream=self.kind in ("stream", "first"))
        return wire.request("/v1/messages", body, close=self.fresh)


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _exchange(sock: socket.socket, request: bytes, awaited: bytes = b"") -> float:
    """Ask, and read the whole answer; when *awaited* had come, or all of it."""
    sock.sendall(request)
    answer, seen = wire.Answer(), 0.0
    while not answer.add(data := sock.recv(65536)):
        if not data:
            raise ConnectionError("the connection ended before the answer was whole")
        if awaited and not seen and awaited in answer.data:
            seen = time.perf_counter()
    if answer.status != 200:
        raise ConnectionError(repr(answer.data[:300]))
    return seen or time.perf_counter()


def one_client(task: Task) -> tuple[list[float], float]:
    """Seconds of each request, and of the block."""
    request, awaited = task.bytes(), wire.TEXT if task.kind == "first" else b""
    times: list[float] = []
    kept = None if task.fresh else _connect(task.port)
    if kept is not None:
        _exchange(kept, request)  # the first one pays for the connection
    began = time.perf_counter()
    for _ in range(task.requests):
        start = time.perf_counter()
        sock = kept or _connect(task.port)
        times.append(_exchange(sock, request, awaited) - start)
        if kept is None:
            sock.close()
    took = time.perf_counter() - began
    if kept is not None:
        kept.close()
    return times, took


class _Block:
    """What the clients of one block share."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.request = task.bytes()
        self.left = task.requests
        self.times: list[float] = []


class _Client(asyncio.Protocol):
    """Sends the next request as soon as the last answer is whole."""

    def __init__(self, block: _Block) -> None:
        self._block = block
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer: wire.Answer | None = None
        self._start = time.perf_counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        if self._block.left <= 0:
            self._transport.close()
            return
        self._block.left -= 1
        self._answer = wire.Answer()
        if not self._block.task.fresh:
            self._start = time.perf_counter()
        self._transport.write(self._block.request)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or not answer.add(data):
            return
        self._answer = None
        if answer.status != 200:
            self._fail(ConnectionError(repr(answer.data[:300])))
            return
        self._block.times.append(time.perf_counter() - self._start)
        if self._block.task.fresh:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None:
            self._fail(exc or ConnectionError("the connection ended before the answer was whole"))
        elif not self.ended.done():
            self.ended.set_result(None)

    def _fail(self, error: Exception) -> None:
        self._answer = None
        self._transport.abort()
        if not self.ended.done():
            self.ended.set_exception(error)


async def many_clients(task: Task) -> tuple[list[float], float]:
    """As `one_client`, of clients that run at once."""
    loop = asyncio.get_running_loop()
    block = _Block(task)

    async def client() -> None:
        while block.left > 0:
            _, made = await loop.create_connection(lambda: _Client(block), "127.0.0.1", task.port)
            await made.ended

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(task.clients):
            group.create_task(client())
    return block.times, time.perf_counter() - began


def main() -> None:
    """Until standard input ends."""
    decoder = msgspec.json.Decoder(Task)
    with asyncio.Runner() as runner:
        for line in sys.stdin.buffer:
            task = decoder.decode(line)
            try:
                times, took = (
                    one_client(task) if task.clients == 1 else runner.run(many_clients(task))
                )
                answer = {"times": times, "took": took}
            except (OSError, ExceptionGroup) as error:
                answer = {"error": f"{task}: {error!r}"}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
