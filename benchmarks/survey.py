"""Clients that go on whatever happens, a process of its own, and what they saw.

``python -m benchmarks.survey PORT CLIENTS`` runs until standard input ends, then prints one
JSON list of ``[sent, ended, outcome, model]``, times in seconds of the monotonic clock. Odd
clients use a new connection for each request, even ones keep theirs; every other request
streams. Each answer must hold its own request's word.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from benchmarks import wire

PAUSE = 0.05
"""Seconds between a client's requests: 20 clients make just under 400 requests a second."""

OK = "ok"
CUT = "cut"
_TEXT = re.compile(rb'"(?:type":"text_delta","text|type":"text","text|text)"\s*:\s*"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a client.

    Attributes:
        sent, ended: seconds of the monotonic clock.
        outcome: ``ok``; ``cut`` when the answer broke off after its first byte; else what
            the client got in place of an answer.
        model: the model that the answer names.
    """

    sent: float
    ended: float
    outcome: str
    model: str = ""


class Survey:
    """Clients at work in a process of their own. For ``with``; then read `requests`."""

    def __init__(self, port: int, clients: int, *, pause: float = PAUSE) -> None:
        self._command = [
            *(sys.executable, "-m", "benchmarks.survey"),
            *(str(port), str(clients), str(pause)),
        ]
        self.requests: list[Request] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(self, *exc: object) -> None:
        out, _ = self._process.communicate()
        self.requests = [Request(*row) for row in json.loads(out or b"[]")]


def longest_gap(requests: Sequence[Request], begin: float, end: float) -> float:
    """Seconds of the longest time within [begin, end] in which no request succeeded."""
    successes = sorted(r.ended for r in requests if r.outcome == OK and begin <= r.ended <= end)
    points = [begin, *successes, end]
    return max(after - before for before, after in itertools.pairwise(points))


def failures(requests: Sequence[Request], begin: float, end: float) -> Counter[str]:
    """How many requests that ended within [begin, end] did not succeed, by outcome."""
    return Counter(r.outcome for r in requests if r.outcome != OK and begin <= r.ended <= end)


# The process.


class _Connection(asyncio.Protocol):
    """Carries one request after the other."""

    def __init__(self) -> None:
        self.open = False
        self._answer = wire.Answer()
        self._waiting: asyncio.Future[str] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open = True

    def data_received(self, data: bytes) -> None:
        if self._answer.add(data) and self._waiting and not self._waiting.done():
            self._waiting.set_result("whole")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.open = False
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(CUT if self._answer.data else "lost")

    async def ask(self, request: bytes) -> tuple[str, wire.Answer]:
        """Send a request; ``whole``, ``cut`` or ``lost``, and what came."""
        self._answer = wire.Answer()
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._waiting, self._answer


class _Client:
    def __init__(self, port: int, number: int) -> None:
        self._port = port
        self._number = number
        self._fresh = bool(number % 2)
        self._connection: _Connection | None = None

    async def ask(self, turn: int) -> tuple[str, str]:
        """One request: its outcome, and the model that answered."""
        connection = self._connection
        if connection is None or not connection.open:
            try:
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection, "127.0.0.1", self._port
                )
            except OSError:
                return "refused", ""
        word = f"n{self._number}x{turn}"
        body = wire.message(f"echo:{word}", stream=bool(turn // 2 % 2))
        how, answer = await connection.ask(wire.request("/v1/messages", body, close=self._fresh))
        self._connection = None if self._fresh else connection
        if self._fresh:
            connection.transport.close()
        if how != "whole":
            return how, ""
        if answer.status != 200:
            return f"status {answer.status}", ""
        if b"".join(_TEXT.findall(answer.data)) != word.encode():
            return "another's answer", ""
        model = wire.MODEL.search(answer.data)
        return OK, model[1].decode() if model else ""


async def _run(port: int, clients: int, pause: float) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(0, ended.set)
    requests: list[tuple[float, float, str, str]] = []

    async def go_on(client: _Client, offset: float) -> None:
        turn = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(offset):
                await ended.wait()
        while not ended.is_set():
            sent = time.monotonic()
            outcome, model = await client.ask(turn)
            requests.append((sent, time.monotonic(), outcome, model))
            turn += 1
            await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(go_on(_Client(port, number), pause * number / clients))
    print(json.dumps(requests))


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
