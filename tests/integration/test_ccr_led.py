"""The real Claude Code Router, both versions, led to an egress by what is loaded into it."""

from __future__ import annotations

import asyncio
import http.client
import http.server
import json
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from synccr.ccr.generations import V2
from synccr.ccr.launch_context import EgressAddress
from synccr.ccr.node import Node, find_node
from synccr.ccr.npm import NAME
from synccr.ccr.orphans import Register, end_orphans, find_orphans
from synccr.ccr.package import Package
from synccr.ccr.package_source import PackageSource
from synccr.ccr.v2.backend import Backend2
from synccr.ccr.v2.launch import Launcher
from synccr.paths import Paths

pytestmark = [pytest.mark.integration, pytest.mark.long]

SECRET = "0f5d1c9ab2e84477"
PLACEHOLDER = "synccr.ACME_KEY.0123456789abcdef01234567"
PROVIDER = "https://provider.example/v1/chat/completions"


@dataclass
class Egress:
    """Answers with the turn and the prompt; keeps the headers that came."""

    port: int
    seen: list[dict[str, str]] = field(default_factory=list)

    @property
    def address(self) -> EgressAddress:
        return EgressAddress(f"http://127.0.0.1:{self.port}", SECRET, ("https://provider.example",))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.egress.seen.append({k.lower(): v for k, v in self.headers.items()})
        (prompt,) = (m["content"] for m in body["messages"] if m["role"] == "user")
        text = prompt if isinstance(prompt, str) else prompt[0]["text"]
        message = {"role": "assistant", "content": f"{self.headers['x-synccr-turn']} {text}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"]}
        data = json.dumps(answer | {"choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    egress: Egress


@pytest.fixture
def egress() -> Iterator[Egress]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.egress = Egress(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.egress
        server.shutdown()
        thread.join()


@pytest.fixture
def environ(npm_cache: Path) -> dict[str, str]:
    return {**os.environ, "npm_config_cache": str(npm_cache), "ACME_KEY": PLACEHOLDER}


@pytest.fixture
def node(environ: dict[str, str], tmp_path: Path) -> Node:
    return find_node(environ, tmp_path)


@pytest.fixture(params=["2.0.0", "1.0.73", "2.0.0 by npx"])
async def package(
    request: pytest.FixtureRequest, node: Node, environ: dict[str, str], tmp_path: Path
) -> Package:
    version, by_npx = request.param[:6].strip(), "npx" in request.param
    package = await PackageSource(version, environ, tmp_path).now()
    command = (*node.npx, "--yes", f"--package={NAME}@{version}", "--", "ccr", "start")
    return Package(version, command, None, V2) if by_npx else package


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    own = (tmp_path / name for name in ("config", "state", "cache", "log"))
    paths = Paths(tmp_path / "home" / ".claude-code-router", *own)
    paths.ccr.mkdir(parents=True)
    provider = {"name": "acme", "api_base_url": PROVIDER, "api_key": "$ACME_KEY", "models": ["m"]}
    config = {"LOG_LEVEL": "debug", "Providers": [provider], "Router": {"default": "acme,m"}}
    paths.ccr_config.write_text(json.dumps(config))
    return paths


@pytest.fixture
async def ccr(
    paths: Paths, environ: dict[str, str], package: Package, egress: Egress
) -> AsyncIterator[Backend2]:
    backend = await Launcher(
        paths,
        {**environ, "HOME": str(paths.ccr.parent)},
        register=Register.of(paths),
        egress=egress.address,
    ).launch(package)
    yield backend
    await backend.stop(2)
    await end_orphans(paths, grace=0)


async def ask(
    ccr: Backend2, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, str]:
    """One request on a connection of its own; headers with _ for -."""

    def request() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", ccr.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"content-type": "application/json", **named})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    return await asyncio.to_thread(request)


async def message(ccr: Backend2, turn: int, text: str) -> str:
    """What a model answers, through CCR."""
    body = {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": text}]}
    ours = {"x_synccr_turn": str(turn), "x_synccr_secret": SECRET}
    status, answer = await ask(ccr, "POST", "/v1/messages", body, **ours)
    assert status == 200, answer
    return str(json.loads(answer)["content"][0]["text"])


async def test_led_guarded_and_silent(ccr: Backend2, egress: Egress, paths: Paths) -> None:
    """60 requests at once are told apart; nothing of ours reaches CCR's log, and no stranger
    gets in."""
    assert ccr.led
    answers = await asyncio.gather(
        *(message(ccr, n, f"prompt {n} " + "word " * n * 20) for n in range(60))
    )
    for number, answer in enumerate(answers):
        assert answer.startswith(f"{number} prompt {number} ")
    assert len(egress.seen) == 60
    for seen in egress.seen:
        assert seen["x-synccr-to"] == PROVIDER
        assert seen["x-synccr-secret"] == SECRET
        assert seen["authorization"] == f"Bearer {PLACEHOLDER}"

    assert (await ask(ccr, "GET", "/health"))[0] == 200
    assert (await ask(ccr, "GET", "/api/config"))[0] == 403
    assert (await ask(ccr, "POST", "/v1/messages", {}, x_synccr_secret="wrong"))[0] == 403
    assert (await ask(ccr, "GET", "/api/config", x_synccr_secret=SECRET))[0] == 200

    logged = "".join(path.read_text() for path in paths.ccr_logs.glob("*.log"))
    assert "final request" in logged or "incoming request" in logged
    assert "x-synccr" not in logged.lower()
    assert SECRET not in logged


async def test_known_by_its_command_line(
    ccr: Backend2, paths: Paths, package: Package, node: Node, environ: dict[str, str]
) -> None:
    """`ccr status` finds it, and so does whoever looks for what a predecessor left."""
    assert ccr.identity in find_orphans(paths)
    here = {**environ, "HOME": str(paths.ccr.parent)}
    found = await PackageSource(package.version, here, paths.cache).now()
    status = [*found.command[:-1], "status"]
    said = await asyncio.to_thread(subprocess.check_output, status, env=here, text=True)
    assert str(ccr.pid) in said
