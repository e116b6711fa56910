"""What the relay costs: latency and throughput, direct and through it, side by side.

    python benchmarks/relay.py                  # a lean HTTP server as backend
    python benchmarks/relay.py --ccr ENTRY      # a real CCR: ENTRY is its dist/cli.js

Backend and relay run in processes of their own. Direct and relayed blocks alternate, so
that whatever else the machine does hits both. Times are milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from synccr.relay import Backend, Relay

EVENTS = 20
PROMPT = "Say hello. " * 200


@dataclass(frozen=True)
class Scenario:
    """One way to load the port; `block` is requests in one block, all clients together."""

    name: str
    clients: int
    fresh: bool
    request: Callable[[bool], bytes]
    block: int


def request_bytes(path: str, body: bytes = b"", *, close: bool = False) -> bytes:
    """A request with about the header fields of a real client."""
    lines = [
        f"{'POST' if body else 'GET'} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Accept: application/json",
        "Content-Type: application/json",
        "User-Agent: benchmark/1.0 (external, cli)",
        "anthropic-version: 2023-06-01",
        "anthropic-beta: interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14",
        *(f"X-Stainless-{name}: value" for name in ("Arch", "Lang", "OS", "Runtime", "Timeout")),
        f"Connection: {'close' if close else 'keep-alive'}",
        *([f"Content-Length: {len(body)}"] if body else []),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def message(stream: bool) -> bytes:
    """The body of a request for one message."""
    body = {"model": "p,m", "max_tokens": 64, "stream": stream}
    return json.dumps({**body, "messages": [{"role": "user", "content": PROMPT}]}).encode()


def scenarios(block: int) -> list[Scenario]:
    """Health, message and stream; 1 and 20 clients; kept-alive and new connections."""
    kinds: list[tuple[str, Callable[[bool], bytes], int]] = [
        ("health", lambda close: request_bytes("/health", close=close), block),
        (
            "message",
            lambda close: request_bytes("/v1/messages", message(False), close=close),
            block,
        ),
        (
            "stream",
            lambda close: request_bytes("/v1/messages", message(True), close=close),
            max(20, block // 4),
        ),
    ]
    return [
        Scenario(
            f"{name}, {clients:2} client{'s' if clients > 1 else ' '}, "
            f"{'new connections' if fresh else 'kept alive'}",
            clients,
            fresh,
            request,
            size,
        )
        for name, request, size in kinds
        for clients in (1, 20)
        for fresh in (False, True)
    ]


# The load.


def read_response(sock: socket.socket) -> None:
    """Read one response to its end; raise on anything but a 200."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += (more := sock.recv(65536))
        if not more:
            raise ConnectionError("no response")
    if not data.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(data[:300])
    head, _, body = data.partition(b"\r\n\r\n")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        while not body.endswith(b"0\r\n\r\n"):
            body += (more := sock.recv(65536))
            if not more:
                raise ConnectionError("cut response")
        return
    length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += (more := sock.recv(65536))
        if not more:
            raise ConnectionError("cut response")


