"""Mutants of the rooms that judge, each under the quick tests of its room.

The order of the mutants is the seed's alone, and an edit elsewhere does not change it. With the
default seed at most ``MOST`` are tried, however quick the machine: a mutant that survives there
fails the run unless ``known.txt`` names it with a reason. With any other seed a survivor is only
told. What is not decided in time is not counted; a run that does not end is a mutant noticed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401 - imported once, for all that are forked
import pytest
import pytest_asyncio  # noqa: F401
from mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "synccr"
KNOWN = Path(__file__).with_name("known.txt")
SEED = 21
MOST = 200
TIMEOUT = 120.0
"""Seconds for the tests of one mutant; the slowest room needs 15 on a quiet machine."""

ROOMS: Mapping[str, tuple[str, ...]] = {
    "classify": ("classify",),
    "config/edits.py": ("config_edits",),
    "heal": ("heal",),
    "judge": ("judge", "judge_dialects", "judge_on_troubles", "judge_sse", "judge_properties"),
    "policy": (
        *("policy_choice", "policy_health", "policy_traffic", "policy_route_plan"),
        *("policy_histories", "policy_simulation"),
    ),
}
"""Tests of each room, the quickest first."""


_OPTIONS = (
    *("-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)


def main() -> int:
    """Try mutants until the time is over; 1 when one survives that may not."""
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("--seconds", type=float, default=240.0, help="budget (default: 240)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"order (default: {SEED})")
    parser.add_argument("--most", type=int, help=f"mutants (default: {MOST} of the default seed)")
    parser.add_argument("--only", default="", metavar="FILE", help="of one room or module")
    options = parser.parse_args()
    every = sorted(_all_mutants(), key=lambda mutant: mutant.rank(options.seed))
    known = _known()
    if stale := known - {mutant.key for mutant in every}:
        print(f"{KNOWN.name} names what is not there any more:", *sorted(stale), sep="\n  ")
        return 1
    most = options.most or (MOST if options.seed == SEED and not options.only else len(every))
    chosen = [m for m in every if m.key not in known and m.file.startswith(options.only)][:most]
    deadline = time.monotonic() + options.seconds
    for room in {_room(mutant) for mutant in chosen}:
        if _exit_code_of(_room_without_mutant(room)):
            print(f"the tests of {room} fail without a mutant: scripts/test says why")
            return 1
    survivors, killed, over = _try_all(chosen, deadline)
    for mutant in survivors:
        print(f"src/synccr/{mutant.file}:{mutant.line}: {mutant.key.partition(': ')[2]}")
        print(f"  {mutant.key}")
    print(
        f"seed {options.seed}: {killed} noticed ({over} by time), {len(survivors)} survived, "
        f"{len(chosen) - killed - len(survivors)} not decided, {len(known)} known, "
        f"{len(every)} in all"
    )
    return int(bool(survivors) and options.seed == SEED)


def _room(mutant: Mutant) -> str:
    return next(room for room in ROOMS if mutant.file.startswith(room))


def _room_without_mutant(room: str) -> Mutant:
    """A change that is none."""
    file = room if room.endswith(".py") else f"{room}/__init__.py"
    return Mutant(file, 0, "", (0, 0), "")


def _exit_code_of(mutant: Mutant) -> int | None:
    process = _start(mutant)
    process.join()
    return process.exitcode


def _start(mutant: Mutant) -> BaseProcess:
    process: BaseProcess = get_context("fork").Process(target=_run, args=(mutant,))
    process.start()
    return process


def _all_mutants() -> Iterator[Mutant]:
    for room in ROOMS:
        place = SOURCE / room
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            yield from mutants(path.relative_to(SOURCE).as_posix(), path.read_text())


def _known() -> set[str]:
    lines = KNOWN.read_text().splitlines()
    return {line for line in lines if line and not line.startswith((" ", "#"))}


def _try_all(chosen: list[Mutant], deadline: float) -> tuple[list[Mutant], int, int]:
    """Survivors; how many were noticed, and how many of these because they did not end."""
    waiting, running = iter(chosen), dict[BaseProcess, tuple[Mutant, float]]()
    survivors, killed, over = [], 0, 0
    while time.monotonic() < deadline:
        while len(running) < (os.cpu_count() or 1) and (mutant := next(waiting, None)):
            running[_start(mutant)] = mutant, time.monotonic() + TIMEOUT
        if not running:
            break
        wait([process.sentinel for process in running], timeout=0.5)
        for process, (mutant, until) in list(running.items()):
            late = process.exitcode is None and time.monotonic() > until
            if process.exitcode is None and not late:
                continue
            del running[process]
            over += late
            if process.exitcode == 0:
                survivors.append(mutant)
            else:
                killed += 1
            _end(process)
    for process in running:
        _end(process)
    return survivors, killed, over


def _end(process: BaseProcess) -> None:
    process.kill()
    process.join()


def _be_silent() -> None:
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)


class _Finder:
    """Finds the mutant in the place of its module."""

    def __init__(self, name: str, path: Path, original: Path) -> None:
        self._name = name
        self._path = path
        self._below = [str(original.parent)] if original.name == "__init__.py" else None

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name != self._name:
            return None
        return spec_from_file_location(name, self._path, submodule_search_locations=self._below)


def _run(mutant: Mutant) -> None:
    """In a process of its own: the tests of the mutant's room, up to the first that fails."""
    _be_silent()
    original = SOURCE / mutant.file
    name = ".".join(["synccr", *Path(mutant.file).with_suffix("").parts])
    with tempfile.TemporaryDirectory(prefix="synccr-mutant-") as place:
        path = Path(place) / original.name
        path.write_text(mutant.apply(original.read_text()))
        finder: Any = _Finder(name.removesuffix(".__init__"), path, original)
        sys.meta_path.insert(0, finder)
        os.environ |= {"HYPOTHESIS_STORAGE_DIRECTORY": place, "SYNCCR_TEST_SIMULATION": "0.2"}
        tests = (f"tests/unit/test_{test}.py" for test in ROOMS[_room(mutant)])
        code = pytest.main([*_OPTIONS, "-n", "0", f"--basetemp={place}/tests", *tests])
    os._exit(code)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
