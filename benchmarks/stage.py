"""The processes that are compared: bare CCR and synccr, on one embedded provider."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bare import Bare, Bare2, Bare3
from benchmarks.home import FALLBACK, MAIN, PATIENCE, Home, config, until
from benchmarks.wire import KEY
from synccr.ccr.node import Node, find_node
from synccr.ccr.package import Package
from synccr.ccr.package_source import PackageSource
from synccr.control import request as control
from synccr.errors import SynccrError

VERSIONS = ("2.0.0", "3.1.1")
"""Of CCR, that are measured."""


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
class Synccr:
    """``synccr start`` in the foreground, as a service runs it."""

    home: Home
    url: str
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

    def processes(self) -> dict[str, psutil.Process]:
        """What its CCR consists of, the process that serves first."""
        status = self.status()
        serving = psutil.Process(status["ccr"]["pid"])
        above = serving.parent()
        if above is None or above.pid == status["supervisor"]["pid"]:
            return {"CCR": serving}
        return {"gateway": serving, "management": above}

    def write(self, **more: Any) -> None:
        """The primary profile, all of it on one model; read anew while it runs."""
        document = config(self.url, self.port, MAIN, **more)
        self.home.write(self.home.paths.config / "ccr-config.json", document)

    def add_provider(self) -> None:
        """Lead everything to the other model, by a provider that was not there."""
        known = config(self.url, self.port, MAIN)["Providers"]
        added = {"name": "added", "api_base_url": self.url, "api_key": KEY, "models": [FALLBACK]}
        self.write(Providers=[*known, added], Router={"default": f"added,{FALLBACK}"})

    def swap(self, role: str) -> None:
        """By hand, and at once."""
        control(self.home.paths.instance, "swap", timeout=PATIENCE, profile=role)

    def decided(self) -> float:
        """When it last decided for other routes; seconds since the epoch."""
        journal = (self.home.paths.instance / "journal.jsonl").read_text().splitlines()
        entries = map(json.loads, journal)
        moments = [entry["at"] for entry in entries if entry["kind"] == "swap_started"]
        return datetime.fromisoformat(moments[-1]).timestamp()

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
    """Where everything is measured, with one version of CCR.

    Attributes:
        node: what runs CCR.
        package: what synccr runs, so both run the same.
        provider: in a process of its own.
    """

    node: Node
    package: Package
    provider: Provider

    @property
    def version(self) -> str:
        """Of CCR."""
        return self.package.version

    @property
    def apart(self) -> bool:
        """It is a CCR that goes over to other routes as it runs: CCR 3."""
        return self.package.generation.apart

    @contextlib.contextmanager
    def home(self) -> Iterator[Home]:
        """One with CCR installed, removed at the end with all that runs in it."""
        root = Path(tempfile.mkdtemp(prefix="synccr-benchmark-"))
        home = Home(root, self.version)
        assert self.package.entry is not None
        modules = next(p for p in self.package.entry.parents if p.name == "node_modules")
        installed = modules.parents[1]
        shutil.copytree(installed, home.paths.cache / installed.name, copy_function=os.link)
        try:
            yield home
        finally:
            home.clear()
            shutil.rmtree(root, ignore_errors=True)

    def bare_in(self, home: Home) -> Bare:
        """A CCR with its configuration, to be started."""
        return (Bare3 if self.apart else Bare2)(home, self.package, self.provider.url)

    @contextlib.contextmanager
    def bare(self) -> Iterator[Bare]:
        """A CCR that serves."""
        with self.home() as home:
            bare = self.bare_in(home)
            bare.boot()
            yield bare

    @contextlib.contextmanager
    def synccr(self, **more: Any) -> Iterator[Synccr]:
        """A synccr that serves with two profiles, one model each; ``more`` of the primary."""
        with self.home() as home:
            synccr = Synccr(home, self.provider.url)
            synccr.write(**more)
            second = config(self.provider.url, home.port, FALLBACK)
            home.write(home.paths.config / "ccr-config-fallback.json", second)
            try:
                synccr.start()
                yield synccr
            finally:
                synccr.stop()

    def asked(self, since: float, **what: object) -> list[float]:
        """When requests of clients, and no probes, came in at the provider, in seconds since
        the epoch; those whose record says ``what``."""
        return [
            request["at"]
            for request in self.provider.requests()
            if request["at"] >= since
            and all(request[name] == value for name, value in what.items())
            and "echo:" in str(request["body"]["messages"])
        ]


@contextlib.contextmanager
def stage(version: str) -> Iterator[Stage]:
    """Find Node and CCR, and start the provider."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synccr-benchmark-")))
        environ = Home(root, version).environ
        source = PackageSource(version, environ, root / "cache" / "synccr")
        package = asyncio.run(source.now())
        node = find_node(os.environ, oldest=source.generation.oldest_node)
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
        yield Stage(node, package, Provider(json.loads(process.stdout.readline())["url"]))
