"""kill -9 of supervisor, CCR and npm at every moment of start, swap, restart and stop.

The moment is a part of the step's own duration, or the instant at which a file that
the step writes is seen to change; both come from the seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import fault_kit as kit
from fault_kit import KILLS, Ledger, Traffic
from home import Home, profile
from provider import FakeProvider
from synccr.ccr.package_source import PackageSource

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(3600)]

CASES = [
    ("start", ("supervisor",)),
    ("start", ("ccr",)),
    ("start", ("npm",)),
    ("swap", ("supervisor",)),
    ("swap", ("ccr",)),
    ("restart", ("supervisor",)),
    ("restart", ("ccr",)),
    ("stop", ("supervisor",)),
    ("stop", ("ccr",)),
]
"""Steps of CCR 2, and who is killed."""
ALL_OF_3 = ("gateway", "ccr", "supervisor")
STEPS_OF_3 = ("start", "swap", "restart", "stop")
"""Of CCR 3, where those that can be killed take turns."""


def each_case() -> list[tuple[str, str, tuple[str, ...], int]]:
    """Version, step, victims and how many kills; each victim of CCR 3 at least once."""
    found = []
    for number, (step, victims) in enumerate(CASES):
        each = KILLS // len(CASES) + (number < KILLS % len(CASES))
        found.append((kit.CCR2, step, victims, each))
    each = max(1, KILLS // len(CASES) // 2) * len(ALL_OF_3)
    return [*found, *((kit.CCR3, step, ALL_OF_3, each) for step in STEPS_OF_3)]


@dataclass
class Stage:
    """One home in which the same step is struck again and again."""

    home: Home
    dice: random.Random
    step: str
    victims: tuple[str, ...]
    words: bytes = b""
    supervisor: subprocess.Popen[bytes] | None = None
    took: float = 3.0
    killed: int = 0
    npm_template: Path | None = None

    @property
    def victim(self) -> str:
        """Who is next."""
        return self.victims[self.killed % len(self.victims)]

    def prepare(self) -> None:
        """What has to be there before the step."""
        if self.npm_template:
            cache = self.home.npm_cache
            shutil.rmtree(cache, ignore_errors=True)
            shutil.copytree(self.npm_template, cache)
            shutil.rmtree(self.home.cache / "ccr", ignore_errors=True)
        if self.step == "start":
            return
        if self.supervisor is None or self.supervisor.poll() is not None:
            self.supervisor = kit.start(self.home)

    def begin(self) -> subprocess.Popen[bytes]:
        """The step itself; a process whose end, or readiness, is the step's end."""
        if self.step == "start":
            self.supervisor = kit.spawn(self.home, "start")
            return self.supervisor
        if self.step == "swap":
            now = kit.status(self.home).get("profile")
            return kit.spawn(self.home, "swap", "fallback" if now == "primary" else "primary")
        return kit.spawn(self.home, self.step)

    def over(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the step has come to its end."""
        if process.poll() is not None:
            return True
        return self.step == "start" and kit.serving(self.home)

    def moment(self, begun: float) -> Callable[[], bool]:
        """When to strike."""
        if self.dice.random() < 0.6:
            at = begun + self.dice.random() * self.took * 1.1
            return lambda: time.monotonic() >= at
        instance, ccr = kit.instance(self.home), self.home.ccr
        path = self.dice.choice(
            [
                instance / "journal.jsonl",
                instance / "written.json",
                instance / "config-written.json",
                instance / "backends.json",
                ccr / "config.json",
                ccr / ".claude-code-router.pid",
                ccr / "logs",
                *instance.glob("ccr3"),
                *instance.glob("ccr3/run-*/.claude-code-router/routes.json"),
            ]
        )
        before = _look(path)
        patience = begun + 2 * self.took
        return lambda: _look(path) != before or time.monotonic() >= patience

    def strike(self) -> bool:
        """Kill; False when there was nobody to kill."""
        found: list[psutil.Process] = []
        if self.victim == "supervisor" and self.supervisor and self.supervisor.poll() is None:
            self.supervisor.kill()
            self.supervisor.wait()
            return True
        if self.victim == "ccr":
            found = kit.ccr_processes(self.home)
        elif self.victim == "gateway":
            found = kit.gateways(self.home)
        elif self.victim == "npm":
            found = kit.npm_processes(self.home)
        if not found:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            self.dice.choice(found).kill()
            return True
        return False

    def run(self) -> bool:
        """One attempt: begin the step and strike; whether somebody was hit."""
        begun = time.monotonic()
        due = self.moment(begun)
        process = self.begin()
        while not due() and process.poll() is None:
            time.sleep(0.002)
        hit = self.strike()
        # The one to be killed may not be there yet: CCR comes late in a start.
        while not hit and not self.over(process):
            time.sleep(0.01)
            hit = self.strike()
        self.settle(process)
        if not hit:
            self.took = max(0.2, 0.8 * self.took)
        self.killed += hit
        return hit

    def settle(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until everything has settled; what must hold then holds."""
        assert self.supervisor is not None
        if self.step == "start":
            kit.until(lambda: self.over(process), 90, "start ends or serves")
        else:
            assert process.wait(90) in {0, 1, 3}, kit.terminal(self.home)[-2000:]
        if self.step == "stop" and self.victim != "supervisor":
            assert self.supervisor.wait(30) == 0
        if self.step == "restart" and self.supervisor.poll() is not None:
            # The order may have found nobody there any more, and have started a fresh one.
            assert self.home.run("stop").returncode in {0, 3}
        if self.supervisor.poll() is None:
            kit.until(lambda: kit.serving(self.home), 60, "it serves again")
            kit.until(self.tidy, 30, "what an ended CCR ran in is gone")
            kit.assert_whole(self.home, self.words, ended=False)
        else:
            code = self.supervisor.returncode
            assert code in {-9, *kit.EXITS}
            kit.assert_whole(self.home, self.words, killed=code == -9)

    def tidy(self) -> bool:
        """Whether there is a directory for the CCR that serves alone."""
        return len(kit.run_directories(self.home)) == kit.expected_run_directories(self.home)

    def close(self) -> None:
        """End what runs."""
        if self.supervisor and self.supervisor.poll() is None:
            kit.stop(self.supervisor)


def _look(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@pytest.fixture(scope="session")
def npm_template(tmp_path_factory: pytest.TempPathFactory, npm_cache: Path) -> Path:
    """A cache of npm that holds the package's archive."""
    place = tmp_path_factory.mktemp("npm")
    environ = os.environ | {"npm_config_cache": str(place / "cache")}
    asyncio.run(PackageSource("2.0.0", environ, place / "own").now())
    return place / "cache"


@pytest.mark.parametrize(
    ("ccr_version", "step", "victims", "each"),
    [pytest.param(*case, id="-".join((case[0], case[1], *case[2][:1]))) for case in each_case()],
    indirect=["ccr_version"],
)
def test_kill(
    home: Home,
    provider: FakeProvider,
    dice: random.Random,
    ledger: Ledger,
    step: str,
    victims: tuple[str, ...],
    each: int,
    request: pytest.FixtureRequest,
) -> None:
    """Whoever is killed, whenever: the configuration is whole and private, a person's own
    words are kept, nothing is left running, no lock is left, the next start works; and
    as long as the supervisor lives, no request is lost."""
    home.env |= {"SYNCCR_SWAP_COOLDOWN": "0", "SYNCCR_DRAIN_TIMEOUT": "2"}
    words = kit.hand_written(home, profile(provider.url("openai"), home.port))
    stage = Stage(home, dice, step, victims, words)
    kind = f"kill -9 of {victims[0]} during {step}"
    if "npm" in victims:
        stage.npm_template = request.getfixturevalue("npm_template")
        home.npm_cache = home.root.parent / "npm"
        home.env["npm_config_cache"] = str(home.npm_cache)
    try:
        stage.prepare()
        begun = time.monotonic()
        process = stage.begin()  # once in peace, to know how long it takes
        kit.until(lambda: stage.over(process), 90, f"a first {step}")
        stage.took = time.monotonic() - begun
        stage.settle(process)
        for _ in range(6 * each):
            if stage.killed == each:
                break
            if step == "start":
                stage.close()
            stage.prepare()
            kind = f"kill -9 of {stage.victim} during {step}"
            if stage.victim in ("ccr", "gateway") and step in ("swap", "restart"):
                hit = _under_load(stage, ledger)
            else:
                hit = stage.run()
            if hit:
                ledger.tried[kind] += 1
                ledger.survived[kind] += 1
        assert stage.killed == each
    except BaseException:
        ledger.tried[kind] += 1
        raise
    finally:
        stage.close()
    kit.assert_whole(home, words, killed="supervisor" in victims)
    kit.assert_next_start_works(home)


def _under_load(stage: Stage, ledger: Ledger) -> bool:
    """An attempt while a client sends requests: it gets all its answers."""
    cut = kit.status(stage.home)["relay"]["cut"]
    with Traffic(stage.home) as traffic:
        hit = stage.run()
        time.sleep(0.2)
    cut = kit.status(stage.home)["relay"]["cut"] - cut
    traffic.outcomes["cut"] = min(cut, traffic.outcomes["lost"])
    traffic.outcomes["lost"] -= traffic.outcomes["cut"]
    ledger.requests += traffic.outcomes
    assert traffic.outcomes["lost"] == 0, traffic.wrong
    return hit
