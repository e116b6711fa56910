"""From a line in CCR's log to the decision, and through a long backlog.

``python -m benchmarks.watcher LOG COUNT`` is the writer: it appends lines as CCR does, each with
the monotonic time at which it was written in its words.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from benchmarks.figures import Figure, median_of, quantile
from benchmarks.home import FALLBACK, MAIN, config
from benchmarks.pairs import median_ratio
from benchmarks.scale import Scale
from benchmarks.stage import Stage
from synccr.ccr.v2.log import CANDIDATES
from synccr.ccr.v2.log_follower import LogFollower
from synccr.ccr.v2.log_watch import follow
from synccr.clock import now
from synccr.config.profile import Local, Role
from synccr.config.reader import understand
from synccr.heal import heal
from synccr.paths import Paths
from synccr.policy import events as e
from synccr.policy.machine import PolicyState, decide, start
from synccr.settings import Settings

DELAY = 30.0
"""Target: milliseconds from line to decision, 99 of 100."""
BACKLOG = 200.0
"""Target: MB/s through lines that do not matter."""
_SIZE = 100_000_000
_PART = 1024 * 1024
_BODY = "Your plan doesn't cover on-demand models, and there's insufficient credit balance"
_LINES = 30
"""Lines for each run."""


def watcher(_stage: Stage, scale: Scale) -> Iterator[Figure]:
    """The delay of single lines, and the speed through many."""
    with tempfile.TemporaryDirectory(prefix="synccr-benchmark-") as name:
        directory = Path(name)
        delays = asyncio.run(_delays(directory, _LINES * scale.runs))
        yield Figure(
            "from a 402 in the log to the decision, 99 of 100",
            quantile(delays, 0.99),
            unit="ms",
            target=DELAY,
            runs=delays,
            note=f"median {quantile(delays, 0.5):.2g} ms, of {len(delays)} lines",
        )
        yield from _backlog(directory / "backlog.log", scale.runs)


def _entry(level: int, words: str) -> bytes:
    entry = {"level": level, "time": int(time.time() * 1000), "pid": os.getppid(), "msg": words}
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


# The delay.


@dataclass
class _Backend:
    """As much of a backend as is followed."""

    paths: Paths
    log_path: Path
    pid: int = field(default_factory=os.getpid)


async def _delays(directory: Path, count: int) -> list[float]:
    """Milliseconds from each line's writing to the swap that it brings about."""
    paths = Paths(directory, directory, directory, directory, directory)
    paths.ccr_logs.mkdir()
    log = paths.ccr_logs / "ccr.log"
    log.touch()
    state = _serving()
    delays: list[float] = []
    ended = asyncio.Event()

    def on_failure(failure: e.LoggedFailure) -> None:
        assert isinstance(failure, e.ProviderFailed)
        _, actions = decide(state, failure, now())
        took = time.monotonic() - json.loads(failure.body)["sent"]
        assert any(isinstance(action, e.Swap) for action in actions), actions
        delays.append(1000 * took)
        if len(delays) == count:
            ended.set()

    following = asyncio.create_task(follow(_Backend(paths, log), on_failure))  # type: ignore[arg-type]
    command = (sys.executable, "-m", "benchmarks.watcher", str(log), str(count))
    writer = await asyncio.create_subprocess_exec(*command)
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait({waiting, following}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    await writer.wait()
    if following.done():
        following.result()  # raises what went wrong
    following.cancel()
    assert len(delays) == count
    return delays


def _serving() -> PolicyState:
    """A supervisor's state while its primary profile serves."""
    models: dict[Role, str] = {"primary": MAIN, "fallback": FALLBACK}
    primary, fallback = (
        understand(config("http://127.0.0.1:9/v1/chat/completions", 1, model), "here", role, {})
        for role, model in models.items()
    )
    local = Local(1)
    state = start(Settings(), primary, fallback, heal(primary, {}, local), (), local, now())
    return decide(state, e.BackendReady(), now())[0]


def _write(log: Path, count: int) -> None:
    """Be the writer; the parent stands for CCR."""
    noise = _entry(30, "x" * 300)
    with log.open("ab", buffering=0) as file:
        for _ in range(count):
            time.sleep(random.uniform(0.005, 0.05))
            file.write(noise)
            body = json.dumps({"error": _BODY, "sent": time.monotonic()})
            prefix = f"[provider_response_error] Error from provider(acme,{MAIN}: 402): "
            file.write(_entry(50, prefix + body))


# The backlog.


def _backlog(log: Path, runs: int) -> Iterator[Figure]:
    """100 MB of lines of several lengths, beside only reading them."""
    for length in (150, 2000):
        line = _entry(30, "x" * length)
        with log.open("wb") as file:
            part = line * (_PART // len(line) + 1)
            for _ in range(_SIZE // len(part) + 1):
                file.write(part)
        size = log.stat().st_size / 1e6
        speeds, plain = [], []
        for turn in range(-1, runs):
            followed, read = size / _timed(_followed, log), size / _timed(_read, log)
            if turn >= 0:
                speeds.append(followed)
                plain.append(read)
        yield median_of(
            f"through 100 MB of lines of {len(line)} bytes that do not matter",
            speeds,
            plain,
            unit="MB/s",
            better="higher",
            target=BACKLOG,
            note=f"bare: reading the file and counting its lines; {median_ratio(speeds, plain):.2f}"
            " of that in the median",
        )


def _timed(work: object, log: Path) -> float:
    began = time.perf_counter()
    assert callable(work)
    work(log)
    return time.perf_counter() - began


def _followed(log: Path) -> None:
    with LogFollower(log, CANDIDATES) as follower:
        more = True
        while more:
            lines, more = follower.poll()
            assert not lines


def _read(log: Path) -> None:
    with FileIO(log) as file:
        while part := file.read(_PART):
            part.count(b"\n")


if __name__ == "__main__":
    _write(Path(sys.argv[1]), int(sys.argv[2]))