def connect(port: int) -> socket.socket:
    """A connection without Nagle's delay."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def one_client(port: int, scenario: Scenario) -> tuple[list[float], float]:
    """Latencies in seconds and requests per second of one blocking client."""
    request = scenario.request(scenario.fresh)
    times = []
    kept = None if scenario.fresh else connect(port)
    if kept is not None:
        kept.sendall(request)
        read_response(kept)
    began = time.perf_counter()
    for _ in range(scenario.block):
        start = time.perf_counter()
        sock = connect(port) if kept is None else kept
        sock.sendall(request)
        read_response(sock)
        times.append(time.perf_counter() - start)
        if kept is None:
            sock.close()
    took = time.perf_counter() - began
    if kept is not None:
        kept.close()
    return times, scenario.block / took


class Load(asyncio.Protocol):
    """One of many clients: the next request as soon as the last answer is whole."""

    def __init__(self, request: bytes, quota: list[int], times: list[float]) -> None:
        self.request, self.quota, self.times = request, quota, times
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        if not self.quota[0]:
            self.transport.close()
            return
        self.quota[0] -= 1
        self.data = b""
        self.start = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            if not body.endswith(b"0\r\n\r\n"):
                return
        elif len(body) < int(lower.split(b"content-length:")[1].split(b"\r\n")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(head)
        self.times.append(time.perf_counter() - self.start)
        if b"Connection: close" in self.request:
            self.transport.close()
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.done.done():
            self.done.set_result(None)


async def many_clients(port: int, scenario: Scenario) -> tuple[list[float], float]:
    """Latencies and requests per second of clients that run at once."""
    loop = asyncio.get_running_loop()
    request, quota, times = scenario.request(scenario.fresh), [scenario.block], list[float]()

    async def client() -> None:
        while quota[0]:
            _, load = await loop.create_connection(
                lambda: Load(request, quota, times), "127.0.0.1", port
            )
            await load.done

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(scenario.clients)))
    took = time.perf_counter() - began
    if len(times) != scenario.block:
        raise ConnectionError(f"{scenario.block - len(times)} requests without an answer")
    return times, scenario.block / took


def run_block(port: int, scenario: Scenario) -> tuple[list[float], float]:
    """One block of one scenario."""
    if scenario.clients == 1:
        return one_client(port, scenario)
    return asyncio.run(many_clients(port, scenario))


# The processes.


class LeanServer(asyncio.Protocol):
    """As little HTTP server as the load needs; streams one event per turn of the loop."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        lower = head.lower()
        length = lower.partition(b"content-length:")[2].partition(b"\r\n")[0]
        if not found or len(body) < int(length or 0):
            return
        close = b"connection: close" in lower
        self.data = b""
        if b'"stream": true' in body:
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
            )
            self.event(EVENTS, close)
            return
        answer = b'{"status":"ok","timestamp":"2026-01-01T00:00:00.000Z"}'
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
            b"Connection: keep-alive\r\n\r\n%b" % (len(answer), answer)
        )
        if close:
            self.transport.close()

    def event(self, left: int, close: bool) -> None:
        if left:
            event = b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n'
            self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            asyncio.get_running_loop().call_soon(self.event, left - 1, close)
            return
        self.transport.write(b"0\r\n\r\n")
        if close:
            self.transport.close()


class Provider(LeanServer):
    """An OpenAI-shaped provider for a real CCR."""

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if not found or len(body) < int(length or 0):
            return
        self.data = b""
        base = {"id": "c", "created": 1, "model": "m"}
        if json.loads(body).get("stream"):
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            deltas = [{"role": "assistant", "content": "w "} for _ in range(EVENTS)]
            for delta in [*deltas, None]:
                choice = {
                    "index": 0,
                    "delta": delta or {},
                    "finish_reason": None if delta else "stop",
                }
                part = {**base, "object": "chat.completion.chunk", "choices": [choice]}
                line = b"data: " + json.dumps(part).encode() + b"\n\n"
                self.transport.write(b"%x\r\n%b\r\n" % (len(line), line))
            self.transport.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            return
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "hello"},
            "finish_reason": "stop",
        }
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
        text = json.dumps(answer).encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(text), text)
        )


