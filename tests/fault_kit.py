"""What the fault suite shares: a ledger of what was tried, traffic, and what must hold after."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest

from home import Home, message
from synccr.ccr.generations import generation_of
from synccr.control import request
from synccr.errors import SynccrError

SEED = int(os.environ.get("SYNCCR_FAULT_SEED", "20"))
KILLS = int(os.environ.get("SYNCCR_FAULT_KILLS", "18"))
FULL = os.environ.get("SYNCCR_FAULT_FULL") == "1"

CCR2, CCR3 = "2.0.0", "3.1.1"
BOTH = pytest.mark.ccr(CCR2, CCR3)
"""For a test that runs on each, also in the short run."""
BOTH_IF_FULL = pytest.mark.ccr(CCR2, *[CCR3] if FULL else [])
"""For one whose subject lies in front of CCR: in the short run the default CCR is enough."""


def cases(names: str, all_of_them: Sequence[Any], few: Sequence[Any]) -> pytest.MarkDecorator:
    """Parameters: all on CCR 2, and in the full run on CCR 3, too; else a few there."""
    both = ((CCR2, all_of_them), (CCR3, all_of_them if FULL else few))
    several = "," in names
    rows = [(version, *(case if several else (case,))) for version, found in both for case in found]
    return pytest.mark.parametrize(f"ccr_version, {names}", rows, indirect=["ccr_version"])


EXITS = {0, 1, 4, 5, 6, 7, 130}
"""Exit codes of ``start`` that the contract knows, besides a signal's."""


@dataclass
class Ledger:
    """Faults tried and survived, requests sent and lost."""

    tried: Counter[str] = field(default_factory=Counter)
    survived: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)

    @contextlib.contextmanager
    def fault(self, kind: str) -> Iterator[None]:
        """One fault; survived when the block ends without an exception."""
        self.tried[kind] += 1
        yield
        self.survived[kind] += 1

    def summary(self) -> str:
        """One line."""
        sent, lost = self.requests.total(), self.requests["lost"]
        return (
            f"faults: {self.tried.total()} tried, {self.survived.total()} survived; "
            f"requests: {sent} sent, {self.requests['answered']} answered, {lost} lost, "
            f"{self.requests['cut']} cut after their answer had begun, "
            f"{self.requests['no supervisor']} while no supervisor ran; seed {SEED}"
        )

    def table(self) -> str:
        """Markdown."""
        rows = ["| fault | tried | survived |", "|---|---|---|"]
        rows += [f"| {k} | {n} | {self.survived[k]} |" for k, n in sorted(self.tried.items())]
        return "\n".join([*rows, "", self.summary(), ""])


class Traffic:
    """One client that sends a request after the other, each with an answer of its own."""

    def __init__(self, home: Home, pause: float = 0.02) -> None:
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._url = f"http://127.0.0.1:{home.port}/v1/messages"
        self._pause = pause
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(90)

    def _run(self) -> None:
        turn = 0
        with httpx.Client(timeout=80, trust_env=False) as http:
            while not self._done.wait(self._pause):
                turn += 1
                outcome = self._one(http, f"n{turn}", stream=bool(turn % 2))
                self.outcomes[outcome] += 1

    def _one(self, http: httpx.Client, nonce: str, *, stream: bool) -> str:
        try:
            answer = http.post(self._url, json=message(nonce, stream=stream))
        except httpx.ConnectError:
            return "no supervisor"
        except httpx.HTTPError as error:
            self.wrong.append(f"{nonce}: {error!r}")
            return "lost"
        text = streamed(answer.text) if stream else whole(answer)
        if answer.status_code == 200 and text == nonce:
            return "answered"
        self.wrong.append(f"{nonce}: {answer.status_code} {answer.text[:200]!r}")
        return "lost"


def whole(answer: httpx.Response) -> str:
    """The text of an answer that is one document."""
    try:
        return str(answer.json()["content"][0]["text"])
    except (ValueError, KeyError, IndexError, TypeError):
        return answer.text


def streamed(text: str) -> str:
    """The text of a stream; empty when it did not come to its end."""
    events = []
    for line in text.splitlines():
        if line.startswith("data:"):
            with contextlib.suppress(ValueError):
                events.append(json.loads(line[5:]))
    if not any(event.get("type") == "message_stop" for event in events):
        return ""
    return "".join(event["delta"].get("text", "") for event in events if "delta" in event)


