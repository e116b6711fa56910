"""What runs CCR is looked up before each launch: Node, the installation, a person's own command."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from home import MAIN, SPARE, Home, Running, message, program
from provider import FakeProvider
from synccr.ccr.node import find_node

pytestmark = [pytest.mark.integration, pytest.mark.long]

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and signals")


def ask(running: Running, nonce: str) -> None:
    """A request is answered; while CCR is replaced it waits."""
    answer = httpx.post(f"{running.url}/v1/messages", json=message(nonce), timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["content"][0]["text"] == nonce


def kill_ccr(home: Home, running: Running) -> None:
    """SIGKILL, and wait for another one."""
    pid = home.status()["ccr"]["pid"]
    psutil.Process(pid).kill()
    running.until(lambda: home.status()["ccr"]["pid"] not in (pid, None))


@posix
def test_a_node_that_vanishes(home: Home, provider: FakeProvider, tmp_path: Path) -> None:
    """A version manager removes the Node of the start: a crash of CCR and a swap cost nothing."""
    real = find_node(os.environ).path.resolve()
    once = tmp_path / "multishell"
    once.mkdir()
    (once / "node").symlink_to(real)
    home.env["PATH"] = os.pathsep.join((str(once), str(real.parent), home.env["PATH"]))
    home.use(provider)
    with home.running() as running:
        assert program(home)[0] == str(once / "node")
        shutil.rmtree(once)
        ask(running, "before")
        kill_ccr(home, running)
        ask(running, "after")
        assert program(home)[0] != str(once / "node")
        swapped = home.run("swap", "fallback")
        assert swapped.returncode == 0, swapped.stdout + swapped.stderr
        running.until_profile("fallback")
        ask(running, "swapped")
        assert [seen for seen in home.events() if "failed" in seen["kind"]] == []


@posix
def test_an_installation_that_is_altered_meanwhile(
    home: Home, provider: FakeProvider, tmp_path: Path
) -> None:
    """A program that was changed while CCR ran is not what the next launch runs, which mends
    it; so it goes with one that is gone."""
    home.use(provider)
    with home.running() as running:
        entry = Path(program(home)[1])
        assert entry.is_relative_to(home.cache)
        good = entry.read_bytes()
        for damage in ("altered", "gone"):
            entry.unlink()
            if damage == "altered":
                entry.write_bytes(
                    good + b"\n;require('fs').writeFileSync(process.env.HOME + '/ran', '')\n"
                )
            else:
                shutil.rmtree(home.cache / "ccr")
            kill_ccr(home, running)
            ask(running, damage)
            assert entry.read_bytes() == good
        assert not (home.root / "ran").exists()
        assert "not what its authors published" in running.log.read_text()


@posix
@pytest.mark.parametrize("where", ["file", "environment"])
def test_a_command_of_ones_own(home: Home, provider: FakeProvider, where: str) -> None:
    """``npx -y …@2.0.0`` is run as it is written: led to the egress, watched, swapped, and
    ended with all that it started."""
    command = "npx -y @musistudio/claude-code-router@2.0.0"
    if where == "file":
        home.write("synccr.toml", f'ccr_command = "{command}"\n')
    else:
        home.env["SYNCCR_CCR_COMMAND"] = command
    home.env["SYNCCR_CCR_VERSION"] = "1.0.73"  # not what counts
    home.use(provider)
    with home.running() as running:
        status = home.status()
        assert status["ccr"]["version"] == "2.0.0"
        assert status["ccr"]["judged"] is True
        lines = [" ".join(process.cmdline()) for process in home.processes()]
        assert any("npm exec @musistudio/claude-code-router@2.0.0 start" in one for one in lines)
        serving = psutil.Process(status["ccr"]["pid"])
        assert serving.parent() != psutil.Process(running.process.pid)
        ask(running, "one")
        kill_ccr(home, running)
        ask(running, "two")
        provider.set(MAIN, "billing")
        ask(running, "three")
        assert running.until_profile("fallback")["routes"]["default"] == f"acme,{SPARE}"
        doctor = home.run("doctor", "ccr.package", "--json").stdout
        assert "your own command" in doctor
    assert running.process.returncode == 0
    assert home.processes() == []


def test_a_command_that_would_bring_ccr_3(home: Home, provider: FakeProvider) -> None:
    """Exit 6 before anything is started: npm's latest takes config.json away."""
    home.env["SYNCCR_CCR_COMMAND"] = "npx -y @musistudio/claude-code-router"
    home.use(provider)
    done = home.run("start")
    assert done.returncode == 6
    assert "names no version" in done.stderr
    assert "@2.0.0" in done.stderr
