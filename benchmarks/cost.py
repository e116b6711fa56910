"""What synccr adds: each block of requests goes to bare CCR and through synccr.

``/health`` is answered by the very CCR behind the relay; a message goes to a CCR of its own, for
that of a supervisor answers nobody else, and through the relay, CCR and the egress.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psutil

from benchmarks.figures import Figure, median_of, quantile
from benchmarks.latency import Task
from benchmarks.processes import cpu_seconds
from benchmarks.scale import Scale
from benchmarks.stage import Stage

KINDS = ("health", "message", "stream", "first")
ADDED = {"health": 0.12, "message": 0.5, "first": 0.4}
"""Targets: milliseconds added to p50 on a connection that is kept alive."""
THROUGHPUT = 0.95
"""Target: of many clients' messages, in relation to bare CCR."""
_MANY = 10
"""How many times a block of many clients is that of one."""


class Load:
    """The load generator, a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(self, task: Task) -> tuple[list[float], float]:
        """One block: seconds of each request, requests per second.

        Raises:
            RuntimeError: a request failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(task) + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["times"], len(answer["times"]) / answer["took"]


@contextlib.contextmanager
def load() -> Iterator[Load]:
    """Start it, and end it."""
    command = [sys.executable, "-m", "benchmarks.latency"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Load(process)


@dataclass
class Side:
    """What was measured on one port.

    Attributes:
        port: of bare CCR, or of synccr.
        ccr: the processes of CCR behind it.
        medians: p50 of each block, ms.
        times: of all requests, ms.
        rates: of each block, requests per second.
        cpu: of CCR for one request, microseconds, of each block.
        added: the same of the supervisor.
    """

    port: int
    ccr: Sequence[psutil.Process]
    medians: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    added: list[float] = field(default_factory=list)

    def add(self, times: list[float], rate: float, cpu: float, added: float) -> None:
        """One block, its times in seconds."""
        self.times += [1000 * t for t in times]
        self.medians.append(1000 * statistics.median(times))
        self.rates.append(rate)
        self.cpu.append(1e6 * cpu / len(times))
        self.added.append(1e6 * added / len(times))


def cost(stage: Stage, scale: Scale) -> Iterator[Figure]:
    """All kinds of load; the relay and the egress are the running supervisor's."""
    with stage.bare() as bare, stage.synccr() as synccr, load() as generator:
        behind = synccr.status()["ccr"]["port"]
        supervisor = psutil.Process(synccr.pid)
        ours, theirs = (tuple(one.processes().values()) for one in (synccr, bare))
        for clients in (1, scale.clients):
            for kind in KINDS if clients == 1 else KINDS[:3]:
                for fresh in (False, True):
                    block = scale.block * (_MANY if clients > 1 else 1)
                    task = Task(0, kind, clients, fresh, block)
                    direct = Side(behind, ours) if kind == "health" else Side(bare.port, theirs)
                    relayed = Side(synccr.port, ours)
                    _compare(generator, task, (direct, relayed), supervisor, scale)
                    yield from _figures(task, direct, relayed)


def _compare(
    load: Load, task: Task, sides: tuple[Side, Side], proxy: psutil.Process, scale: Scale
) -> None:
    """Blocks in the order A B B A, so that a drift hits both."""
    rounds = scale.rounds if task.clients == 1 else max(2, scale.rounds // 2)
    for number in range(-1, rounds):
        for side in sides if number % 2 else sides[::-1]:
            before = sum(map(cpu_seconds, side.ccr)), cpu_seconds(proxy)
            block = load.run(msgspec.structs.replace(task, port=side.port))
            after = sum(map(cpu_seconds, side.ccr)), cpu_seconds(proxy)
            if number >= 0:  # one to warm up
                side.add(*block, *(a - b for a, b in zip(after, before, strict=True)))


def _figures(task: Task, direct: Side, relayed: Side) -> Iterator[Figure]:
    plural = "s" if task.clients > 1 else ""
    how = "new connections" if task.fresh else "kept alive"
    name = f"{task.kind}, {task.clients} client{plural}, {how}"
    added = statistics.median(r - d for d, r in zip(direct.medians, relayed.medians, strict=True))
    tail = [quantile(side.times, 0.99) for side in (relayed, direct)]
    limit = ADDED.get(task.kind) if task.clients == 1 else None
    if limit is not None and task.fresh:
        limit = 0.40 if task.kind == "health" else None
    real = task.kind != "health"  # /health alone is answered faster than any relay can pass on
    yield Figure(
        f"{name}: p50",
        statistics.median(relayed.times),
        statistics.median(direct.times),
        "ms",
        target=limit,
        judged=None if limit is None else added,
        runs=relayed.medians,
        bare_runs=direct.medians,
        note=f"added {added:+.3f} ms, the median over pairs of blocks",
    )
    yield Figure(f"{name}: p99", tail[0], tail[1], "ms", note=f"added {tail[0] - tail[1]:+.3f} ms")
    if task.clients > 1:
        ratio = statistics.median(r / d for d, r in zip(direct.rates, relayed.rates, strict=True))
        yield Figure(
            f"{name}: throughput",
            statistics.median(relayed.rates),
            statistics.median(direct.rates),
            "/s",
            target=THROUGHPUT if real else None,
            better="higher",
            judged=ratio,
            runs=relayed.rates,
            bare_runs=direct.rates,
            note=f"ratio {ratio:.3f}, the median over pairs of blocks",
        )
    yield Figure(
        f"{name}: CPU of the supervisor for one request",
        statistics.median(relayed.added),
        unit="us",
        runs=relayed.added,
    )
    yield median_of(f"{name}: CPU of CCR for one request", relayed.cpu, direct.cpu, unit="us")
