"""Swaps, restarts and crashes that no client notices: the real CCR under load."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import time

import httpx
import psutil
import pytest

from home import KEY, LONG, MAIN, SPARE, Home, program
from load import Load
from provider import FakeProvider

pytestmark = [pytest.mark.integration, pytest.mark.long]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    psutil.Process(pid).send_signal(number)


def test_swaps_by_hand_both_ways(home: Home, provider: FakeProvider) -> None:
    """Through four swaps under 20 clients no request fails and no answer is cut."""
    home.use(provider)
    with home.running() as running:
        provider.forget()  # what was asked before the start
        with Load(running.url) as load:
            for name in ("fallback", "primary", "fallback", "primary"):
                assert home.run("swap", name).returncode == 0
                load.more(40)
        status = home.status()
    assert (load.failed, load.cut) == ([], [])
    assert status["swaps"] == 4
    assert status["relay"]["requests"] >= len(load.ok)
    assert {record.model for record in provider.requests()} == {MAIN, SPARE}
    print(f"{len(load.ok)} answers, longest gap {load.longest_gap() * 1000:.0f} ms")


def test_restarts(home: Home, provider: FakeProvider) -> None:
    """Through three restarts under 20 clients no request fails and no answer is cut."""
    home.use(provider)
    with home.running() as running, Load(running.url) as load:
        for _ in range(3):
            before = home.status()["ccr"]["pid"]
            assert home.run("restart").returncode == 0
            assert home.status()["ccr"]["pid"] != before
            load.more(40)
    assert (load.failed, load.cut) == ([], [])
    print(f"{len(load.ok)} answers, longest gap {load.longest_gap() * 1000:.0f} ms")


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 5))]
)
def test_ccr_killed_at_random_moments(home: Home, provider: FakeProvider, seed: int) -> None:
    """Four SIGKILLs of CCR under 20 clients lose no request without a response byte."""
    home.use(provider)
    moments = random.Random(seed)
    with home.running() as running:
        with Load(running.url, pause=0) as load:
            for _ in range(4):
                time.sleep(moments.uniform(0.2, 0.8))
                kill(home.status()["ccr"]["pid"])
                load.more(40)
        status = home.status()
    assert load.failed == []
    assert status["ccr"]["restarts"] == 4
    assert status["relay"]["cut"] >= len(load.cut)
    print(
        f"{len(load.ok)} answers, {len(load.cut)} cut, carried {status['relay']['carried']}, "
        f"longest gap {load.longest_gap() * 1000:.0f} ms"
    )


def test_a_ccr_that_hangs_is_replaced(home: Home, provider: FakeProvider) -> None:
    """A CCR that runs and no longer answers /health is replaced; its requests are carried over."""
    home.env |= {"SYNCCR_HEALTH_INTERVAL": "0.5"}
    home.use(provider)
    with home.running() as running:
        with Load(running.url, clients=8) as load:
            before = home.status()["ccr"]["pid"]
            kill(before, signal.SIGSTOP)
            load.more(40)
        running.until(lambda: not psutil.pid_exists(before))
        crashed = home.events("crashed")
        restarted = home.events("restarted")
    assert load.failed == []
    assert [entry["reason"] for entry in crashed] == ["it no longer answers /health"]
    assert restarted[0]["carried"] > 0


@pytest.mark.parametrize("verb", ["restart", "stop"])
def test_ccrs_own_commands(home: Home, provider: FakeProvider, verb: str) -> None:
    """``ccr restart`` and ``ccr stop`` end in a CCR that serves, twice, and no request fails;
    ``ccr status`` and ``ccr activate`` name the one that serves and the public port."""
    home.use(provider)
    with home.running() as running:
        with Load(running.url) as load:
            for _ in range(2):
                before = home.status()["ccr"]["pid"]
                ccr(home, verb)
                running.until(lambda: home.status()["ccr"]["pid"] not in (None, before))  # noqa: B023
                load.more(40)
        pid = home.status()["ccr"]["pid"]
        running.until(lambda: (home.ccr / ".claude-code-router.pid").read_text() == str(pid))
        assert f"PID: {pid}" in ccr(home, "status").replace("Process ID", "PID")
        assert f"http://127.0.0.1:{home.port}" in ccr(home, "activate")
        running.until(lambda: ccrs(home) == [pid])
    assert (load.failed, load.cut) == ([], [])


def test_save_and_restart_on_ccrs_page(home: Home, provider: FakeProvider) -> None:
    """What CCR's page saves is swapped to when it asks for a restart; no CCR is left outside."""
    home.use(provider)
    with home.running() as running:
        with Load(running.url) as load:
            saved = httpx.get(f"{running.url}/api/config").json()
            saved["Router"]["default"] = f"acme,{LONG}"
            assert httpx.post(f"{running.url}/api/config", json=saved).status_code == 200
            answer = httpx.post(f"{running.url}/api/restart")
            assert (answer.status_code, answer.json()["success"]) == (200, True)
            running.until(lambda: home.status()["routes"]["default"] == f"acme,{LONG}")
            load.more(40)
            renewed = home.status()
            httpx.post(f"{running.url}/api/restart")  # nothing was saved: a fresh one all the same
            running.until(lambda: home.status()["ccr"]["pid"] != renewed["ccr"]["pid"])
            load.more(40)
        status = home.status()
        refused = httpx.post(f"{running.url}/api/restart", headers={"origin": "http://evil"})
        running.until(lambda: ccrs(home) == [status["ccr"]["pid"]])
    assert (load.failed, load.cut) == ([], [])
    assert refused.status_code == 403
    assert status["swaps"] == 1
    written = json.loads((home.ccr / "config.json").read_bytes())
    assert written["Router"]["default"] == f"acme,{LONG}"
    assert KEY not in (home.ccr / "config.json").read_text()


def ccrs(home: Home) -> list[int]:
    """The CCRs of this home that run."""
    return [p.pid for p in home.processes() if "cli.js" in " ".join(command(p))]


def command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def ccr(home: Home, verb: str) -> str:
    """A command of the real CCR, from a shell, to its end."""
    node, entry = program(home)
    done = subprocess.run(
        [node, entry, verb], env=home.env, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr
