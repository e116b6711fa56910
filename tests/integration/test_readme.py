"""Every command of README.md and docs/ is run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from home import KEY, LONG, MAIN, SPARE, Home
from pages import PAGES, ROOT, commands
from ports import free_port
from provider import FakeProvider

pytestmark = [pytest.mark.integration, pytest.mark.long]

BY_OTHERS = {
    r"scripts/demo( --ccr .*)?": "scripts/fresh-machine runs it, without Node and with each Python",
    r"scripts/test\b.*": "this is it",
    r"scripts/check": "scripts/test runs it",
    r"scripts/docs": "tests/unit/test_docs.py runs it",
    r"scripts/(format|write-commands|draw-policy)": "changes the files it is about",
    r"scripts/(lock|pin)( .*)?": "asks the package index for the newest versions",
    r"scripts/(bench|bench-check|fresh-machine)\b.*": "takes minutes; .ci/run has the last two",
    r"scripts/(faults|soak|fuzz|audit|coverage|mutate|screenshots)\b.*": "takes minutes",
    r"synccr code": "tests/e2e runs it with the real Claude Code",
    r"synccr demo( --ccr .*)?": "tests/integration/test_main_job.py, and scripts/demo",
    r"SYNCCR_CCR_VERSION=\S+ synccr start": "tests/integration/test_main_job.py does, on CCR 3",
    r"synccr notify.*": "reaches a person; its own tests stand in for one",
    r"synccr service .*": "changes what starts at login",
    r"synccr init.*": "asks a person",
    r"python3 -m venv .*|pip install .*": "installs; scripts/environment does the same",
    r"ccr .*": "CCR's own",
    r"synccr (ask|swap|service|completion)": "only named: it needs an argument",
    r".*\.\.\..*|.*\b[A-Z]+\b(?!=).*": "has a place to fill in",
}
"""Commands that are not run here, as patterns, and why."""

LISTED = sorted({line for page in PAGES for line in commands(page)})


def by_others(line: str) -> bool:
    return any(re.fullmatch(pattern, line) for pattern in BY_OTHERS)


HERE = [line for line in LISTED if not by_others(line)]
FIRST_PERSON = ("synccr start", "synccr stop", "synccr restart")
"""What starts and ends a supervisor has a home of its own."""


def shell(home: Home, line: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    """Run a line as a shell does, ``synccr`` being that of these tests."""
    path = os.pathsep.join((str(Path(sys.executable).parent), home.env["PATH"]))
    return subprocess.run(
        ["bash", "-c", line],
        env={**home.env, "PATH": path},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, npm_cache: Path) -> Iterator[Home]:
    """A home in which synccr runs."""
    home = Home(tmp_path_factory.mktemp("read") / "home", npm_cache)
    with FakeProvider({MAIN: "ok", SPARE: "ok", LONG: "ok"}, key=KEY) as provider:
        home.use(provider)
        with home.running():
            yield home


@pytest.mark.parametrize("line", [x for x in HERE if not x.startswith(FIRST_PERSON)])
def test_commands_do_what_they_say(served: Home, line: str) -> None:
    """Exit code 0, or what follows what is written goes on until it is ended."""
    if "--follow" in line or "--watch" in line:
        with pytest.raises(subprocess.TimeoutExpired):
            shell(served, f"exec {line}", timeout=3)
        return
    done = shell(served, line)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("line", [x for x in HERE if x.startswith(FIRST_PERSON[0])])
def test_starts(home: Home, provider: FakeProvider, line: str) -> None:
    """It serves, in the foreground or in the background."""
    home.use(provider)
    line = re.sub(r"--port \d+", f"--port {free_port()}", line)
    if "--detach" in line:
        assert shell(home, line).returncode == 0
        assert home.status()["state"] == "running"
        assert home.run("stop").returncode == 0
        return
    with home.running(*line.split()[2:]) as running:
        assert running.process.poll() is None


@pytest.mark.parametrize("line", [x for x in HERE if x.startswith(FIRST_PERSON[1:])])
def test_stops_and_restarts(home: Home, provider: FakeProvider, line: str) -> None:
    """It ends what runs, or replaces it."""
    home.use(provider)
    assert home.run("start", "--detach").returncode == 0
    assert shell(home, line).returncode == 0
    home.run("stop")


def test_nothing_is_passed_over_for_no_reason() -> None:
    """Each reason is needed by a command that is there."""
    unused = [p for p in BY_OTHERS if not any(re.fullmatch(p, line) for line in LISTED)]
    assert set(unused) <= {r"synccr service .*", r"synccr init.*"}
