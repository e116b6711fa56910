"""Stand-ins for the tests of synccr.ccr: directories, a Node, and a small CCR in Python."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_subprocess import FakeProcess

from synccr.ccr.generations import V2
from synccr.ccr.installation import Pin, provide
from synccr.ccr.node import Node
from synccr.ccr.orphans import Register, end_orphans
from synccr.ccr.package import Package
from synccr.ccr.process import ProcessId
from synccr.ccr.v2.backend import Backend2
from synccr.ccr.v2.launch import Launcher
from synccr.paths import Paths
from synccr.redact import Redactor

NAME = "@musistudio/claude-code-router"
LOCK = {"packages": {f"node_modules/{NAME}": {"version": "2.0.0", "integrity": "sha512-good"}}}
SECRET = "sk-abcdefghijklmnopqrstu"
"""What the small CCR says of a key when it dies."""

# Behaves as `ccr start` does: pid file, log, SERVICE_PORT, /health; MODE says what goes wrong.
FAKE_CCR = r"""
import json, os, pathlib, signal, socket, subprocess, sys, threading, time

home = pathlib.Path(os.environ["HOME"], ".claude-code-router")
pid_file = home / ".claude-code-router.pid"
mode = os.environ.get("FAKE_CCR", "serves")
port = int(os.environ["SERVICE_PORT"])
(home / "logs").mkdir(parents=True, exist_ok=True)


def log(level, msg):
    entry = {"level": level, "time": int(time.time() * 1000), "pid": os.getpid(),
             "hostname": "h", "msg": msg}
    with (home / "logs" / "ccr-20260101000000.log").open("a") as file:
        file.write(json.dumps(entry, separators=(",", ":")) + "\n")


try:
    os.kill(int(pid_file.read_text()), 0)
except (OSError, ValueError):
    pass
else:
    sys.exit(print("claude-code-router server is running"))
if mode == "dies":
    log(50, "Error starting server: the key sk-abcdefghijklmnopqrstu is odd")
    sys.exit(3)
if mode == "parse error":
    print("Failed to parse config file\nError details: JSON5: invalid character", file=sys.stderr)
    sys.exit(1)
if mode == "says running once":
    marker = home / "marker"
    if not marker.exists():
        marker.touch()
        sys.exit(print("claude-code-router server is running"))
if mode == "says running":
    sys.exit(print("claude-code-router server is running"))
if mode == "port taken":
    log(50, f"Error starting server: Error: listen EADDRINUSE: address already in use :{port}")
    sys.exit(1)
pid_file.write_text(str(os.getpid()))
if mode == "silent":
    print("Error: it waits for something", flush=True)
    time.sleep(60)
if mode == "with child":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (home / "child").write_text(str(child.pid))
if mode == "deletes":  # as 1.0.73 does
    signal.signal(signal.SIGTERM, lambda *_: (pid_file.unlink(), os._exit(0)))
elif mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
keep = (home / "logs" / "ccr-20260101000000.log").open("a")
server = socket.create_server(("127.0.0.1", port))
print("x" * 200_000 if mode == "talks" else "ready", flush=True)
while True:
    client, _ = server.accept()
    with client:
        client.recv(4096)
        status = "503 Service Unavailable" if mode == "unhealthy" else "200 OK"
        client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
"""


def make_paths(root: Path) -> Paths:
    """Directories of a person of their own, CCR's with a configuration."""
    paths = Paths(
        ccr=root / "home" / ".claude-code-router",
        config=root / "config",
        state=root / "state",
        cache=root / "cache",
        log=root / "log",
    )
    paths.ccr.mkdir(parents=True)
    paths.ccr_config.write_text("{}")
    return paths


def fake_entry(root: Path) -> Path:
    """The small CCR, at a place whose name is that of the real one."""
    entry = root / "node_modules" / NAME / "dist" / "cli.js"
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.write_text(FAKE_CCR)
    return entry


def fake_package(root: Path) -> Package:
    """The small CCR, ready to be launched."""
    entry = fake_entry(root)
    return Package("2.0.0", (sys.executable, str(entry), "start"), entry, V2)


def fake_environ(root: Path, mode: str = "serves") -> dict[str, str]:
    """The environment for it."""
    return {"HOME": str(root / "home"), "PATH": "/usr/bin:/bin", "FAKE_CCR": mode}


