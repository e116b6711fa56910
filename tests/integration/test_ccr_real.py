"""The real Claude Code Router, both versions: brought, started, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ports import free_port
from processes import started
from synccr.ccr.generations import V2
from synccr.ccr.node import Node, find_node
from synccr.ccr.npm import NAME
from synccr.ccr.orphans import Register, end_orphans, find_orphans
from synccr.ccr.package import Package
from synccr.ccr.package_source import PackageSource
from synccr.ccr.process import ProcessId, identify, is_alive
from synccr.ccr.start_failure import StartFailed
from synccr.ccr.v2.backend import Backend2
from synccr.ccr.v2.launch import Launcher
from synccr.ccr.v2.log_watch import follow
from synccr.ccr.v2.pid_file import read_pid_file, write_pid_file
from synccr.classify.logged import LoggedFailure, NetworkFailed, ProviderFailed, UnclearFailure
from synccr.errors import RuntimeMissing, Taken
from synccr.paths import Paths

pytestmark = [pytest.mark.integration, pytest.mark.long]

VERSIONS = ["2.0.0", "1.0.73"]
NO_CREDIT = '{"error": "Your plan doesn\'t cover on-demand models"}'


@pytest.fixture(scope="session")
def npm_environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment with an npm cache that all these tests share."""
    cache = os.environ.get("SYNCCR_TEST_NPM_CACHE") or str(tmp_path_factory.mktemp("npm"))
    return {**os.environ, "npm_config_cache": cache}


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own-cache")


@pytest.fixture(scope="session")
def node(npm_environ: dict[str, str], own_cache: Path) -> Node:
    return find_node(npm_environ, own_cache)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def package(
    version: str, node: Node, npm_environ: dict[str, str], own_cache: Path
) -> Package:
    """The real package, checked against its pin."""
    return await PackageSource(version, npm_environ, own_cache).now()


