"""Mutants of the rooms that judge, each under the quick tests that reach its line.

The order of the mutants is the seed's alone, and an edit elsewhere does not change it. With the
default seed at most ``MOST`` are tried, however quick the machine: a mutant that survives there
fails the run unless ``known.txt`` names it with a reason. With any other seed a survivor is only
told. What is not decided in time is not counted. A run that does not end is a mutant noticed;
its limit is CPU time, so that a busy machine notices no more than a quiet one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from coverage import CoverageData
from mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "synccr"
KNOWN = Path(__file__).with_name("known.txt")
SEED = 21
MOST = 120
CPU_LIMIT = 60
"""Seconds of CPU for the tests of one mutant; the slowest room needs 10."""

ROOMS: Mapping[str, tuple[str, ...]] = {
    "classify": ("classify",),
    "config/edit_merge.py": ("config_edit_merge",),
    "heal": ("heal",),
    "judge": (
        *("judge", "judge_dialects", "judge_on_troubles", "judge_sse", "judge_properties"),
        "turns_final_error",
    ),
    "policy": (
        *("policy_choice", "policy_health", "policy_probes", "policy_observe_traffic"),
        *("policy_route_plan", "policy_histories", "policy_simulation"),
    ),
}
"""Files of tests for each room."""

Reached = Mapping[str, Mapping[int, Sequence[str]]]
"""Tests by module and line; the empty name is that of what importing runs."""


def main() -> int:
    """Try mutants until the time is over; 1 when one survives that may not."""
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("--seconds", type=float, default=240.0, help="budget (default: 240)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"order (default: {SEED})")
    parser.add_argument("--most", type=int, help=f"mutants (default: {MOST} of the default seed)")
    parser.add_argument("--only", default="", metavar="FILE", help="of one room or module")
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    every = sorted(_all_mutants(), key=lambda mutant: mutant.rank(options.seed))
    known = _known()
    if stale := known - {mutant.key for mutant in every}:
        print(f"{KNOWN.name} names what is not there any more:", *sorted(stale), sep="\n  ")
        return 1
    most = options.most or (MOST if options.seed == SEED and not options.only else len(every))
    chosen = [m for m in every if m.key not in known and m.file.startswith(options.only)][:most]
    counts = _try_all(chosen, deadline)
    print(
        f"seed {options.seed}: {counts['noticed']} noticed, {counts['survived']} survived, "
        f"{len(chosen) - counts.total()} not decided, {len(known)} known, {len(every)} in all"
    )
    return int(options.seed == SEED and counts["survived"] > 0)


def _all_mutants() -> Iterator[Mutant]:
    for room in ROOMS:
        place = SOURCE / room
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            yield from mutants(path.relative_to(SOURCE).as_posix(), path.read_text())


def _known() -> set[str]:
    lines = KNOWN.read_text().splitlines()
    return {line for line in lines if line and not line.startswith((" ", "#"))}


def _room(mutant: Mutant) -> str:
    return next(room for room in ROOMS if mutant.file.startswith(room))


def _try_all(chosen: Sequence[Mutant], deadline: float) -> Counter[str]:
    """How many were noticed and how many survived; survivors are printed."""
    surveys = {room: _Survey(room) for room in dict.fromkeys(map(_room, chosen))}
    for survey in surveys.values():
        survey.make()
    waiting = iter(chosen)
    running: dict[BaseProcess, Mutant] = {}
    counts: Counter[str] = Counter()
    while time.monotonic() < deadline:
        while len(running) < (os.cpu_count() or 1) and (mutant := next(waiting, None)):
            running[_forked(partial(surveys[_room(mutant)].run, mutant))] = mutant
        if not running:
            break
        wait([process.sentinel for process in running], timeout=0.5)
        for process in [process for process in running if process.exitcode is not None]:
            mutant = running.pop(process)
            counts["noticed" if process.exitcode else "survived"] += 1
            if not process.exitcode:
                print(f"src/synccr/{mutant.file}:{mutant.line}\n{mutant.key}", flush=True)
    for process in running:
        process.kill()
        process.join()
    return counts


def _forked(call: Any) -> BaseProcess:
    process: BaseProcess = get_context("fork").Process(target=call)
    process.start()
    return process


class _Durations:
    """Times each test."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.seconds[report.nodeid] = report.duration


