"""A user's home in a directory, and what is asked of a program that serves there."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks import wire
from benchmarks.wire import KEY
from synccr.paths import Paths
from synccr.ports import free_port

MAIN, FALLBACK = "vendor/main-480b", "vendor/fallback-32b"
PATIENCE = 60.0
"""Seconds for anything to come up."""
_STEP = 0.005
_KEPT = ("npm_config_r", "NODE_EXTRA_CA", "TMPDIR")


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


def ask(port: int) -> str:
    """The model that answers a message on a port of loopback; empty when none does."""
    answer = wire.Answer()
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
            sock.sendall(wire.request("/v1/messages", wire.message("echo:asked"), close=True))
            while not answer.add(data := sock.recv(65536)):
                if not data:
                    return ""
    except OSError:
        return ""
    found = wire.MODEL.search(answer.data) if answer.status == 200 else None
    return found[1].decode() if found else ""


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
class Home:
    """A user's home in a directory; everything that runs in it ends with it."""

    root: Path
    version: str
    port: int = field(default_factory=free_port)

    @property
    def environ(self) -> dict[str, str]:
        """Nothing of the caller's but what is needed to find programs and npm's cache."""
        cache = os.environ.get("SYNCCR_TEST_NPM_CACHE") or os.environ.get("npm_config_cache")  # noqa: SIM112
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.root),
            "SYNCCR_CCR_VERSION": self.version,
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "npm_config_cache": cache or str(Path.home() / ".npm"),
            # npm's way to its registry; and TMPDIR: a control socket may lie there, and has to be
            # found there.
            **{n: v for n, v in os.environ.items() if n.startswith(_KEPT)},
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

    def spawn(self, *command: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start something; its output is in ``output.txt``."""
        with (self.root / "output.txt").open("ab") as output:
            return subprocess.Popen(
                command,
                env=self.environ | environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.root,
            )

    def clear(self) -> None:
        """End what still runs with a HOME in here, whoever its parent is."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                home = Path(process.environ().get("HOME", ""))
                if process.pid != os.getpid() and home.is_relative_to(self.root):
                    process.kill()
