"""The benchmarks run; what they find is for a quiet machine to tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from benchmarks.__main__ import PARTS

pytestmark = [pytest.mark.integration, pytest.mark.long]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory for temporary files; pytest's own is long for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        yield Path(name)


OF_3 = ("swap", "kill", "route", "footprint")
"""Those that do most of what CCR 3 has a way of its own for."""


@pytest.mark.parametrize(
    ("version", "named", "processes"),
    [
        ("2.0.0", tuple(PARTS), ("CCR",)),
        ("3.1.1", OF_3, ("gateway", "management")),
    ],
)
def test_parts_run_and_give_sane_figures(
    short: Path,
    npm_cache: Path,
    version: str,
    named: Sequence[str],
    processes: Sequence[str],
) -> None:
    """With tiny numbers: both sides of each part, each figure a number that can be; nothing is
    left running. Times are not judged."""
    file = short / "result.json"
    environ = os.environ | {"SYNCCR_TEST_NPM_CACHE": str(npm_cache), "TMPDIR": str(short)}
    options = ("--quick", "--ccr", version, "--json", str(file))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *named, *options],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(file.read_bytes())
    assert document["conditions"]["ccr"].startswith(version)
    parts: dict[str, dict[str, Any]] = {
        name: {figure["what"]: figure for figure in figures}
        for name, figures in document["parts"][version].items()
    }
    assert tuple(parts) == named
    for figures in parts.values():
        for figure in figures.values():
            assert figure["synccr"] >= 0
            assert figure["bare"] is None or figure["bare"] >= 0
            assert figure["what"] in done.stdout
    every = [f for figures in parts.values() for f in figures.values()]
    assert {f["synccr"] for f in every if f["what"].startswith("failed requests")} == {0}
    for name in processes:
        killed = parts["kill"][f"failed requests, SIGKILL of {name} (all runs)"]
        assert killed["bare"] > 0
        assert f"memory of CCR ({name}), started: RSS" in parts["footprint"]
    rss = parts["footprint"]["memory of the supervisor, started: RSS"]["synccr"]
    assert 10 < rss < 100
    left = [p for p in psutil.process_iter() if str(short) in _home(p)]
    assert left == []
    assert list(short.glob("synccr-benchmark-*")) == []


def _home(process: psutil.Process) -> str:
    try:
        return process.environ().get("HOME", "")
    except psutil.Error:
        return ""