def fake_node(root: Path, *, npm: bool = True) -> Node:
    """A Node whose npm is whatever a test makes of the name."""
    root.mkdir(exist_ok=True)
    for name in ("node", "npm-cli.js"):
        (root / name).touch()
    command = (str(root / "node"), str(root / "npm-cli.js")) if npm else ()
    return Node(root / "node", "20.1.2", command, command, "a test")


def install(place: Path, version: str, *, script: str = "dist/cli.js") -> Path:
    """What npm leaves behind after it has installed a package; the package's directory."""
    root = place / "node_modules" / NAME
    (root / "dist").mkdir(parents=True, exist_ok=True)
    manifest = {"name": NAME, "version": version, "bin": {"ccr": script}}
    (root / "package.json").write_text(json.dumps(manifest))
    (root / "dist" / "cli.js").write_text("the program")
    return root


@dataclass(frozen=True)
class Scene:
    """The small CCR in directories of its own."""

    root: Path
    paths: Paths
    package: Package

    def launcher(self, mode: str = "serves", start_timeout: float = 10.0) -> Launcher:
        return Launcher(
            self.paths,
            fake_environ(self.root, mode),
            start_timeout=start_timeout,
            redact=Redactor([SECRET]),
            register=Register.of(self.paths),
        )

    async def launch(
        self,
        mode: str = "serves",
        start_timeout: float = 10.0,
        *,
        ours: Collection[ProcessId] = (),
    ) -> Backend2:
        return await self.launcher(mode, start_timeout).launch(self.package, ours=ours)


@contextlib.asynccontextmanager
async def scene_in(root: Path) -> AsyncIterator[Scene]:
    """Whatever a test leaves behind there is ended."""
    scene = Scene(root, make_paths(root), fake_package(root))
    try:
        yield scene
    finally:
        await end_orphans(scene.paths, grace=0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes soon."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


ONE, TWO = "@more/one", "@more/two"
"""What version 3.0.0 names and does not need."""


def whole(place: Path) -> Path:
    """What npm leaves of the pinned version."""
    return install(place, "2.0.0")


@dataclass
class Site:
    """A place where CCR is installed: 2.0.0 is pinned, as one short file, and 3.0.0, which names
    two packages that it does not need."""

    root: Path

    def __post_init__(self) -> None:
        self.cache = self.root / "c"
        self.place = self.cache / "ccr" / "2.0.0"
        npm_cache = str(self.root / "npm")
        self.environ = {"HOME": str(self.root / "home"), "npm_config_cache": npm_cache, "PATH": ""}
        stand_in = {"name": "stand-in", "version": "1.0.0", "integrity": "sha512-stands-in"}
        packages = LOCK["packages"] | {f"node_modules/{name}": stand_in for name in (ONE, TWO)}
        overrides = {"library": "1.0.0", **dict.fromkeys((ONE, TWO), "npm:stand-in@1.0.0")}
        self.pins = {
            "2.0.0": self._pin("2.0.0", LOCK),
            "3.0.0": self._pin("3.0.0", {"packages": packages}, overrides=overrides),
        }

    def _pin(self, version: str, lock: object, **more: object) -> Pin:
        place = self.root / "locks" / version
        place.mkdir(parents=True)
        manifest = {"dependencies": {NAME: version}, **more}
        (place / "package.json").write_text(json.dumps(manifest))
        (place / "package-lock.json").write_text(json.dumps(lock))
        digest = hashlib.sha256(b"the program").hexdigest()
        program = f"{NAME}/dist/cli.js"
        return Pin(place, program, {program: digest})

    async def provide(
        self,
        version: str = "2.0.0",
        *,
        npm: bool = True,
        node: Node | None = None,
        pins: Mapping[str, Pin] | None = None,
        **options: Any,
    ) -> Path:
        """The program of that version, from here."""
        node = node or fake_node(self.root, npm=npm)
        pins = self.pins if pins is None else pins
        return await provide(version, pins.get(version), node, self.environ, self.cache, **options)

    def put(self) -> Path:
        """A whole installation in its place; the program."""
        root = install(self.place, "2.0.0")
        shutil.copy(self.pins["2.0.0"].lock / "package-lock.json", self.place)
        return root / "dist" / "cli.js"

    def npm_does(self, fp: FakeProcess, work: Callable[[Path], object], what: str = "ci") -> None:
        """A registered npm that works where it is started."""
        fp.register([fp.any(min=2, max=2), what, fp.any()], callback=lambda _: self.beside(work))

    def beside(self, work: Callable[[Path], object]) -> None:
        """Work in the directories that become installations."""
        for directory in self.place.parent.glob(".new-*/*"):
            work(directory)
