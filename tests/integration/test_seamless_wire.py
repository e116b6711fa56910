"""Clients that are slow, leave, or use all that HTTP/1.1 allows, through a swap of the real CCR."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from fragile import sampled
from home import LONG, MAIN, Home, Running, message
from load import said
from provider import FakeProvider

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ccr("2.0.0", "3.1.1")]


class Wire:
    """One connection, byte by byte."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self, *, bodiless: bool = False) -> tuple[int, bytes]:
        """One response: status and body."""
        status, length, chunked = int(self.file.readline().split()[1]), 0, False
        while (line := self.file.readline().strip().lower()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name == b"content-length" else length
            chunked = chunked or (name == b"transfer-encoding" and value.strip() == b"chunked")
        if bodiless or status < 200:
            return status, b""
        if not chunked:
            return status, self.file.read(length)
        body = b""
        while size := int(self.file.readline(), 16):
            body += self.file.read(size)
            self.file.readline()
        self.file.readline()
        return status, body

    def answer_to(self, nonce: str, *, stream: bool = False) -> None:
        """The next response has to be this request's."""
        status, body = self.receive()
        assert (status, said(body, stream=stream)) == (200, nonce)

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@contextmanager
def wires(home: Home, count: int = 1) -> Iterator[list[Wire]]:
    connections = [Wire(home.port) for _ in range(count)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def post(nonce: str, *fields: str, stream: bool = False, chunked: bool = False) -> bytes:
    body = json.dumps(message(nonce, stream=stream)).encode()
    length = f"content-length: {len(body)}"
    if chunked:
        length = "transfer-encoding: chunked"
        half = len(body) // 2
        parts = (body[:half], body[half:], b"")
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    lines = ["POST /v1/messages HTTP/1.1", "host: localhost", "content-type: application/json"]
    return "\r\n".join([*lines, length, *fields, "", ""]).encode() + body


TEMPERATURES = (number / 100 for number in itertools.count(1))


def swapped(home: Home) -> dict[str, Any]:
    """A swap to providers that ask otherwise, and the old CCR seen to be gone."""
    before = home.status()
    document = json.loads((home.config / "ccr-config.json").read_bytes())
    home.write("ccr-config.json", sampled(document, next(TEMPERATURES)))
    deadline = time.monotonic() + 60  # a tenth of what a request may hold it
    while psutil.pid_exists(before["ccr"]["pid"]):
        assert time.monotonic() < deadline, "the old CCR is held up"
        time.sleep(0.02)
    return home.status()


@pytest.fixture
def running(home: Home, provider: FakeProvider) -> Iterator[Running]:
    """It serves."""
    home.use(provider)
    with home.running() as running:
        provider.forget()
        yield running


def test_all_that_http_allows(running: Running, home: Home) -> None:
    """Kept-alive, pipelined, chunked, expecting 100-continue, HEAD, streamed: on one connection
    that lives through swaps, restarts and a kill, each answer is its own request's, in order."""
    with wires(home) as (wire,):
        for move in ("none", "swap", "restart", "swap", "kill", "restart"):
            if move == "swap":
                swapped(home)
            elif move == "restart":
                assert home.run("restart").returncode == 0
            elif move == "kill":
                psutil.Process(home.status()["ccr"]["pid"]).kill()
            wire.send(post(f"{move}-plain"))
            wire.answer_to(f"{move}-plain")
            nonces = [f"{move}-pipelined-{turn}" for turn in range(5)]
            wire.send(b"".join(post(nonce, stream="3" in nonce) for nonce in nonces))
            for nonce in nonces:
                wire.answer_to(nonce, stream="3" in nonce)
            wire.send(post(f"{move}-chunked", chunked=True))
            wire.answer_to(f"{move}-chunked")
            expecting = post(f"{move}-expecting", "expect: 100-continue")
            head, _, body = expecting.partition(b"\r\n\r\n")
            wire.send(head + b"\r\n\r\n")
            assert wire.receive() == (100, b"")
            wire.send(body)
            wire.answer_to(f"{move}-expecting")
            wire.send(b"HEAD /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert wire.receive(bodiless=True)[0] in (200, 404)
            wire.send(post(f"{move}-after"))
            wire.answer_to(f"{move}-after")
    proxy = home.status()["relay"]
    assert (proxy["cut"], proxy["refused"]) == (0, 0)


@pytest.mark.parametrize("move", [("swap", "fallback"), ("restart",)])
def test_pipelined_requests(
    running: Running, home: Home, provider: FakeProvider, move: tuple[str, ...]
) -> None:
    """Requests that were sent ahead of an answer that is still on its way survive a swap
    and a restart."""
    provider.set(MAIN, {"delay": 50.0})
    with wires(home) as (wire,):
        nonces = [f"ahead-{turn}" for turn in range(4)]
        wire.send(b"".join(map(post, nonces)))
        running.until(lambda: any(b"ahead-0" in r.raw for r in provider.requests(MAIN)))
        provider.set(MAIN, "ok")
        assert home.run(*move).returncode == 0
        provider.hurry()
        for nonce in nonces:
            wire.answer_to(nonce)


@pytest.mark.parametrize("move", ["swap", "restart"])
def test_half_a_request(running: Running, home: Home, move: str) -> None:
    """Half a request holds neither swap nor restart up, is completed at its own pace and
    answered by the new CCR, or goes with its client; half a head is nobody's matter."""
    whole = post("in-two-halves")
    head = whole.index(b"\r\n\r\n") + 4
    with wires(home, 4) as (body_missing, head_missing, leaves, resets):
        body_missing.send(whole[: head + 20])
        head_missing.send(whole[: head - 20])
        for wire in (leaves, resets):
            wire.send(whole[: head + 20])
        running.until(lambda: home.status()["relay"]["requests"] == 3)
        if move == "restart":
            assert home.run("restart").returncode == 0
        else:
            swapped(home)
        leaves.close()
        resets.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        resets.close()
        for at in range(head + 20, len(whole) - 1, 40):
            body_missing.send(whole[at : min(at + 40, len(whole) - 1)])
        swapped(home)
        body_missing.send(whole[-1:])
        body_missing.answer_to("in-two-halves")
        head_missing.send(whole[head - 20 :])
        head_missing.answer_to("in-two-halves")
        swapped(home)
        body_missing.send(post("still-here"))
        body_missing.answer_to("still-here")


def test_clients_that_leave(running: Running, home: Home, provider: FakeProvider) -> None:
    """A client that leaves while its answer is on its way holds nothing up: the swap after it
    ends the old CCR at once."""
    provider.set(MAIN, "never")
    with wires(home, 3) as connections:
        for number, wire in enumerate(connections):
            wire.send(post(f"leaving-{number}", stream=number == 2))
        running.until(lambda: len(provider.requests(MAIN)) == 3)
        provider.set(MAIN, "ok")
    swapped(home)


def test_a_client_that_reads_slowly(running: Running, home: Home, provider: FakeProvider) -> None:
    """A stream larger than every buffer reaches a client that reads slowly, through a swap."""
    nonce = "slowly-" + "0123456789" * 300_000
    provider.set(LONG, {"chunks": 200})
    with wires(home) as (wire,):
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        wire.send(post(nonce, stream=True))
        running.until(lambda: provider.requests(LONG))
        time.sleep(1)
        assert psutil.Process(running.process.pid).memory_info().rss < 120 << 20
        assert home.run("swap", "fallback").returncode == 0
        wire.answer_to(nonce, stream=True)
