"""From the command to the first answer, and what the whole tree of processes keeps."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import psutil

from benchmarks.figures import Figure, median_of
from benchmarks.home import FALLBACK, MAIN, Home, config, healthy, until
from benchmarks.pairs import median_ratio
from benchmarks.scale import Scale
from benchmarks.stage import Stage
from synccr.ccr.npm import NAME
from synccr.ports import free_port

_SETTLE = 1.0
"""Seconds after the first answer in which a program still gets ready."""

START = 0.8
"""Target: time of a start in relation to npx."""
MEMORY = 0.85
"""Target: memory of the tree in relation to npx's."""


def startup(stage: Stage, scale: Scale) -> Iterator[Figure]:
    """``synccr start`` with what it knows of the models, beside what people type, in turns."""
    node: tuple[str, ...] = stage.package.command
    typed = (*stage.node.npx, "--yes", f"{NAME}@{stage.version}", "start")
    if stage.apart:  # nothing that is typed brings CCR 3 from every registry
        typed = node = (*node, "--port", str(free_port()))
    elif not stage.node.npx:
        return
    times: dict[str, list[float]] = {"synccr": [], "typed": [], "node": []}
    memory: dict[str, list[Size]] = {"synccr": [], "typed": []}
    commands: dict[str, Sequence[str]] = {
        "typed": typed,
        "node": node,
        "synccr": (sys.executable, "-m", "synccr", "start"),
    }
    with stage.home() as ours, stage.home() as theirs:
        stage.bare_in(theirs)
        for name, model in (("ccr-config", MAIN), ("ccr-config-fallback", FALLBACK)):
            document = config(stage.provider.url, ours.port, model)
            ours.write(ours.paths.config / f"{name}.json", document)
        for turn in range(-1, scale.runs):  # the first asks the models and fills the caches
            for name, command in commands.items():
                took, size = _once(ours if name == "synccr" else theirs, command)
                if turn >= 0:
                    times[name].append(1000 * took)
                    if name in memory:
                        memory[name].append(size)
    yield median_of(
        "start to the first answer, models known",
        times["synccr"],
        times["typed"],
        unit="ms",
        **_judged(times, None if stage.apart else START),
        note=f"bare: {'node cli.js serve' if stage.apart else ' '.join(typed[-2:])}",
    )
    yield median_of("start of CCR alone", times["node"], unit="ms", note="by node")
    for name, target in (("rss", None if stage.apart else MEMORY), ("pss", None), ("uss", None)):
        sizes = {who: [getattr(one, name, 0) / 1e6 for one in memory[who]] for who in memory}
        if all(sizes["typed"]):
            yield median_of(
                f"memory of all processes: {name.upper()}",
                sizes["synccr"],
                sizes["typed"],
                unit="MB",
                **_judged(sizes, target),
            )


def _judged(values: Mapping[str, list[float]], target: float | None) -> dict[str, float | None]:
    return {"judged": median_ratio(values["synccr"], values["typed"]), "target": target}


def _once(home: Home, command: Sequence[str]) -> tuple[float, Size]:
    """Seconds to the first answer, and what the tree holds then."""
    began = time.monotonic()
    child = home.spawn(*command)
    took = until(lambda: healthy(home.port)) - began
    time.sleep(_SETTLE)
    size = _tree(psutil.Process(child.pid))
    _end(home, child)
    return took, size


@dataclass
class Size:
    """Bytes of a tree of processes; PSS is 0 where the system does not tell.

    Attributes:
        rss: what ``ps`` adds up: pages that two processes share count twice.
        pss: shared pages divided among those that share them, strangers included.
        uss: what would be free without the tree.
    """

    rss: int = 0
    pss: int = 0
    uss: int = 0


def _tree(root: psutil.Process) -> Size:
    size = Size()
    for process in [root, *root.children(recursive=True)]:
        info = process.memory_full_info()
        size.rss += info.rss
        size.pss += getattr(info, "pss", 0)
        size.uss += info.uss
    return size


def _end(home: Home, child: subprocess.Popen[bytes]) -> None:
    """End the tree, and see the port free."""
    members = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    child.terminate()
    _, left = psutil.wait_procs(members[:1], 10)
    for process in (*left, *members[1:]):
        if process.is_running():
            process.kill()
    child.wait(10)
    until(lambda: not healthy(home.port))
    home.paths.ccr_pid.unlink(missing_ok=True)
