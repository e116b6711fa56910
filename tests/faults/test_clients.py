"""Clients in numbers, clients that are slow on purpose, and no file descriptors left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

import fault_kit as kit
from fault_kit import Ledger
from home import Home, message
from provider import FakeProvider

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(900)]

CROWD = 2000


def _request(nonce: str) -> bytes:
    body = json.dumps(message(nonce)).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: application/json\r\n\r\n" + body


@contextlib.contextmanager
def _many_files(count: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < count:
        pytest.skip(f"only {before[1]} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(count, before[0]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@kit.BOTH
def test_two_thousand_connections(home: Home, provider: FakeProvider, ledger: Ledger) -> None:
    """2,000 connections open at once, then a request on each at once: 2,000 right answers; and
    the supervisor's memory and files are back where they were."""
    home.use(provider)
    with _many_files(CROWD + 512):
        # As a login shell has it: the supervisor takes what it is allowed to.
        supervisor = kit.start_with(home, ("prlimit", "--nofile=1024:20000"))
        process = psutil.Process(supervisor.pid)
        try:
            with ledger.fault("2,000 connections at once"):
                outcomes = asyncio.run(_crowd(home.port))
                right = sum(outcomes)
                ledger.requests["answered"] += right
                ledger.requests["lost"] += CROWD - right
                assert right == CROWD
                # Some connections are kept for the next request: to providers, and to CCR.
                kit.until(lambda: process.num_fds() < 200, 60, "the files are closed")
                assert process.memory_info().rss < 250 << 20
                kit.assert_whole(home, ended=False)
        finally:
            kit.stop(supervisor)
    kit.assert_whole(home)


async def _crowd(port: int) -> list[bool]:
    gate = asyncio.Event()
    there = 0
    full = asyncio.Event()

    async def one(number: int) -> bool:
        nonlocal there
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        there += 1
        if there == CROWD:
            full.set()
        await gate.wait()
        writer.write(_request(f"n{number}"))
        head = await reader.readuntil(b"\r\n\r\n")
        text = ""
        if b" 200 " in head.split(b"\r\n")[0]:
            body = await _body(reader, head)
            text = json.loads(body)["content"][0]["text"]
        writer.close()
        return text == f"n{number}"

    tasks = []
    for number in range(CROWD):
        tasks.append(asyncio.create_task(one(number)))
        if number % 100 == 99:
            await asyncio.sleep(0.02)  # a backlog is not endless
    await asyncio.wait_for(full.wait(), 60)
    gate.set()
    found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 280)
    return [outcome is True for outcome in found]


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.split(b":")[1]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    return body


@kit.BOTH_IF_FULL
def test_slow_loris(home: Home, provider: FakeProvider, ledger: Ledger) -> None:
    """300 clients that send their head one byte at a time, and 100 that send nothing at all,
    keep nobody waiting; the slow heads are cut off."""
    home.use(provider)
    supervisor = kit.start(home)
    slow = [socket.create_connection(("127.0.0.1", home.port)) for _ in range(300)]
    silent = [socket.create_connection(("127.0.0.1", home.port)) for _ in range(100)]
    try:
        with ledger.fault("slow-loris"):
            head = b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
            for client in slow:
                client.sendall(head)
            cut: set[int] = set()
            deadline = time.monotonic() + 60
            while len(cut) < len(slow):
                assert time.monotonic() < deadline, f"{len(cut)} of {len(slow)} were cut off"
                begin = time.monotonic()
                answer = httpx.post(
                    f"http://127.0.0.1:{home.port}/v1/messages", json=message("x"), timeout=30
                )
                assert (answer.status_code, kit.whole(answer)) == (200, "x")
                assert time.monotonic() - begin < 5
                ledger.requests["answered"] += 1
                for number, client in enumerate(slow):
                    if number not in cut and not _alive(client):
                        cut.add(number)
                time.sleep(1)
            kit.assert_whole(home, ended=False)
    finally:
        for client in (*slow, *silent):
            client.close()
        kit.stop(supervisor)
    kit.assert_whole(home)


def _alive(client: socket.socket) -> bool:
    """One byte more; False when the other side has had enough."""
    client.settimeout(0.001)
    try:
        client.sendall(b"x")
        return client.recv(4096) != b"" and False
    except TimeoutError:
        return True
    except OSError:
        return False


@kit.cases("limits", [(64, 128)], [(64,)])
def test_file_descriptors_exhausted(
    home: Home, provider: FakeProvider, ledger: Ledger, limits: tuple[int, ...]
) -> None:
    """With few file descriptors and more clients than that it does not die: once they have
    gone, requests are answered and a swap works."""
    home.use(provider)
    for allowed in limits:
        with ledger.fault(f"{allowed} file descriptors, 200 clients"):
            supervisor = kit.start_with(home, ("prlimit", f"--nofile={allowed}:{allowed}"))
            clients = [socket.socket() for _ in range(200)]
            try:
                for client in clients:
                    client.setblocking(False)
                    client.connect_ex(("127.0.0.1", home.port))
                time.sleep(1)
                for client in clients[:50]:
                    with contextlib.suppress(OSError):
                        client.send(_request("crowd"))
                swap = kit.spawn(home, "swap", "fallback")
                time.sleep(3)
                assert supervisor.poll() is None, kit.terminal(home)
            finally:
                for client in clients:
                    client.close()
            assert swap.wait(60) in (0, 1)
            answer = httpx.post(
                f"http://127.0.0.1:{home.port}/v1/messages", json=message("after"), timeout=60
            )
            assert (answer.status_code, kit.whole(answer)) == (200, "after")
            kit.until(lambda: kit.status(home)["state"] == "running", 30, "it runs")
            assert home.run("swap", "fallback").returncode == 0
            assert home.run("swap", "primary").returncode == 0
            kit.stop(supervisor)
            kit.assert_whole(home)
    kit.assert_next_start_works(home)