class _Selection:
    """Only these tests, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._places = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._places),
            key=lambda item: self._places[item.nodeid],
        )


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


@dataclass
class _Survey:
    """The tests of one room: which lines each reaches, and how long it takes."""

    room: str
    _reached: Reached = field(default_factory=dict)
    _seconds: Mapping[str, float] = field(default_factory=dict)

    def make(self) -> None:
        """Run the tests without a mutant.

        Raises:
            SystemExit: they fail.
        """
        ours, theirs = get_context("fork").Pipe(duplex=False)
        process = _forked(partial(self._look, theirs))
        theirs.close()
        try:
            self._reached, self._seconds = ours.recv()
        except EOFError:
            raise SystemExit(f"The tests of {self.room} fail without a mutant.") from None
        finally:
            process.join()

    def run(self, mutant: Mutant) -> None:
        """In a process of its own: the tests that reach the mutant, up to the first that fails."""
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT))
        _be_silent()
        original = SOURCE / mutant.file
        name = ".".join(["synccr", *Path(mutant.file).with_suffix("").parts])
        with tempfile.TemporaryDirectory(prefix="synccr-mutant-") as place:
            path = Path(place) / original.name
            path.write_text(mutant.apply(original.read_text()))
            finder: Any = _Finder(name.removesuffix(".__init__"), path, original)
            sys.meta_path.insert(0, finder)
            tests = self._tests_of(mutant)
            code = _pytest(self.room, place, "-x", plugin=_Selection(tests)) if tests else 0
        os._exit(code)

    def _tests_of(self, mutant: Mutant) -> list[str]:
        """The quickest first."""
        lines = self._reached.get(mutant.file, {})
        reaching = {test for line in mutant.lines for test in lines.get(line, ())}
        tests = self._seconds if "" in reaching else reaching
        return sorted(tests, key=lambda test: (self._seconds.get(test, 0.0), test))

    def _look(self, result: Connection) -> None:
        _be_silent()
        durations = _Durations()
        with tempfile.TemporaryDirectory(prefix="synccr-mutant-") as place:
            os.environ["COVERAGE_FILE"] = f"{place}/coverage"
            options = ("--cov=synccr", "--cov-context=test", "--cov-report=")
            if _pytest(self.room, place, *options, plugin=durations):
                os._exit(1)
            data = CoverageData(f"{place}/coverage")
            data.read()
            reached = {
                Path(file).relative_to(SOURCE).as_posix(): {
                    line: [context.partition("|")[0] for context in contexts]
                    for line, contexts in data.contexts_by_lineno(file).items()
                }
                for file in data.measured_files()
            }
            result.send((reached, durations.seconds))
            data.close()
        os._exit(0)


def _be_silent() -> None:
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)


def _pytest(room: str, place: str, *options: str, plugin: object) -> int:
    os.environ |= {"HYPOTHESIS_STORAGE_DIRECTORY": place, "SYNCCR_TEST_SIMULATION": "0.2"}
    tests = (f"tests/unit/test_{test}.py" for test in ROOMS[room])
    return pytest.main(
        [
            *("-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=0"),
            *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
            *(f"--basetemp={place}/tests", *options, *tests),
        ],
        plugins=[plugin],
    )


def _load_once() -> None:
    """What all that are forked need: pytest with its plugins, Hypothesis's tables of characters.
    No module of synccr is among it."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pytest.main(["--fixtures", "--noconftest", "-n", "0", str(KNOWN.with_name("mutants.py"))])
    from hypothesis import strategies as st  # not before its plugin, which would warn

    st.text().validate()


if __name__ == "__main__":
    os.chdir(ROOT)
    _load_once()
    sys.exit(main())