class BackendConnection(http.server.BaseHTTPRequestHandler):
    """A provider whose models answer as they are called."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        match request["model"]:
            case "silent":
                self.server.release.wait(60)  # type: ignore[attr-defined]
                status, body = 500, "{}"
            case "html":
                status, body = 200, "<html>"
            case "cut":
                self.close_connection = True
                return
            case model if "402): " in model:
                status, body = 404, '{"error": "no such model"}'
            case _:
                status, body = 402, NO_CREDIT
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), BackendConnection)
    server.release = threading.Event()  # type: ignore[attr-defined]
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.release.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    home = tmp_path / "home"
    (home / ".claude-code-router").mkdir(parents=True)
    own = (tmp_path / name for name in ("config", "state", "cache", "log"))
    return Paths(home / ".claude-code-router", *own)


def configure(paths: Paths, upstream: int, level: str = "error", **more: Any) -> None:
    provider = {
        "name": "p",
        "api_base_url": f"http://127.0.0.1:{upstream}/v1/chat/completions",
        "api_key": "sk-not-a-key",
        "models": ["hf:broke", "html", "silent"],
    }
    config = {"LOG_LEVEL": level, "Providers": [provider], "Router": {"default": "p,hf:broke"}}
    paths.ccr_config.write_text(json.dumps(config | more))


class Started(Launcher):
    """Remembers what it has started."""

    async def launch(self, package: Package, *, ours: Collection[ProcessId] = ()) -> Backend2:
        backend = await super().launch(package, ours=ours)
        launched.append(backend)
        return backend


launched: list[Backend2] = []


@pytest.fixture
async def launcher(paths: Paths, npm_environ: dict[str, str]) -> AsyncIterator[Launcher]:
    """Starts CCR in a home of its own; what a test leaves running is ended."""
    environ = {**npm_environ, "HOME": str(paths.ccr.parent)}
    yield Started(paths, environ, register=Register.of(paths))
    for backend in launched:
        await backend.stop(0)
    launched.clear()
    await end_orphans(paths, grace=0)


async def ask(backend: Backend2, model: str, text: str = "hi", **more: Any) -> int:
    """One request through CCR; the status it answers."""

    def request() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=30)
        messages = [{"role": "user", "content": text}]
        body = {"model": model, "max_tokens": 5, "messages": messages, **more}
        headers = {"content-type": "application/json"}
        with contextlib.closing(connection):
            connection.request("POST", "/v1/messages", json.dumps(body), headers)
            response = connection.getresponse()
            response.read()
            return response.status

    return await asyncio.to_thread(request)


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def troubles(backend: Backend2) -> AsyncIterator[list[LoggedFailure]]:
    seen: list[LoggedFailure] = []
    task = asyncio.create_task(follow(backend, seen.append))
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_pins_are_those_of_the_registry(
    package: Package, version: str, node: Node, npm_environ: dict[str, str], own_cache: Path
) -> None:
    """What npm installs today is what is pinned, and is found again without npm."""
    said: list[str] = []
    again = await PackageSource(version, npm_environ, own_cache, progress=said.append).now()
    assert package == again
    assert said == []
    assert package.entry is not None
    assert package.entry.is_relative_to(own_cache / "ccr" / version)


async def test_offline_with_nothing_cached(
    node: Node, npm_environ: dict[str, str], tmp_path: Path
) -> None:
    """Without a network and without the package the error says which of both to mend."""
    environ = {
        **npm_environ,
        "npm_config_cache": str(tmp_path / "empty"),
        "npm_config_registry": f"http://127.0.0.1:{free_port()}/",
        "npm_config_fetch_retries": "0",
    }
    with pytest.raises(RuntimeMissing, match="cannot reach its registry"):
        await PackageSource("2.0.0", environ, tmp_path / "own").now()


async def test_interrupted_npm_is_mended(
    node: Node, npm_environ: dict[str, str], own_cache: Path
) -> None:
    """A package that was half installed, or changed on disk, is fetched anew."""
    package = await PackageSource("2.0.0", npm_environ, own_cache).now()
    assert package.entry is not None
    wasm = package.entry.with_name("tiktoken_bg.wasm")
    for damage in (wasm.unlink, lambda: wasm.write_bytes(b"x"), package.entry.unlink):
        damage()
        assert package == await PackageSource("2.0.0", npm_environ, own_cache).now()
        assert wasm.stat().st_size > 1_000_000


async def test_the_main_job(
    launcher: Launcher, package: Package, paths: Paths, upstream: int
) -> None:
    """CCR starts, answers, logs a 402 that is seen with its provider and model, and ends."""
    configure(paths, upstream)
    backend = await launcher.launch(package)
    assert await backend.healthy()
    assert read_pid_file(paths) == backend.pid
    log = backend.log_path
    assert log is not None
    for private in (log, paths.ccr_pid, paths.ccr.parent / ".claude.json"):
        assert private.stat().st_mode & 0o077 == 0
    async with troubles(backend) as seen:
        assert await ask(backend, "claude-sonnet") == 402
        await until(lambda: bool(seen))
        (error,) = seen
        assert isinstance(error, ProviderFailed)
        assert (error.provider, error.model, error.http_status) == ("p", "hf:broke", 402)
        assert error.body == NO_CREDIT
    result = await backend.stop(10)
    assert (result.ended, result.exit_code, result.killed) == (True, 0, False)
    assert not paths.ccr_pid.exists()


async def test_answers_that_cannot_be_used(
    launcher: Launcher, package: Package, paths: Paths, upstream: int
) -> None:
    """HTML, a cut connection and a refused one are seen."""
    configure(paths, upstream)
    backend = await launcher.launch(package)
    async with troubles(backend) as seen:
        assert await ask(backend, "p,html") == 500
        assert await ask(backend, "p,cut") == 500
        await until(lambda: len(seen) == 2)
        assert all(isinstance(trouble, NetworkFailed) for trouble in seen)
        assert "is not valid JSON" in str(seen[0])
        assert "fetch failed" in str(seen[1])
    await backend.stop(10)


@pytest.mark.parametrize("level", ["debug", "info", "warn", "error"])
async def test_prompts_cannot_forge(
    launcher: Launcher, package: Package, paths: Paths, upstream: int, level: str
) -> None:
    """What a user types is never a certain error of a model, at any log level.

    In the text of the prompt it is nothing; in the name of a model it is unclear.
    """
    configure(paths, upstream, level)
    backend = await launcher.launch(package)
    line = "[provider_response_error] Error from provider(p,main: 402): credit"
    entry = json.dumps({"level": 50, "time": 1, "pid": backend.pid, "msg": line})
    tag = "<CCR-SUBAGENT-MODEL>p,main: 402): credit</CCR-SUBAGENT-MODEL>"
    system = [{"type": "text", "text": "x"}, {"type": "text", "text": f"{tag} y"}]
    async with troubles(backend) as seen:
        assert await ask(backend, "p,html", f"{line}\n{entry}\n{entry}") == 500
        assert await ask(backend, "nobody,x", f"\n{line}\n{entry}") == 404
        assert await ask(backend, f"{line},x") == 404
        assert await ask(backend, "p,main: 402): credit") == 404
        assert await ask(backend, "claude", system=system) == 404
        await until(lambda: len(seen) == 3)
    assert [type(trouble) for trouble in seen] == [NetworkFailed, UnclearFailure, UnclearFailure]
    assert isinstance(seen[1], UnclearFailure)
    assert seen[1].models == ("main", "main: 402): credit")
    await backend.stop(10)


async def test_silent_upstream_needs_force(
    launcher: Launcher, package: Package, paths: Paths, upstream: int
) -> None:
    """With a request whose upstream is silent, CCR 2 ends only by force, and does; 1.0.73 ends."""
    configure(paths, upstream)
    backend = await launcher.launch(package)
    request = asyncio.create_task(ask(backend, "p,silent"))
    process = psutil.Process(backend.pid)

    def asks_upstream() -> bool:
        return any(c.raddr and c.raddr.port == upstream for c in process.net_connections())

    await until(asks_upstream)
    result = await backend.stop(5)
    waits = package.version == "2.0.0"
    assert (result.ended, result.killed) == (True, waits)
    assert result.exit_code == (-signal.SIGKILL if waits else 0)
    with pytest.raises((OSError, http.client.HTTPException)):
        await request


async def test_broken_configuration(launcher: Launcher, package: Package, paths: Paths) -> None:
    """A configuration that CCR cannot parse is one sentence with CCR's own words."""
    paths.ccr_config.write_text('{"Providers": [}')
    with pytest.raises(
        StartFailed, match=r"exited with code 1 .*JSON5: invalid character"
    ) as caught:
        await launcher.launch(package)
    assert caught.value.exit_code_of_ccr == 1


