"""A user's home in a directory, and synccr run in it as a user would run it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import psutil

from ports import free_port
from provider import FakeProvider
from synccr.settings import Settings

MAIN, SPARE, LONG = "vendor/main-480b", "vendor/spare-32b", "vendor/long-v3"
KEY = "canary-2f7d90b1c4e85a36"
"""Never to be seen outside the environment."""

DEFAULT_CCR = Settings().ccr_version

_KEPT = ("COVERAGE", "npm_config_r", "NODE_EXTRA_CA")
"""What of the caller's environment a home has too: how npm reaches its registry."""


def profile(url: str, port: int, **changes: Any) -> dict[str, Any]:
    """A primary profile on a provider."""
    return {
        "PORT": port,
        "Providers": [
            {
                "name": "acme",
                "api_base_url": url,
                "api_key": "$ACME_KEY",
                "models": [MAIN, SPARE, LONG],
            }
        ],
        "Router": {
            "default": f"acme,{MAIN}",
            "longContext": f"acme,{LONG}",
            "fallback": f"acme,{SPARE}",
        },
        **changes,
    }


@dataclass
class Home:
    """One home. ``env`` is changed per test as needed."""

    root: Path
    npm_cache: Path
    ccr_version: str = DEFAULT_CCR
    port: int = field(default_factory=free_port)
    env: dict[str, str] = field(default_factory=dict)

    installed: ClassVar[dict[str, Path]] = {}
    """Caches of synccr with a version of CCR installed in each; a home has that of its version,
    as after a first start. The files are shared: a test replaces one, and never writes into it."""

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        installed = self.installed.get(self.ccr_version)
        if installed and not self.cache.exists():
            shutil.copytree(
                installed / "ccr", self.cache / "ccr", symlinks=True, copy_function=os.link
            )
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "npm_config_cache": str(self.npm_cache),
            "ACME_KEY": KEY,
            "LANG": "C.UTF-8",
            **{n: v for n, v in os.environ.items() if n.startswith(_KEPT)},
        }
        if self.ccr_version != DEFAULT_CCR:
            self.env["SYNCCR_CCR_VERSION"] = self.ccr_version

    @property
    def ccr(self) -> Path:
        return self.root / ".claude-code-router"

    @property
    def cache(self) -> Path:
        return self.root / ".cache" / "synccr"

    @property
    def config(self) -> Path:
        return self.root / ".config" / "synccr"

    def use(self, provider: FakeProvider, **changes: Any) -> dict[str, Any]:
        """Write a primary profile on this provider."""
        document = profile(provider.url("openai"), self.port, **changes)
        self.write("ccr-config.json", document)
        return document

    def write(self, name: str, document: Any) -> Path:
        self.config.mkdir(parents=True, exist_ok=True)
        path = self.config / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    def run(
        self, *arguments: str, input: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "synccr", *arguments],
            env=self.env,
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def begin(self, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """One command, not waited for."""
        return subprocess.Popen(
            [sys.executable, "-m", "synccr", *arguments],
            env=self.env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextlib.contextmanager
    def running(
        self, *arguments: str, program: Sequence[str] = ("-m", "synccr", "start")
    ) -> Iterator[Running]:
        """A supervisor in the foreground, ready; ended by SIGTERM if it still runs."""
        log = self.root / "terminal.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *program, *arguments],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        running = Running(self, process, log)
        try:
            running.until(lambda: b"Ready at" in log.read_bytes(), 90)
            yield running
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(30)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        lines = self.run("events", "--json").stdout.splitlines()
        found = [json.loads(line) for line in lines]
        return [entry for entry in found if kind in (None, entry["kind"])]

    def processes(self) -> list[psutil.Process]:
        """Everything that runs with this HOME, or with one below it."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                home = Path(process.environ().get("HOME", "/"))
                if home.is_relative_to(self.root):
                    found.append(process)
        return [p for p in found if p.pid != os.getpid()]

    def found_by_ccrs_commands(self, pid: int) -> bool:
        """Whether CCR 2's own commands find this CCR. For CCR 3 there is to be none to find."""
        file = self.ccr / ".claude-code-router.pid"
        return file.read_text() == str(pid) if self.ccr_version[0] < "3" else not file.exists()

    def where_is(self, secret: str) -> list[Path]:
        """Files that hold a secret."""
        found = []
        for path in self.root.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and secret.encode() in path.read_bytes():
                    found.append(path)
        return found


def program(home: Home) -> tuple[str, str]:
    """Node, and the script of the CCR that serves."""
    node, *words = psutil.Process(home.status()["ccr"]["pid"]).cmdline()
    return node, next(word for word in words if word.endswith("cli.js"))


def ccr_processes(home: Home) -> list[psutil.Process]:
    """All of the CCR that serves, what was started first: one, or management and gateway."""
    status = home.status()
    first = psutil.Process(status["ccr"]["pid"])
    while first.ppid() != status["supervisor"]["pid"]:
        first = psutil.Process(first.ppid())
    return [first, *first.children(recursive=True)]


@dataclass
class Running:
    """A supervisor in the foreground."""

    home: Home
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.home.port}"

    def until(self, fact: Any, seconds: float = 30) -> None:
        """Wait for a fact; what the terminal showed is the failure's message."""
        deadline = time.monotonic() + seconds
        while not fact():
            ended = self.process.poll()
            if ended is not None or time.monotonic() > deadline:
                raise AssertionError(f"never so (exit {ended}):\n{self.log.read_text()}")
            time.sleep(0.05)

    def until_profile(self, name: str, seconds: float = 30) -> dict[str, Any]:
        def there() -> bool:
            status = self.home.status()
            return status.get("profile") == name and status.get("state") == "running"

        self.until(there, seconds)
        return self.home.status()


def message(nonce: str, *, stream: bool = False, model: str = "claude-sonnet-4") -> dict[str, Any]:
    """A request of Claude Code's kind whose right answer is ``nonce``."""
    return {
        "model": model,
        "max_tokens": 100_000,
        "stream": stream,
        "messages": [{"role": "user", "content": f"echo:{nonce}"}],
    }
