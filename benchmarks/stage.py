"""The processes that are compared: bare CCR and synccr, on one embedded provider."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from synccr.ccr.node import Node, find_node
from synccr.ccr.package_source import PackageSource
from synccr.ccr.v2.pid_file import read_pid_file
from synccr.control import request as control
from synccr.errors import SynccrError
from synccr.paths import Paths
from synccr.ports import free_port

MAIN, FALLBACK = "vendor/main-480b", "vendor/fallback-32b"
KEY = "benchmark-key"
VERSION = "2.0.0"
PATIENCE = 60.0
"""Seconds for anything to come up."""
_STEP = 0.005


def until(fact: Callable[[], object], seconds: float = PATIENCE, *, step: float = _STEP) -> float:
    """Wait for a fact, looking every ``step`` seconds; the monotonic time at which it was seen.

    Raises:
        TimeoutError: it never came.
    """
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {fact}")
        time.sleep(step)
    return time.monotonic()


def healthy(port: int) -> bool:
    """Whether ``/health`` on a port of loopback answers 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as sock:
            sock.settimeout(1)
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return sock.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def config(url: str, port: int, model: str, *others: str, **more: Any) -> dict[str, Any]:
    """A CCR configuration in which one model serves everything."""
    models = [model, *others]
    provider = {"name": "acme", "api_base_url": url, "api_key": KEY, "models": models}
    return {
        "PORT": port,
        "HOST": "127.0.0.1",
        "LOG_LEVEL": "error",
        "Providers": [provider],
        "Router": {"default": f"acme,{model}"},
        **more,
    }


@dataclass
class Provider:
    """The embedded provider in a process of its own, told what to do over HTTP."""

    address: str

    @property
    def url(self) -> str:
        """What goes into a configuration."""
        return f"{self.address}/openai/v1/chat/completions"

    def set(self, model: str, behaviour: Any) -> None:
        """Let a model behave so from now on."""
        self._order("behaviour", json.dumps({"target": model, "behaviour": behaviour}).encode())

    def requests(self) -> list[dict[str, Any]]:
        """The latest that came, oldest first, as `tests/provider/records.py` has them."""
        found: list[dict[str, Any]] = self._order("requests")["requests"]
        return found

    def _order(self, what: str, body: bytes | None = None) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.address}/_control/{what}", body) as answer:  # noqa: S310 - loopback
            said: dict[str, Any] = json.loads(answer.read())
        return said


@dataclass
class Home:
    """A user's home in a directory; everything that runs in it ends with it."""

    root: Path
    port: int = field(default_factory=free_port)

    @property
    def environ(self) -> dict[str, str]:
        """Nothing of the caller's but what is needed to find programs and npm's cache."""
        cache = os.environ.get("SYNCCR_TEST_NPM_CACHE") or os.environ.get("npm_config_cache")  # noqa: SIM112
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.root),
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "npm_config_cache": cache or str(Path.home() / ".npm"),
            # TMPDIR: a control socket may lie there, and has to be found there.
            **{n: v for n, v in os.environ.items() if n.startswith(("npm_config_r", "TMPDIR"))},
        }

    @property
    def paths(self) -> Paths:
        """As synccr finds them in this home."""
        own = (self.root / name / "synccr" for name in ("config", "state", "cache", "log"))
        return Paths(self.root / ".claude-code-router", *own)

    def write(self, path: Path, document: Any) -> None:
        """A file of this home."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))

    def spawn(self, *command: str) -> subprocess.Popen[bytes]:
        """Start something; its output is in ``output.txt``."""
        with (self.root / "output.txt").open("ab") as output:
            return subprocess.Popen(
                command,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.root,
            )

    def clear(self) -> None:
        """End what still runs with this HOME, whoever its parent is."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get("HOME") == str(self.root):
                    process.kill()


