"""``synccr restart``: a fresh supervisor in place of the old one, and no client notices."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import psutil
import pytest

from fragile import DIES, fragile, with_fault
from home import KEY, LONG, MAIN, Home, message
from load import Load, said
from provider import FakeProvider

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ccr("2.0.0", "3.1.1")]


@contextmanager
def detached(home: Home) -> Iterator[dict[str, Any]]:
    """A supervisor in the background; ended by ``synccr stop``, with nothing left."""
    assert home.run("start", "--detach").returncode == 0
    try:
        yield home.status()
    finally:
        assert home.run("stop").returncode == 0
    assert home.run("status").returncode == 3
    assert home.processes() == []


def url(home: Home) -> str:
    return f"http://127.0.0.1:{home.port}"


def gone(pid: int, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not psutil.pid_exists(pid)


def restarted(home: Home) -> dict[str, Any]:
    done = home.run("restart")
    assert done.returncode == 0, done.stderr
    return home.status()


def test_in_the_background(home: Home, provider: FakeProvider) -> None:
    """Twice under 20 clients: no request fails, no answer is cut, another supervisor
    and another CCR serve each time, and the former ones are gone."""
    home.use(provider)
    with detached(home) as status:
        with Load(url(home)) as load:
            for _ in range(2):
                before, status = status, restarted(home)
                for part in ("supervisor", "ccr"):
                    assert status[part]["pid"] != before[part]["pid"]
                    assert gone(before[part]["pid"])
                assert status["state"] == "running"
                load.more(40)
        assert home.run("swap", "fallback").returncode == 0
    assert (load.failed, load.cut) == ([], [])
    print(f"{len(load.ok)} answers, longest gap {load.longest_gap() * 1000:.0f} ms")


def test_in_the_foreground(home: Home, provider: FakeProvider) -> None:
    """The process that a shell waits for stays, passes signals on, and ends with the new one."""
    in_the_foreground(home, provider, "SIGTERM")


@pytest.mark.ccr("2.0.0")  # signals and commands end every CCR alike
@pytest.mark.parametrize("end", ["SIGINT", "stop"])
def test_in_the_foreground_ended_otherwise(home: Home, provider: FakeProvider, end: str) -> None:
    """So it does for another signal, and with ``synccr stop``."""
    in_the_foreground(home, provider, end)


def in_the_foreground(home: Home, provider: FakeProvider, end: str) -> None:
    home.use(provider)
    with home.running() as running:
        with Load(running.url, clients=4) as load:
            for _ in range(2):
                assert restarted(home)["supervisor"]["pid"] != running.process.pid
                load.more(20)
        assert running.process.poll() is None
        if end == "stop":
            assert home.run("stop").returncode == 0
        else:
            running.process.send_signal(signal.Signals[end])
        assert running.process.wait(20) == 0
    assert home.processes() == []
    assert home.run("status").returncode == 3
    assert (load.failed, load.cut) == ([], [])
    assert [entry["kind"] for entry in home.events()].count("stopped") == 1


def test_nothing_outlives_the_one_that_waits(home: Home, provider: FakeProvider) -> None:
    """After two restarts a SIGKILL of the process that the shell waits for ends everything."""
    home.use(provider)
    with home.running() as running:
        for _ in range(2):
            restarted(home)
        running.process.kill()
        running.process.wait()
        deadline = time.monotonic() + 15
        while home.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert home.processes() == []
    assert home.run("status").returncode == 3


def test_settings_and_profiles_are_read_again(home: Home, provider: FakeProvider) -> None:
    """What was changed counts; what cannot be used is said, with its exit code, and the old
    supervisor goes on with the old configuration, byte for byte."""
    document = home.use(provider)
    with_fault(home, DIES)
    with detached(home) as status, Load(url(home), clients=8) as load:
        document["Router"]["default"] = f"acme,{LONG}"
        home.write("ccr-config.json", document)
        status = restarted(home)
        assert status["routes"]["default"] == f"acme,{LONG}"
        written = (home.ccr / "config.json").read_bytes()
        home.write("synccr.toml", "hold_timeuot = 3\n")
        done = home.run("restart")
        assert done.returncode == 2
        assert "Did you mean hold_timeout?" in done.stderr
        home.write("synccr.toml", "hold_timeout = 3\n")
        home.write("ccr-config.json", '{"Providers": [')
        done = home.run("restart")
        assert done.returncode == 4
        assert "ccr-config.json" in done.stderr
        home.write("ccr-config.json", document)
        home.write("ccr-config.json", fragile(document))
        done = home.run("restart")
        assert done.returncode == 1
        assert "exited with code 3" in done.stderr
        deadline = time.monotonic() + 20  # the old one has seen the edit, and tries it as well
        while (home.ccr / "config.json").read_bytes() != written:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        after = home.status()
        for part in ("supervisor", "ccr"):
            assert after[part]["pid"] == status[part]["pid"]
        home.write("ccr-config.json", document)
        load.more(40)
        assert restarted(home)["state"] == "running"
        load.more(40)
    assert (load.failed, load.cut) == ([], [])


def test_keys_that_are_kept_are_read_again(home: Home, provider: FakeProvider) -> None:
    """A key that was changed in keys.env counts after a restart."""
    home.use(provider)
    del home.env["ACME_KEY"]
    keys = home.write("keys.env", f"ACME_KEY={KEY}\n")
    keys.chmod(0o600)
    with detached(home):
        keys.write_text("ACME_KEY=another-key-1b7c\n")
        refused = home.run("restart")
        assert refused.returncode == 5, refused.stderr
        keys.write_text(f"ACME_KEY={KEY}\n")
        restarted(home)


@pytest.mark.ccr("2.0.0", "3.1.1", seeds=(4, 2))
def test_the_new_one_is_killed(home: Home, provider: FakeProvider, seed: int) -> None:
    """Whenever the new supervisor is killed before it serves, the old one goes on."""
    home.use(provider)
    moment = random.Random(seed).uniform(0.1, 0.9)  # a start takes longer
    with detached(home) as status, Load(url(home), clients=8) as load:
        old = psutil.Process(status["supervisor"]["pid"])
        written = (home.ccr / "config.json").read_bytes()
        asked = home.begin("restart")
        new: list[psutil.Process] = []
        while not new:
            with suppress(psutil.NoSuchProcess):  # others come and go
                new = [p for p in old.children() if "synccr" in p.cmdline()]
        time.sleep(moment)
        new[0].kill()
        _, errors = asked.communicate(timeout=60)
        load.more(40)
        after = home.status()
        if asked.returncode == 1:
            assert "the old one goes on" in errors
            assert after["supervisor"]["pid"] == old.pid
            assert (home.ccr / "config.json").read_bytes() == written
            assert home.found_by_ccrs_commands(after["ccr"]["pid"])
            assert restarted(home)["supervisor"]["pid"] != old.pid
            load.more(40)
    assert load.failed == []


def test_streams_and_a_second_restart(home: Home, provider: FakeProvider) -> None:
    """A stream that runs through two restarts ends where it began; the connection it was on
    serves on; the supervisors and the CCR that it kept are gone right after."""
    home.use(provider)
    with detached(home) as first, httpx.Client(timeout=60) as http:
        provider.set(MAIN, {"chunk_delay": 5.0, "chunks": 24})
        body = message("a-nonce-of-twenty-four-pieces", stream=True)
        with http.stream("POST", f"{url(home)}/v1/messages", json=body) as answer:
            chunks = answer.iter_bytes()
            begun = next(chunks)
            provider.set(MAIN, "ok")
            second = restarted(home)
            third = restarted(home)
            assert psutil.pid_exists(first["ccr"]["pid"])
            assert gone(second["ccr"]["pid"])
            provider.hurry()
            whole = begun + b"".join(chunks)
        assert said(whole, stream=True) == "a-nonce-of-twenty-four-pieces"
        again = http.post(f"{url(home)}/v1/messages", json=message("again"))
        assert said(again.content, stream=False) == "again"
        for status in (first, second):
            assert gone(status["supervisor"]["pid"])
            assert gone(status["ccr"]["pid"])
        assert home.status()["supervisor"]["pid"] == third["supervisor"]["pid"]


def test_stop_while_the_old_one_still_drains(home: Home, provider: FakeProvider) -> None:
    """``stop`` ends both supervisors and both CCRs, within the time it gives to requests."""
    home.use(provider)
    with detached(home) as first:
        provider.set(MAIN, "never")
        with ThreadPoolExecutor(1) as pool:
            body = message("never-answered")
            lost = pool.submit(httpx.post, f"{url(home)}/v1/messages", json=body, timeout=60)
            while not any(b"never-answered" in r.raw for r in provider.requests(MAIN)):
                time.sleep(0.02)
            provider.set(MAIN, "ok")
            restarted(home)
            assert psutil.pid_exists(first["ccr"]["pid"])
            assert home.run("stop").returncode == 0
            assert home.processes() == []
            assert isinstance(lost.exception(), httpx.HTTPError)


def test_two_at_once(home: Home, provider: FakeProvider) -> None:
    """The second of two restarts at one time is refused, the first is carried out."""
    home.use(provider)
    with detached(home) as before:
        both = [home.begin("restart"), home.begin("restart")]
        errors = [asked.communicate(timeout=60)[1] for asked in both]
        assert sorted(asked.returncode for asked in both) in ([0, 1], [0, 0]), errors
        assert home.status()["supervisor"]["pid"] != before["supervisor"]["pid"]
        assert home.status()["state"] == "running"


def test_where_sockets_cannot_be_given_away(home: Home, provider: FakeProvider) -> None:
    """There CCR alone is replaced under load; settings and profiles count all the same."""
    document = home.use(provider)
    home.env.pop("SYNCCR_CCR_VERSION", None)
    home.write("synccr.toml", f'ccr_version = "{home.ccr_version}"\n')
    program = (
        "import sys, synccr.supervisor.restarting as restarting; restarting.POSSIBLE = False;"
        "sys.argv = ['synccr', 'start']; from synccr.__main__ import main; main()"
    )
    with home.running(program=["-c", program]) as running, Load(running.url, clients=8) as load:
        before = home.status()
        after = restarted(home)
        assert after["supervisor"]["pid"] == before["supervisor"]["pid"]
        assert after["ccr"]["pid"] != before["ccr"]["pid"]
        load.more(20)
        home.write("synccr.toml", "hold_timeuot = 3\n")
        assert home.run("restart").returncode == 2
        home.write("synccr.toml", 'ccr_version = "1.0.73"\n')
        assert restarted(home)["ccr"]["version"] == "1.0.73"
        load.more(20)
        home.write("ccr-config.json", "{")
        assert home.run("restart").returncode == 4
        document["Router"]["default"] = f"acme,{LONG}"
        home.write("ccr-config.json", document)
        assert home.run("restart").returncode == 0
        running.until(lambda: home.status()["routes"]["default"] == f"acme,{LONG}")
        load.more(20)
    assert (load.failed, load.cut) == ([], [])


@pytest.mark.ccr("2.0.0", "3.1.1", seeds=(3, 2))
def test_ccr_is_killed_meanwhile(home: Home, provider: FakeProvider, seed: int) -> None:
    """A CCR that dies at any moment of a restart costs no request either."""
    home.use(provider)
    moment = random.Random(seed).uniform(0.0, 2.0)
    with detached(home) as status:
        with Load(url(home), clients=8) as load:
            asked = home.begin("restart")
            time.sleep(moment)
            with suppress(psutil.NoSuchProcess):  # replaced and gone already
                psutil.Process(status["ccr"]["pid"]).kill()
            _, errors = asked.communicate(timeout=60)
            assert asked.returncode == 0, errors
            load.more(40)
        assert home.status()["supervisor"]["pid"] != status["supervisor"]["pid"]
    assert load.failed == []


@pytest.mark.ccr("2.0.0", "3.1.1", seeds=(3, 2))
def test_stop_meanwhile(home: Home, provider: FakeProvider, seed: int) -> None:
    """``stop`` at any moment of a restart ends everything, the new supervisor included."""
    home.use(provider)
    moment = random.Random(seed).uniform(0.2, 2.5)
    assert home.run("start", "--detach").returncode == 0
    asked = home.begin("restart")
    time.sleep(moment)
    assert home.run("stop").returncode == 0
    asked.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while home.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert home.processes() == []
    assert home.run("status").returncode == 3