def spawn(home: Home, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """A command in the background; what it says is appended to ``terminal.txt``."""
    with (home.root / "terminal.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "synccr", *arguments],
            env=home.env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **options,
        )


def terminal(home: Home) -> str:
    """What all commands that were spawned have said."""
    return (home.root / "terminal.txt").read_text(errors="replace")


def instance(home: Home) -> Path:
    """Where the state of this home's supervisor is."""
    found = sorted((home.root / ".local/state/synccr").glob("ccr-*"))
    return found[0] if found else home.root / "nowhere"


def status(home: Home) -> dict[str, Any]:
    """``status --json`` without the cost of a process; ``stopped`` when nobody answers."""
    try:
        answer = request(instance(home), "status", timeout=5)
    except (SynccrError, OSError):
        return {"state": "stopped"}
    return dict(answer)


def until(fact: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a fact."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.03)


def serving(home: Home) -> bool:
    """Whether a supervisor serves."""
    found = status(home)
    return found["state"] in ("running", "degraded") and bool(found["ccr"]["pid"])


def start(home: Home, *arguments: str, seconds: float = 60) -> subprocess.Popen[bytes]:
    """Start a supervisor; returns once it serves."""
    return start_with(home, (), *arguments, seconds=seconds)


def stop(process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """End it in order."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(seconds) == 0


def ccr_processes(home: Home) -> list[psutil.Process]:
    """CCRs of this home; of CCR 3 its management."""
    return [p for p in home.processes() if "cli.js" in " ".join(_command(p))]


def gateways(home: Home) -> list[psutil.Process]:
    """The processes in which CCR 3 serves; CCR 2 has none."""
    return [p for p in home.processes() if "gateway-bootstrap.js" in " ".join(_command(p))]


def run_directories(home: Home) -> list[Path]:
    """Those that CCR 3 runs in; CCR 2 has none."""
    return sorted(instance(home).glob("ccr3/*"))


def expected_run_directories(home: Home) -> int:
    """How many there have to be while one CCR serves."""
    return int(generation_of(home.ccr_version).apart)


def npm_processes(home: Home) -> list[psutil.Process]:
    """npm and what it runs."""
    return [p for p in home.processes() if "npm-cli" in " ".join(_command(p))]


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def hand_written(home: Home, document: dict[str, Any]) -> bytes:
    """A person's own ``config.json`` in CCR's directory, with a comment that only they have."""
    home.ccr.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = "// my own words\n" + json.dumps(document, indent=1)
    path = home.ccr / "config.json"
    path.write_text(text)
    path.chmod(0o600)
    return text.encode()


def assert_whole(
    home: Home, words: bytes | None = None, *, ended: bool = True, killed: bool = False
) -> None:
    """What must hold after each fault: the configuration whole and private, a person's words
    to be found, and, when everything should have ended, no process, no lock and, unless the
    supervisor was killed, no directory that CCR ran in."""
    if ended:
        until(lambda: not home.processes(), 15, f"no orphans: {_named(home)}")
        lock = instance(home) / "supervisor.lock"
        if lock.exists():
            from filelock import FileLock

            with FileLock(lock, timeout=0):
                pass
        assert killed or run_directories(home) == []
    config = home.ccr / "config.json"
    if config.exists():
        content = config.read_bytes()
        if content != words:
            assert isinstance(json.loads(content), dict)
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
    if words is not None:
        places = [*home.ccr.glob("config.json*"), *home.config.glob("ccr-config.json*")]
        assert any(words == path.read_bytes() for path in places), "a person's words are lost"
    shown = terminal(home) if (home.root / "terminal.txt").exists() else ""
    assert "Traceback" not in shown, shown[-3000:]
    assert "unforeseen" not in shown, shown[-3000:]


def _named(home: Home) -> str:
    return "; ".join(f"{p.pid} {' '.join(_command(p))[:120]}" for p in home.processes())


def assert_next_start_works(home: Home) -> None:
    """A start, an answer, a stop, and nothing left."""
    process = start(home)
    try:
        assert len(run_directories(home)) == expected_run_directories(home)
        answer = httpx.post(
            f"http://127.0.0.1:{home.port}/v1/messages", json=message("after"), timeout=60
        )
        assert (answer.status_code, whole(answer)) == (200, "after")
    finally:
        stop(process)
    until(lambda: not home.processes(), 15, "no process after a stop")
    assert run_directories(home) == []


def start_with(
    home: Home, wrapper: tuple[str, ...], *arguments: str, seconds: float = 60
) -> subprocess.Popen[bytes]:
    """Start a supervisor through another program; returns once it serves."""
    with (home.root / "terminal.txt").open("ab") as output:
        process = subprocess.Popen(
            [*wrapper, sys.executable, "-m", "synccr", "start", *arguments],
            env=home.env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def ready() -> bool:
        assert process.poll() is None, f"start ended ({process.returncode}):\n{terminal(home)}"
        return serving(home)

    until(ready, seconds, "start serves")
    return process


def written(home: Home) -> dict[str, Any]:
    """CCR's configuration."""
    return dict(json.loads((home.ccr / "config.json").read_bytes()))