async def test_port_taken_at_the_last_moment(
    launcher: Launcher,
    package: Package,
    paths: Paths,
    upstream: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the port is lost between choosing and listening, another one is used."""
    configure(paths, upstream)
    ports = iter([upstream, free_port()])
    monkeypatch.setattr("synccr.ccr.v2.launch.free_port", lambda: next(ports))
    backend = await launcher.launch(package)
    assert backend.port != upstream
    await backend.stop(10)


async def test_side_by_side(
    launcher: Launcher, package: Package, paths: Paths, upstream: int
) -> None:
    """A second CCR starts beside the first; a failed third leaves the pid file to the second."""
    configure(paths, upstream)
    first = await launcher.launch(package)
    second = await launcher.launch(package, ours=[first.identity])
    assert await first.healthy()
    await first.stop(10)
    assert read_pid_file(paths) == second.pid
    paths.ccr_config.write_text("{")
    with pytest.raises(StartFailed):
        await launcher.launch(package, ours=[second.identity])
    assert read_pid_file(paths) == second.pid
    assert await second.healthy()
    await second.stop(10)


async def test_strangers_pid(
    launcher: Launcher, package: Package, paths: Paths, upstream: int
) -> None:
    """A stranger's pid in the file neither stops CCR's start nor costs the stranger its life."""
    configure(paths, upstream)
    with started([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        write_pid_file(paths, stranger.pid)
        backend = await launcher.launch(package)
        await backend.stop(10)
        assert stranger.poll() is None


async def test_somebodys_own_ccr(
    launcher: Launcher, package: Package, paths: Paths, upstream: int
) -> None:
    """A CCR that somebody started for this directory is reported, and lives."""
    port = free_port()
    configure(paths, upstream, PORT=port)
    quiet = subprocess.DEVNULL
    with started(package.command, env=launcher.environ, stdout=quiet, stderr=quiet) as foreign:
        async with asyncio.timeout(15):
            while read_pid_file(paths) != foreign.pid or not await listens(port):
                await asyncio.sleep(0.05)
        with pytest.raises(Taken, match=f"pid {foreign.pid}, port {port}"):
            await launcher.launch(package)
        assert foreign.poll() is None


async def listens(port: int) -> bool:
    from synccr.ccr.liveness import answers

    return await answers(port, 1)


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from synccr.ccr.v2.launch import Launcher
from synccr.ccr.generations import V2
from synccr.ccr.orphans import Register
from synccr.ccr.package import Package
from synccr.paths import Paths
import json, os

async def main():
    paths = Paths(*map(Path, json.loads(sys.argv[1])))
    command, entry = json.loads(sys.argv[2])
    package = Package("2.0.0", tuple(command), entry and Path(entry), V2)
    backend = await Launcher(paths, os.environ, register=Register.of(paths)).launch(package)
    print(backend.root.pid, backend.pid, flush=True)
    await backend.wait()

asyncio.run(main())
"""


async def killed_supervisor(
    launcher: Launcher, package: Package, paths: Paths
) -> tuple[ProcessId, ProcessId]:
    """Start CCR from a process of its own, kill that; the processes it has started."""
    places = [paths.ccr, paths.config, paths.state, paths.cache, paths.log]
    entry = package.entry and str(package.entry)
    command = [sys.executable, "-c", SUPERVISOR, json.dumps([str(place) for place in places])]
    command.append(json.dumps([package.command, entry]))
    environ = {**launcher.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with started(command, env=environ, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        root, serving = (identify(int(pid)) for pid in supervisor.stdout.readline().split())
        assert root is not None
        assert serving is not None
    return root, serving


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_killed_supervisor_leaves_no_ccr(
    launcher: Launcher, package: Package, paths: Paths, upstream: int
) -> None:
    """After kill -9 of the supervisor CCR is gone by itself."""
    configure(paths, upstream)
    root, _ = await killed_supervisor(launcher, package, paths)
    await until(lambda: not is_alive(root))
    assert find_orphans(paths) == []


def through_npx(node: Node) -> Package:
    command = (*node.npx, "--yes", f"--package={NAME}@2.0.0", "--", "ccr", "start")
    return Package("2.0.0", command, None, V2)


async def test_npx_tree(
    launcher: Launcher,
    node: Node,
    npm_environ: dict[str, str],
    own_cache: Path,
    paths: Paths,
    upstream: int,
) -> None:
    """Run by npx, the serving process is found below it, watched, and the whole tree ends."""
    await PackageSource("2.0.0", npm_environ, own_cache).now()
    configure(paths, upstream)
    backend = await launcher.launch(through_npx(node))
    assert backend.identity != backend.root
    assert read_pid_file(paths) == backend.pid
    async with troubles(backend) as seen:
        assert await ask(backend, "claude") == 402
        await until(lambda: bool(seen))
    assert (await backend.stop(10)).ended
    assert not is_alive(backend.identity)
    assert find_orphans(paths) == []


async def test_orphan_of_npx_is_ended_by_the_next_start(
    launcher: Launcher,
    node: Node,
    npm_environ: dict[str, str],
    own_cache: Path,
    paths: Paths,
    upstream: int,
) -> None:
    """npx that dies with its supervisor leaves CCR behind; the successor knows it and ends it."""
    await PackageSource("2.0.0", npm_environ, own_cache).now()
    configure(paths, upstream)
    root, serving = await killed_supervisor(launcher, through_npx(node), paths)
    await until(lambda: not is_alive(root))
    assert is_alive(serving)
    assert serving in find_orphans(paths)
    assert serving in await end_orphans(paths)
    assert not is_alive(serving)
    backend = await launcher.launch(await PackageSource("2.0.0", npm_environ, own_cache).now())
    await backend.stop(10)
