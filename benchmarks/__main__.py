"""``python -m benchmarks``: everything, or the parts that are named."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.commands import commands
from benchmarks.conditions import conditions, load
from benchmarks.cost import cost
from benchmarks.figures import Figure, table
from benchmarks.footprint import footprint
from benchmarks.preflight import preflight
from benchmarks.recovery import recovery
from benchmarks.route import route
from benchmarks.scale import QUICK, Scale
from benchmarks.seamless import kill, restart, swap
from benchmarks.stage import VERSIONS, Stage, stage
from benchmarks.startup import startup
from benchmarks.watcher import watcher

Part = Callable[[Stage, Scale], Iterator[Figure]]

PARTS: dict[str, Part] = {
    "swap": swap,
    "restart": restart,
    "kill": kill,
    "route": route,
    "recovery": recovery,
    "relay": cost,
    "footprint": footprint,
    "startup": startup,
    "commands": commands,
    "preflight": preflight,
    "watcher": watcher,
}
NOT_OF_3 = ("commands", "preflight", "watcher")
"""Parts without CCR 3: it has no ``ccr status`` and no log; of a preflight CCR is no part."""


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; with ``--json`` write every run's value too."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("part", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)}")
    parser.add_argument(
        "--ccr",
        metavar="VERSION",
        action="append",
        choices=VERSIONS,
        help=f"of: {', '.join(VERSIONS)} (default: all, side by side)",
    )
    parser.add_argument("--runs", type=int, help=f"of each event (default {Scale.runs})")
    parser.add_argument("--rounds", type=int, help=f"of the relay (default {Scale.rounds})")
    parser.add_argument("--quick", action="store_true", help="only see that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    options = parser.parse_args(arguments)
    if unknown := set(options.part) - PARTS.keys():
        parser.error(
            f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}"
        )
    scale = QUICK if options.quick else Scale()
    given = {n: getattr(options, n) for n in ("runs", "rounds") if getattr(options, n)}
    scale = replace(scale, **given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends all the same
    with contextlib.ExitStack() as stack:
        stages = [stack.enter_context(stage(version)) for version in options.ccr or VERSIONS]
        around = conditions(stages)
        print(", ".join(f"{name} {value}" for name, value in around.items() if value))
        results: dict[str, dict[str, list[Figure]]] = {one.version: {} for one in stages}
        for name in options.part or PARTS:
            for found in stages:
                if found.apart and name in NOT_OF_3:
                    continue
                sys.stderr.write(f"measuring: {name}, CCR {found.version}\n")
                figures = results[found.version][name] = list(PARTS[name](found, scale))
                print(f"\n{name}, CCR {found.version}\n{table(figures)}")
                for note in dict.fromkeys(figure.note for figure in figures if figure.note):
                    print(f"  {', '.join(f.what for f in figures if f.note == note)}: {note}")
                sys.stdout.flush()
    around["load_after"] = load()
    print(f"\nload average before {around['load_before']}, after {around['load_after']}")
    if options.json:
        parts = {
            version: {name: [f.as_json() for f in figures] for name, figures in found.items()}
            for version, found in results.items()
        }
        document = {"conditions": around, "scale": vars(scale), "parts": parts}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