async def serve(role: str, backend_port: int) -> None:
    """Be one of the processes until standard input ends."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(0, lambda: ended.done() or ended.set_result(None))
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    if role == "relay":
        relay = Relay(hold_timeout=5)
        await relay.start(sock)
        relay.switch(Backend(1, "127.0.0.1", backend_port))
    else:
        kind = LeanServer if role == "backend" else Provider
        await loop.create_server(kind, sock=sock, backlog=1024)
    print(port, flush=True)
    await ended


@contextmanager
def process(role: str, backend_port: int = 0) -> Iterator[tuple[int, int]]:
    """Start one of the processes; yields (port, pid)."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--role", role, "--backend-port", str(backend_port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield int(child.stdout.readline()), child.pid
    finally:
        child.stdin.close()
        child.wait(10)
        child.stdout.close()


@contextmanager
def ccr(entry: Path, provider_port: int) -> Iterator[int]:
    """A real CCR with a home of its own; yields its port once `/health` answers."""
    home = Path(tempfile.mkdtemp())
    directory = home / ".claude-code-router"
    directory.mkdir()
    provider = {
        "name": "p",
        "api_base_url": f"http://127.0.0.1:{provider_port}/v1/chat/completions",
        "api_key": "none",
        "models": ["m"],
    }
    config = {
        "HOST": "127.0.0.1",
        "LOG": False,
        "Providers": [provider],
        "Router": {"default": "p,m"},
    }
    (directory / "config.json").write_text(json.dumps(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    child = subprocess.Popen(
        ["node", str(entry), "start"],
        env={**os.environ, "HOME": str(home), "SERVICE_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                with connect(port):
                    break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        child.kill()
        child.wait()
        shutil.rmtree(home)


def quantile(times: list[float], share: float) -> float:
    """Milliseconds below which *share* of the times lie."""
    return 1000 * sorted(times)[min(len(times) - 1, int(share * len(times)))]


def compare(direct: int, relayed: int, scenario: Scenario, rounds: int) -> str:
    """One line of the table."""
    times: dict[int, list[float]] = {direct: [], relayed: []}
    rates: dict[int, list[float]] = {direct: [], relayed: []}
    for number in range(-1, rounds):  # one round to warm up
        for port in (direct, relayed) if number % 2 else (relayed, direct):
            took, rate = run_block(port, scenario)
            if number >= 0:
                times[port] += took
                rates[port].append(rate)
    ratio = statistics.median(r / d for d, r in zip(rates[direct], rates[relayed], strict=True))
    cells = [quantile(times[port], share) for port in (direct, relayed) for share in (0.5, 0.99)]
    return (
        f"{scenario.name:38} {cells[0]:7.3f} {cells[1]:7.3f}  {cells[2]:7.3f} {cells[3]:7.3f}"
        f"  {cells[2] - cells[0]:+7.3f} {cells[3] - cells[1]:+7.3f}"
        f"  {statistics.median(rates[direct]):7.0f} {statistics.median(rates[relayed]):7.0f}"
        f"  {ratio:5.2f}"
    )


def main() -> None:
    """Run the comparison and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--ccr", type=Path, metavar="ENTRY", help="dist/cli.js of a real CCR")
    parser.add_argument("--rounds", type=int, default=9, help="blocks of each kind (default 9)")
    parser.add_argument("--block", type=int, default=200, help="requests in a block (default 200)")
    parser.add_argument("--only", default="", help="only scenarios whose name contains this")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--backend-port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        asyncio.run(serve(options.role, options.backend_port))
        return
    with ExitStack() as stack:
        if options.ccr:
            provider, _ = stack.enter_context(process("provider"))
            direct = stack.enter_context(ccr(options.ccr, provider))
        else:
            direct, _ = stack.enter_context(process("backend"))
        relayed, pid = stack.enter_context(process("relay", direct))
        before = psutil.Process(pid).memory_info().rss
        backend = "CCR" if options.ccr else "a lean HTTP server"
        print(
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}, backend {backend}, "
            f"{options.rounds} rounds of {options.block} requests ({EVENTS} events a stream)\n"
        )
        print(
            f"{'':38} {'direct, ms':>15}  {'relay, ms':>15}  {'added, ms':>15}  {'requests/s':>15}"
        )
        print(
            f"{'':38} {'p50     p99':>15}  {'p50     p99':>15}  {'p50     p99':>15}  "
            f"{'direct   relay':>15}  ratio"
        )
        for scenario in scenarios(options.block):
            if options.only in scenario.name:
                print(compare(direct, relayed, scenario, options.rounds), flush=True)
        after = psutil.Process(pid).memory_info().rss
        print(
            f"\nrelay process: {before / 1e6:.1f} MB RSS at start, {after / 1e6:.1f} MB at the end"
        )


if __name__ == "__main__":
    main()
