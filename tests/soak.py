"""A fixed load for a long time, with a provider in trouble every minute and CCR killed every five.

What is sampled is asserted to be bounded: memory, file descriptors, threads, the sizes of
the journal, of CCR's logs and of our own output. Of the requests that can be carried over
none may be lost. Those that cannot are counted apart: an answer that had begun when CCR
was killed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

import fault_kit as kit
from home import KEY, LONG, MAIN, SPARE, Home, message
from provider import FakeProvider

TROUBLES: tuple[Any, ...] = (
    "billing",
    {"kind": "reply", "status": 404, "message": "no such model {model}"},
    {"kind": "reply", "status": 429, "message": "slow down"},
    {"kind": "reply", "status": 500, "message": "m" * 20_000},
    {"kind": "reply", "status": 529, "message": "overloaded"},
    {"preset": "ok", "delay": 1.0},
)
"""What a provider does for a part of each minute. All of it can be carried over, by CCR's
in-flight fallback or by a swap, so no request may be lost to it."""


@dataclass
class Sample:
    """One look: seconds since the start, and what was found."""

    at: float
    rss: int
    fds: int
    journal: int
    logs: int
    output: int


@dataclass
class Soak:
    """One run.

    Args:
        home: where.
        provider: what is in trouble.
        minutes: how long.
        rate: requests a second.
        trouble_every: seconds.
        kill_every: seconds.
        dice: decides which trouble, and when in its minute.
    """

    home: Home
    provider: FakeProvider
    minutes: float
    rate: float
    trouble_every: float
    kill_every: float
    dice: random.Random
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    troubles: int = 0
    kills: int = 0
    swaps: int = 0
    cut: int = 0
    log_limit: int = 4_000_000
    say: Callable[[str], None] = lambda _text: None

    def run(self) -> None:
        """The whole of it; raises when something is not bounded or a request was lost."""
        self.home.env |= {
            "SYNCCR_RECOVERY_INTERVAL": "2",
            "SYNCCR_RECOVERY_INTERVAL_MAX": "4",
            "SYNCCR_SWAP_COOLDOWN": "1",
            "SYNCCR_SWAP_LIMIT": "1000",
            "SYNCCR_DRAIN_TIMEOUT": "5",
            "SYNCCR_CCR_LOG_LIMIT": str(self.log_limit),
            "SYNCCR_PREFLIGHT_TIMEOUT": "5",
        }
        self.home.use(self.provider)
        assert self.home.run("start", "--detach").returncode == 0
        try:
            asyncio.run(self._work())
            kit.until(lambda: kit.status(self.home)["state"] == "running", 60, "it runs at the end")
            status = kit.status(self.home)
            self.swaps = status["swaps"]
            self.cut = min(status["relay"]["cut"], self.outcomes["lost"])
        finally:
            stopped = self.home.run("stop")
        assert stopped.returncode == 0, stopped.stderr
        kit.until(lambda: not self.home.processes(), 15, "nothing is left")
        self._judge()

    async def _work(self) -> None:
        end = time.monotonic() + 60 * self.minutes
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
        async with httpx.AsyncClient(timeout=90, trust_env=False, limits=limits) as http:
            others = [
                asyncio.create_task(work)
                for work in (self._trouble(end), self._kill(end), self._look(end))
            ]
            asked: set[asyncio.Task[None]] = set()
            due, number = time.monotonic(), 0
            while time.monotonic() < end:
                number += 1
                task = asyncio.create_task(self._ask(http, number))
                asked.add(task)
                task.add_done_callback(asked.discard)
                due += 1 / self.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.gather(*others, *asked)

    async def _ask(self, http: httpx.AsyncClient, number: int) -> None:
        nonce, stream = f"s{number}", number % 3 == 0
        try:
            answer = await http.post(
                f"http://127.0.0.1:{self.home.port}/v1/messages",
                json=message(nonce, stream=stream),
            )
            text = kit.streamed(answer.text) if stream else kit.whole(answer)
            right = answer.status_code == 200 and text == nonce
            said = f"{answer.status_code} {answer.text[:200]!r}"
        except httpx.HTTPError as error:
            right, said = False, repr(error)
        self.outcomes["answered" if right else "lost"] += 1
        if not right and len(self.wrong) < 50:
            self.wrong.append(f"{nonce}: {said}")

    async def _trouble(self, end: float) -> None:
        while (rest := end - time.monotonic()) > self.trouble_every:
            await asyncio.sleep(self.trouble_every * (0.2 + 0.3 * self.dice.random()))
            trouble = self.dice.choice(TROUBLES)
            self.provider.set(MAIN, trouble)
            self.troubles += 1
            await asyncio.sleep(self.trouble_every * 0.4)
            self.provider.set(MAIN, "ok")
            await asyncio.sleep(self.trouble_every * 0.1)
            self.say(f"{rest / 60:.0f} min left; {dict(self.outcomes)}")

    async def _kill(self, end: float) -> None:
        while time.monotonic() + self.kill_every < end:
            await asyncio.sleep(self.kill_every)
            status = await asyncio.to_thread(kit.status, self.home)
            if pid := status.get("ccr", {}).get("pid"):
                psutil.Process(pid).kill()
                self.kills += 1

    async def _look(self, end: float) -> None:
        begin = time.monotonic()
        pid = (await asyncio.to_thread(kit.status, self.home))["supervisor"]["pid"]
        process = psutil.Process(pid)
        while time.monotonic() < end:
            self.samples.append(
                Sample(
                    time.monotonic() - begin,
                    process.memory_info().rss,
                    process.num_fds(),
                    _size(kit.instance(self.home).glob("journal.jsonl*")),
                    _size((self.home.ccr / "logs").glob("*")),
                    _size((self.home.root / ".local/state/synccr/log").glob("*")),
                )
            )
            await asyncio.sleep(max(1.0, self.minutes / 3))

    def _judge(self) -> None:
        lost = self.outcomes["lost"] - self.cut
        assert lost == 0, (dict(self.outcomes), self.wrong)
        # The first third is warming up: the parser's and the interpreter's own memory.
        third = len(self.samples) // 3
        early, late = self.samples[third : 2 * third], self.samples[2 * third :]
        most = max(s.rss for s in early)
        assert _median(s.rss for s in late) < 1.1 * most + (8 << 20), "memory grows"
        assert _median(s.fds for s in late) <= max(s.fds for s in early) + 5, "files stay open"
        assert max(s.journal for s in self.samples) < 5 << 20
        assert max(s.logs for s in self.samples) < 2 * self.log_limit
        assert max(s.output for s in self.samples) < 3 << 20

    def table(self) -> str:
        """Markdown."""
        rows = ["| minute | memory MB | files | journal KB | CCR's logs KB | own output KB |"]
        rows += ["|---|---|---|---|---|---|"]
        step = max(1, len(self.samples) // 12)
        rows += [
            f"| {s.at / 60:.1f} | {s.rss / 1e6:.1f} | {s.fds} | {s.journal / 1e3:.0f} "
            f"| {s.logs / 1e3:.0f} | {s.output / 1e3:.0f} |"
            for s in self.samples[::step]
        ]
        return "\n".join([*rows, "", self.summary(), ""])

    def summary(self) -> str:
        """One line."""
        return (
            f"soak: {self.minutes:g} minutes, {self.outcomes.total()} requests, "
            f"{self.outcomes['answered']} answered, {self.outcomes['lost'] - self.cut} lost, "
            f"{self.cut} cut after their answer had begun; {self.troubles} troubles, "
            f"{self.kills} kills, {self.swaps} swaps"
        )


def _size(paths: Any) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total


def _median(values: Any) -> float:
    ordered = sorted(values)
    return float(ordered[len(ordered) // 2])


def main() -> int:
    """The command ``scripts/soak``."""
    parser = argparse.ArgumentParser(prog="scripts/soak")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=kit.SEED)
    parser.add_argument("--rate", type=float, default=10, help="requests a second")
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    cache = Path(os.environ.get("SYNCCR_TEST_NPM_CACHE") or Path.home() / ".npm")
    with (
        tempfile.TemporaryDirectory(prefix="synccr-soak-") as place,
        FakeProvider({MAIN: "ok", SPARE: "ok", LONG: "ok"}, key=KEY) as provider,
    ):
        soak = Soak(
            Home(Path(place, "home"), cache),
            provider,
            options.minutes,
            options.rate,
            trouble_every=60,
            kill_every=300,
            dice=random.Random(options.seed),
            say=lambda text: print(text, flush=True),
        )
        try:
            soak.run()
        except AssertionError as error:
            print(soak.table(), f"FAILED: {error}", sep="\n")
            return 1
        print(soak.table())
        if options.table:
            options.table.write_text(soak.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
