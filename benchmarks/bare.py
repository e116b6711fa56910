"""CCR as a person runs it without synccr, each generation in its own way."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import psutil

from benchmarks.home import FALLBACK, MAIN, PATIENCE, Home, ask, config, healthy, until
from benchmarks.wire import KEY
from synccr.ccr.package import Package
from synccr.ccr.v2.pid_file import read_pid_file
from synccr.ports import free_port


@dataclass
class Bare(ABC):
    """One CCR in a home of its own.

    Attributes:
        home: where it runs.
        package: what runs; the same as under synccr.
        url: of the provider.
        changed_by, restarted_by: how a person leads it to another model, or starts it anew.
    """

    home: Home
    package: Package
    url: str
    changed_by: ClassVar[str]
    restarted_by: ClassVar[str]

    @property
    def port(self) -> int:
        """Where it serves."""
        return self.home.port

    def start(self) -> float:
        """Start it as its own command does; seconds until ``/health`` answers."""
        began = time.monotonic()
        self._spawn()
        return until(lambda: healthy(self.port)) - began

    def boot(self) -> float:
        """Start it; seconds until it has answered a message."""
        began = time.monotonic()
        self.start()
        return until(lambda: ask(self.port)) - began

    def stop(self) -> None:
        """Kill what is left of it, and see it end."""
        self.home.clear()
        until(lambda: not healthy(self.port))

    @abstractmethod
    def processes(self) -> dict[str, psutil.Process]:
        """What it consists of, the process that serves first."""

    @abstractmethod
    def change(self, model: str) -> None:
        """Lead everything to another model while it runs, as a person does."""

    @abstractmethod
    def restart(self) -> None:
        """As a person does, to the moment at which it serves again."""

    @abstractmethod
    def _spawn(self) -> None: ...


@dataclass
class Bare2(Bare):
    """CCR 2: ``ccr start``, and an edit of ``config.json``."""

    changed_by = "config.json written, ccr restart"
    restarted_by = "ccr restart"

    def __post_init__(self) -> None:
        self._write(MAIN)

    def processes(self) -> dict[str, psutil.Process]:
        return {"CCR": psutil.Process(read_pid_file(self.home.paths))}

    def change(self, model: str) -> None:
        self._write(model)
        self.restart()

    def restart(self) -> None:
        old = read_pid_file(self.home.paths)
        command = (*self.package.command[:-1], "restart")
        self.home.spawn(*command).wait(PATIENCE)
        until(lambda: read_pid_file(self.home.paths) not in (None, old) and healthy(self.port))

    def stop(self) -> None:
        super().stop()
        self.home.paths.ccr_pid.unlink(missing_ok=True)

    def _spawn(self) -> None:
        self.home.spawn(*self.package.command)

    def _write(self, model: str) -> None:
        self.home.write(self.home.paths.ccr_config, config(self.url, self.port, model))


@dataclass
class Bare3(Bare):
    """CCR 3: ``ccr serve``; a rule leads everything to a model, and its page changes the rule.

    Requests are not recorded on its disk, as under synccr; a person's own are.
    """

    changed_by = "RPC saveConfig with another rule"
    restarted_by = "SIGTERM, then ccr serve"

    page: int = field(default_factory=free_port)
    _root: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        document = config(self.url, self.port, MAIN, FALLBACK)
        document["Providers"][0]["id"] = "acme"
        more = {"APIKEY": KEY, "profile": {"enabled": False}, "Router": {"rules": [_rule(MAIN)]}}
        self.home.write(self.home.paths.ccr_config, {**document, **more})

    def processes(self) -> dict[str, psutil.Process]:
        assert self._root is not None
        management = psutil.Process(self._root.pid)
        return {"gateway": management.children()[0], "management": management}

    def change(self, model: str) -> None:
        document = self._call("getConfig")
        document["Router"]["rules"] = [_rule(model)]
        self._call("saveConfig", document)
        until(lambda: ask(self.port) == model)

    def restart(self) -> None:
        assert self._root is not None
        self._root.terminate()
        self._root.wait(PATIENCE)
        self.start()

    def _spawn(self) -> None:
        environ = {"CCR_WEB_AUTH_TOKEN": KEY, "CCR_RAW_TRACE_ENABLED": "0"}
        command = (*self.package.command, "--port", str(self.page))
        self._root = self.home.spawn(*command, **environ)

    def _call(self, method: str, *arguments: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.page}/api/ccr/rpc",
            json.dumps({"method": method, "args": arguments}).encode(),
            {"content-type": "application/json", "x-ccr-web-auth": KEY},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - loopback
            return json.load(answer)["value"]


def _rule(model: str) -> dict[str, Any]:
    return {
        "id": "everything",
        "name": "everything",
        "enabled": True,
        "type": "condition",
        "condition": {"left": "request.body.model", "operator": "!=", "right": ""},
        "rewrites": [{"key": "request.body.model", "operation": "set", "value": f"acme/{model}"}],
    }
