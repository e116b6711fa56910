"""Swaps, restarts and crashes that no client notices: the real CCR under load."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from fragile import sampled
from home import KEY, LONG, MAIN, SPARE, Home, Running, ccr_processes, message, program
from load import Load, said
from provider import FakeProvider

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ccr("2.0.0", "3.1.1")]


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
    """Through two restarts under 20 clients no request fails and no answer is cut."""
    home.use(provider)
    with home.running() as running, Load(running.url) as load:
        for _ in range(2):
            before = home.status()["ccr"]["pid"]
            assert home.run("restart").returncode == 0
            assert home.status()["ccr"]["pid"] != before
            load.more(40)
    assert (load.failed, load.cut) == ([], [])
    print(f"{len(load.ok)} answers, longest gap {load.longest_gap() * 1000:.0f} ms")


@pytest.mark.ccr("2.0.0", "3.1.1", seeds=(5, 2))
def test_ccr_killed_at_random_moments(home: Home, provider: FakeProvider, seed: int) -> None:
    """Four SIGKILLs of CCR under 20 clients lose no request without a response byte, whichever
    of its processes they hit."""
    home.use(provider)
    provider.set(MAIN, {"delay": 0.2})  # most clients wait for their answer at any moment
    moments = random.Random(seed)
    first, last, every = slice(1), slice(-1, None), slice(None)
    with home.running() as running:
        with Load(running.url, pause=0) as load:
            for victims in (first, last, every, last):
                killed = ccr_processes(home)
                time.sleep(moments.uniform(0.2, 0.8))
                for process in killed[victims]:
                    process.kill()
                running.until(lambda: home.status()["ccr"]["pid"] not in (None, killed[-1].pid))  # noqa: B023
                load.more(40)
        status = home.status()
    assert load.failed == []
    assert status["ccr"]["restarts"] == 4
    assert status["relay"]["cut"] >= len(load.cut)
    print(
        f"{len(load.ok)} answers, {len(load.cut)} cut, carried {status['relay']['carried']}, "
        f"longest gap {load.longest_gap() * 1000:.0f} ms"
    )


@pytest.mark.ccr("3.1.1")
def test_other_routes_in_place(home: Home, provider: FakeProvider) -> None:
    """Four swaps under 20 clients and a stream end in the CCR that was there before them: no
    request fails, no answer is cut, each is the new route's, and the stream ends whole."""
    home.use(provider)
    with home.running() as running:
        before = home.status()["ccr"]
        with stream(running, provider) as text, Load(running.url) as load:
            for name, model in (("fallback", SPARE), ("primary", MAIN)) * 2:
                assert home.run("swap", name).returncode == 0
                provider.forget()
                load.more(40)
                late = provider.requests()[20:]  # each client may have had one under way
                assert {record.model for record in late} == {model}
            status = home.status()
            assert text() == LONG_TEXT
    assert (load.failed, load.cut) == ([], [])
    assert (status["ccr"], status["swaps"]) == (before, 4)


CHANGES = ("transformer", "provider", "key")
ANEW = {"2.0.0": CHANGES, "3.1.1": CHANGES[:2]}
"""For which of them a CCR is started anew. A CCR 3 has no key."""


@pytest.mark.parametrize("change", CHANGES)
def test_other_providers(home: Home, provider: FakeProvider, change: str) -> None:
    """An edit of providers under 20 clients and a stream fails no request and cuts no answer;
    a second CCR serves where the first one has to be started anew, and the first one ends when
    its stream has."""
    document = home.use(provider)
    acme = document["Providers"][0]
    home.env["OTHER_KEY"] = KEY
    edited = {
        "transformer": sampled(document, 0.5),
        "key": document | {"Providers": [acme | {"api_key": "$OTHER_KEY"}]},
        "provider": document | {"Providers": [acme, acme | {"name": "other", "models": [SPARE]}]},
    }
    with home.running() as running:
        old = home.status()["ccr"]["pid"]
        with stream(running, provider) as text, Load(running.url) as load:
            home.write("ccr-config.json", edited[change])
            running.until(lambda: home.status()["swaps"] == 1)
            load.more(40)
            new = home.status()["ccr"]["pid"]
            assert (new != old) is (change in ANEW[home.ccr_version])
            assert psutil.pid_exists(old)
            assert text() == LONG_TEXT
        running.until(lambda: ccrs(home) == [new])
    assert (load.failed, load.cut) == ([], [])


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


@pytest.mark.ccr("2.0.0")  # CCR 3's act on its own directory, not on ours
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


@pytest.mark.ccr("2.0.0")  # CCR 3's page is on a port of its own
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


LONG_TEXT = "a-nonce-of-twenty-four-pieces"


@contextlib.contextmanager
def stream(running: Running, provider: FakeProvider) -> Iterator[Callable[[], str | None]]:
    """A stream that has begun; what is yielded lets it come to its end, and tells its text."""
    provider.set(MAIN, {"chunk_delay": 5.0, "chunks": 24}, times=1)
    body = message(LONG_TEXT, stream=True)
    with httpx.stream("POST", f"{running.url}/v1/messages", json=body, timeout=60) as answer:
        chunks = answer.iter_bytes()
        begun = next(chunks)

        def text() -> str | None:
            provider.hurry()
            return said(begun + b"".join(chunks), stream=True)

        yield text


def ccrs(home: Home) -> list[int]:
    """The CCRs of this home that serve."""
    names = ("cli.js start", "gateway-bootstrap.js")
    return [p.pid for p in home.processes() if any(n in " ".join(command(p)) for n in names)]


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
