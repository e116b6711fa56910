"""Clients that ask without rest and check every answer for its own request's content."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Self

import httpx

from home import message

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # httpx takes 20 ms to make one for each client
PATIENCE = 90.0
"""Seconds for one answer: longer than any pause that a test provokes."""


def said(body: bytes, *, stream: bool) -> str | None:
    """What the model said in an answer of Anthropic's form; None when it is none."""
    try:
        if not stream:
            return str(json.loads(body)["content"][0]["text"])
        lines = [line[5:] for line in body.decode().splitlines() if line.startswith("data:")]
        events = [json.loads(line) for line in lines]
        if not events or events[-1]["type"] != "message_stop":
            return None
        return "".join(e["delta"].get("text", "") for e in events if "delta" in e)
    except (ValueError, KeyError, IndexError):
        return None


@dataclass
class Load:
    """Clients in a thread of their own, while a ``with`` block runs.

    A quarter each: kept-alive and new connections, streamed answers and whole ones.

    Attributes:
        url: of the router.
        clients: how many ask at one time.
        pause: seconds each rests between an answer and the next request.
        ok: when each right answer was whole, monotonic.
        failed: requests that got a wrong answer, an error, or nothing.
        cut: answers that had begun and broke off.
    """

    url: str
    clients: int = 20
    pause: float = 0.1
    ok: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        try:
            self.more(self.clients)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def more(self, count: int, seconds: float = PATIENCE) -> None:
        """Wait for so many more right answers."""
        goal, deadline = len(self.ok) + count, time.monotonic() + seconds
        while len(self.ok) < goal:
            if time.monotonic() > deadline:
                missing = goal - len(self.ok)
                raise AssertionError(f"{missing} answers are missing: {self.failed[:5]}")
            time.sleep(0.01)

    def longest_gap(self) -> float:
        """The longest time without a right answer, in seconds."""
        times = sorted(self.ok)
        return max(b - a for a, b in itertools.pairwise(times))

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.clients):
                group.create_task(self._client(number, keep=number % 2 == 0))

    async def _client(self, number: int, *, keep: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
        stream = number % 4 >= 2
        async with httpx.AsyncClient(
            timeout=PATIENCE, limits=limits, trust_env=False, verify=_NO_TLS
        ) as http:
            turn = 0
            while not self._done.is_set():
                turn += 1
                await self._ask(http, f"nonce-{number}-{turn}", stream=stream)
                await asyncio.sleep(self.pause)

    async def _ask(self, http: httpx.AsyncClient, nonce: str, *, stream: bool) -> None:
        begun, body = None, b""
        request = message(nonce, stream=stream)
        try:
            async with http.stream("POST", f"{self.url}/v1/messages", json=request) as answer:
                begun = answer.status_code
                body = await answer.aread()
        except httpx.HTTPError as error:
            text = f"{nonce}: {type(error).__name__}: {error}"
            (self.failed if begun is None else self.cut).append(text)
            return
        if begun == 200 and said(body, stream=stream) == nonce:
            self.ok.append(time.monotonic())
        else:
            self.failed.append(f"{nonce}: {begun} {body[:300]!r}")