@dataclass
class Bare:
    """CCR as a person runs it without synccr: ``node cli.js start``."""

    home: Home
    node: Path
    entry: Path

    @property
    def port(self) -> int:
        """Where it serves."""
        return self.home.port

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        pid = read_pid_file(self.home.paths)
        assert pid is not None
        return pid

    def start(self) -> float:
        """Start it as its own command does; seconds until ``/health`` answers."""
        began = time.monotonic()
        self.home.spawn(str(self.node), str(self.entry), "start")
        return until(lambda: healthy(self.port)) - began

    def restart(self) -> None:
        """``ccr restart``, to the moment at which it serves again."""
        old = self.pid
        self.home.spawn(str(self.node), str(self.entry), "restart").wait(PATIENCE)
        until(lambda: read_pid_file(self.home.paths) not in (None, old) and healthy(self.port))

    def stop(self) -> None:
        """End it, and see it end."""
        process = psutil.Process(self.pid)
        process.kill()
        with contextlib.suppress(psutil.NoSuchProcess):
            process.wait(10)
        self.home.paths.ccr_pid.unlink(missing_ok=True)


@dataclass
class Synccr:
    """``synccr start`` in the foreground, as a service runs it."""

    home: Home
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The public one."""
        return self.home.port

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        assert self.process is not None
        return self.process.pid

    def status(self) -> dict[str, Any]:
        """What the supervisor says of itself; empty while it cannot."""
        try:
            found: dict[str, Any] = control(self.home.paths.instance, "status", timeout=5)
        except SynccrError:
            return {}
        return found

    def run(self, *arguments: str) -> None:
        """One command, to its end.

        Raises:
            RuntimeError: it failed.
        """
        code = self.home.spawn(sys.executable, "-m", "synccr", *arguments).wait(PATIENCE)
        if code:
            raise RuntimeError(f"synccr {arguments} ended with {code}:\n{self.words()}")

    def words(self) -> str:
        """What it printed."""
        return (self.home.root / "output.txt").read_text()

    def start(self) -> None:
        """Until it serves.

        Raises:
            RuntimeError: it ended instead.
        """
        self.process = process = self.home.spawn(sys.executable, "-m", "synccr", "start")

        def serves() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"synccr start ended with {process.poll()}:\n{self.words()}")
            return self.status().get("state") == "running"

        until(serves)

    def stop(self) -> None:
        """SIGTERM, and its end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        self.process = None


@dataclass(frozen=True)
class Stage:
    """Where everything is measured.

    Attributes:
        node: what runs CCR.
        entry: the script that synccr runs, so both run the same.
        provider: in a process of its own.
    """

    node: Node
    entry: Path
    provider: Provider

    @contextlib.contextmanager
    def home(self) -> Iterator[Home]:
        """One with CCR installed, removed at the end with all that runs in it."""
        root = Path(tempfile.mkdtemp(prefix="synccr-benchmark-"))
        home = Home(root)
        installed = self.entry.parents[5]
        shutil.copytree(installed, home.paths.cache / installed.name, copy_function=os.link)
        try:
            yield home
        finally:
            home.clear()
            shutil.rmtree(root, ignore_errors=True)

    @contextlib.contextmanager
    def bare(self) -> Iterator[Bare]:
        """A CCR that serves."""
        with self.home() as home:
            home.write(home.paths.ccr_config, config(self.provider.url, home.port, MAIN))
            bare = Bare(home, self.node.path, self.entry)
            bare.start()
            yield bare

    @contextlib.contextmanager
    def synccr(self, **more: Any) -> Iterator[Synccr]:
        """A synccr that serves with two profiles, one model each; ``more`` of the primary."""
        with self.home() as home:
            own = home.paths.config
            primary = config(self.provider.url, home.port, MAIN, **more)
            home.write(own / "ccr-config.json", primary)
            second = config(self.provider.url, home.port, FALLBACK)
            home.write(own / "ccr-config-fallback.json", second)
            synccr = Synccr(home)
            try:
                synccr.start()
                yield synccr
            finally:
                synccr.stop()


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Find Node and CCR, and start the provider."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synccr-benchmark-")))
        node = find_node(os.environ)
        environ = Home(root).environ
        package = asyncio.run(PackageSource(VERSION, environ, root / "cache" / "synccr").now())
        assert package.entry is not None
        behaviours = root / "behaviours.json"
        behaviours.write_text(json.dumps({"models": {MAIN: "ok", FALLBACK: "ok"}}))
        process = stack.enter_context(
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.provider", "--control", "--until-eof"),
                    *("--behaviours", str(behaviours)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parents[1],
            )
        )
        assert process.stdout is not None
        assert process.stdin is not None
        stack.callback(process.stdin.close)
        yield Stage(node, package.entry, Provider(json.loads(process.stdout.readline())["url"]))
