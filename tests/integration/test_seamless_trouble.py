"""Backends that do not start, upstreams that never answer, supervisors that are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from home import LONG, MAIN, SPARE, Home, message, profile, program
from load import Load, said
from ports import free_port
from provider import FakeProvider

pytestmark = [pytest.mark.integration, pytest.mark.long]

JSON = {"content-type": "application/json"}
EXITS = "process.exit(3)"
LOADS = "module.exports = class { name = 'harmless' }"


def ask(url: str, nonce: str, size: int = 0) -> httpx.Response:
    return httpx.post(f"{url}/v1/messages", content=question(nonce, size), headers=JSON, timeout=90)


def question(nonce: str, size: int) -> bytes:
    """A request of about so many bytes; the last message asks for the nonce."""
    body = message(nonce)
    before = {"role": "user", "content": "several words that count as tokens. " * (size // 36)}
    between = {"role": "assistant", "content": "Yes."}
    return json.dumps(body | {"messages": [before, between, *body["messages"]]}).encode()


def answered(answer: httpx.Response, nonce: str) -> bool:
    return answer.status_code == 200 and said(answer.content, stream=False) == nonce


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process ends within so many seconds."""
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not psutil.pid_exists(pid)


def test_a_new_backend_that_does_not_start(home: Home, provider: FakeProvider) -> None:
    """The old one serves on under load, the configuration is as it was byte for byte, the
    journal and the command say why, and it is not tried again at once."""
    document = home.use(provider)
    breaks = home.write("breaks.js", EXITS)
    broken = {"transformers": [{"path": str(breaks)}], "Router": {"default": f"acme,{SPARE}"}}
    home.write("ccr-config-fallback.json", document | broken)
    config = home.ccr / "config.json"
    with home.running() as running:
        before, written = home.status(), config.read_bytes()
        with Load(running.url) as load:
            done = home.run("swap", "fallback")
            load.more(100)
        after = home.status()
        time.sleep(2)
        tried = home.events("swap_started")
    assert (load.failed, load.cut) == ([], [])
    assert done.returncode == 1
    assert "exited with code 3" in done.stderr
    assert config.read_bytes() == written
    assert config.stat().st_mode & 0o777 == 0o600
    assert (after["ccr"]["pid"], after["profile"]) == (before["ccr"]["pid"], "primary")
    assert (after["state"], after["swaps"]) == ("running", 0)
    assert len(tried) == 1
    assert "exited with code 3" in home.events("swap_failed")[0]["error"]


def test_an_upstream_that_never_answers(home: Home, provider: FakeProvider) -> None:
    """A silent request does not keep the old CCR alive beyond the drain deadline; it is
    carried over and answered by the new one."""
    home.env["SYNCCR_DRAIN_TIMEOUT"] = "5"
    home.use(provider)
    with home.running() as running, ThreadPoolExecutor(1) as pool:
        old = home.status()["ccr"]["pid"]
        provider.set(MAIN, "never")
        waiting = pool.submit(ask, running.url, "patient")
        running.until(lambda: b"patient" in b"".join(r.raw for r in provider.requests(MAIN)))
        began = time.monotonic()
        assert home.run("swap", "fallback").returncode == 0
        assert answered(waiting.result(60), "patient")
        assert time.monotonic() - began > 5
        assert gone(old)
        assert home.status()["relay"]["carried"] == 1


@pytest.mark.parametrize("move", ["swap", "restart", "stop"])
def test_a_stream_ends_where_it_began(home: Home, provider: FakeProvider, move: str) -> None:
    """A stream that runs during a swap, a restart or ``ccr stop`` is finished by its backend,
    asked of the provider once; that backend ends right after it; others are served meanwhile."""
    home.env["SYNCCR_HEALTH_INTERVAL"] = "0.5"
    home.use(provider)
    with home.running() as running:
        old = home.status()["ccr"]["pid"]
        provider.set(MAIN, {"chunk_delay": 5.0, "chunks": 12})
        body = message("a-long-nonce-in-twelve-pieces", stream=True)
        with httpx.stream("POST", f"{running.url}/v1/messages", json=body, timeout=60) as answer:
            chunks = answer.iter_bytes()
            begun = next(chunks)
            provider.set(MAIN, "ok")
            if move == "stop":
                kill_like_ccr_stop(home)
            else:
                assert home.run(*[move, "fallback"][: 2 if move == "swap" else 1]).returncode == 0
            running.until(lambda: home.status()["ccr"]["pid"] not in (None, old))
            assert answered(ask(running.url, "meanwhile"), "meanwhile")
            assert psutil.pid_exists(old)
            provider.hurry()
            whole = begun + b"".join(chunks)
        assert said(whole, stream=True) == "a-long-nonce-in-twelve-pieces"
        assert gone(old)
        asked = [r for r in provider.requests() if b"twelve-pieces" in r.raw]
        assert [record.model for record in asked] == [MAIN]


def kill_like_ccr_stop(home: Home) -> None:
    os.kill(int((home.ccr / ".claude-code-router.pid").read_text()), signal.SIGTERM)


@pytest.mark.parametrize("moment", ["never", "uploading", "answering"])
def test_a_request_of_20_megabytes(home: Home, provider: FakeProvider, moment: str) -> None:
    """A request of 20 MB is answered, also when CCR is killed while it has it; its own answer."""
    home.use(provider)
    body = question("large", 20_000_000)
    with home.running() as running:
        ccr = psutil.Process(home.status()["ccr"]["pid"])
        provider.set(LONG, {"delay": 60.0 if moment == "answering" else 0.0})
        provider.forget()
        half = threading.Event()

        def pieces() -> Iterator[bytes]:
            for at in range(0, len(body), 1_000_000):
                if at == 10_000_000:
                    half.set()
                yield body[at : at + 1_000_000]

        with ThreadPoolExecutor(1) as pool:
            url = f"{running.url}/v1/messages"
            waiting = pool.submit(httpx.post, url, content=pieces(), headers=JSON, timeout=90)
            assert half.wait(30)
            if moment == "answering":
                running.until(lambda: provider.requests(LONG))
                provider.set(LONG, "ok")
            if moment != "never":
                ccr.kill()
            answer = waiting.result(90)
        proxy = home.status()["relay"]
        restarts = home.status()["ccr"]["restarts"]
    assert answered(answer, "large"), answer.text[:300]
    assert restarts == (moment != "never")
    assert bool(proxy["carried"]) == (moment != "never")
    assert proxy["not_carried"] == 0


def test_a_request_beyond_the_limit(home: Home, provider: FakeProvider) -> None:
    """What is larger than carry_limit is answered, but not carried over, and that is counted:
    when CCR dies, its client gets an error that says so."""
    home.env["SYNCCR_CARRY_LIMIT"] = "100000"
    home.use(provider)
    with home.running() as running, ThreadPoolExecutor(1) as pool:
        assert answered(ask(running.url, "first", 1_000_000), "first")
        long_asked = len(provider.requests(LONG))
        provider.set(LONG, "never")
        waiting = pool.submit(ask, running.url, "second", 1_000_000)
        running.until(lambda: len(provider.requests(LONG)) > long_asked)
        psutil.Process(home.status()["ccr"]["pid"]).kill()
        lost = waiting.result(30)
        assert (lost.status_code, lost.json()["error"]["type"]) == (502, "api_error")
        assert "too large" in lost.json()["error"]["message"]
        assert answered(ask(running.url, "third"), "third")
        assert home.status()["relay"]["not_carried"] == 2


def test_a_ccr_that_counts_for_long_is_not_taken_for_dead(
    home: Home, provider: FakeProvider
) -> None:
    """A prompt whose tokens CCR counts for a quarter of a minute, answering nothing meanwhile:
    it goes on, and so does the stream of another client."""
    home.env["SYNCCR_HEALTH_INTERVAL"] = "0.5"
    home.use(provider)
    with home.running() as running:
        before = home.status()["ccr"]["pid"]
        long = message("a" * 120_000)
        answer = httpx.post(f"{running.url}/v1/messages", json=long, timeout=150)
        assert answer.status_code == 200
        assert answer.elapsed.total_seconds() > 3, "nothing was tried"
        assert home.status()["ccr"] | {"pid": before, "restarts": 0} == home.status()["ccr"]
    assert home.events("crashed") == []


def test_a_ccr_that_keeps_dying(home: Home, provider: FakeProvider) -> None:
    """Pauses grow, then it is given up for a while: degraded, next to no work, new connections
    wait hold_timeout for their 503; and when it can start again it does, by itself."""
    home.env |= {"SYNCCR_HOLD_TIMEOUT": "2", "SYNCCR_RECOVERY_INTERVAL": "3"}
    breaks = home.write("breaks.js", LOADS)
    home.use(provider, transformers=[{"path": str(breaks)}])
    with home.running() as running:
        assert answered(ask(running.url, "before"), "before")
        breaks.write_text(EXITS)
        psutil.Process(home.status()["ccr"]["pid"]).kill()
        running.until(lambda: home.status()["state"] == "degraded")
        began = time.monotonic()
        refused = ask(running.url, "too-early")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert refused.json()["error"]["type"] == "overloaded_error"
        assert 1.9 < time.monotonic() - began < 10
        process = psutil.Process(running.process.pid)
        used, since = sum(process.cpu_times()[:2]), time.monotonic()
        running.until(lambda: "keeps dying" in running.log.read_text(), 150)
        share = (sum(process.cpu_times()[:2]) - used) / (time.monotonic() - since)
        assert share < 0.25
        pauses = [entry["pause_s"] for entry in home.events("crashed")]
        assert pauses[:7] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0]
        time.sleep(2)
        assert running.log.read_text().count("keeps dying") == 1
        running.until(lambda: home.status()["state"] == "degraded")  # between two tries
        breaks.write_text(LOADS)
        running.until(lambda: home.status()["state"] == "running")
        assert answered(ask(running.url, "after"), "after")


@pytest.fixture
def breaks(home: Home, provider: FakeProvider) -> Path:
    """What CCR loads with the primary profile alone."""
    home.write("ccr-config-fallback.json", home.use(provider, Router={"default": f"acme,{SPARE}"}))
    breaks = home.write("breaks.js", LOADS)
    home.use(provider, transformers=[{"path": str(breaks)}])
    return breaks


def test_a_profile_that_ccr_dies_of(home: Home, breaks: Path) -> None:
    """The other profile serves instead; the first one returns by itself when CCR lives with it,
    and is left at once should CCR die of it again."""
    home.env |= {"SYNCCR_RECOVERY_INTERVAL": "2", "SYNCCR_SWAP_COOLDOWN": "1"}
    with home.running() as running:
        assert home.status()["profile"] == "primary"
        breaks.write_text(EXITS)
        psutil.Process(home.status()["ccr"]["pid"]).kill()
        running.until(lambda: home.status()["profile"] == "fallback", 120)
        assert home.status()["last_swap"]["reason"] == "crashed"
        assert answered(ask(running.url, "elsewhere"), "elsewhere")
        breaks.write_text(LOADS)
        running.until(lambda: home.status()["profile"] == "primary", 60)
        breaks.write_text(EXITS)
        psutil.Process(home.status()["ccr"]["pid"]).kill()
        assert answered(ask(running.url, "again"), "again")
        running.until(lambda: home.status()["profile"] == "fallback")


def test_a_person_who_does_not_wait_for_a_ccr_that_keeps_dying(home: Home, breaks: Path) -> None:
    """``synccr swap`` is carried out between two tries."""
    with home.running() as running:
        breaks.write_text(EXITS)
        psutil.Process(home.status()["ccr"]["pid"]).kill()
        running.until(lambda: home.status()["state"] == "degraded")
        done = home.run("swap", "fallback", timeout=60)
        assert done.returncode == 0, done.stderr
        assert answered(ask(running.url, "asked"), "asked")
        running.until(lambda: home.status()["state"] == "running")


@pytest.mark.parametrize("seed", range(6))
def test_a_supervisor_killed_at_random_moments(
    home: Home, provider: FakeProvider, seed: int
) -> None:
    """Whenever the supervisor is killed, while it starts or while it swaps: CCR ends, the
    configuration is whole and private, and the next start serves."""
    home.use(provider)
    moments = random.Random(seed)
    if seed % 2:
        start = subprocess.Popen(
            [sys.executable, "-m", "synccr", "start"], env=home.env, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(0.3, 2.5))
        start.kill()
        start.wait()
    else:
        with home.running() as running:
            swap = threading.Thread(target=home.run, args=("swap", "fallback"))
            swap.start()
            time.sleep(moments.uniform(0.1, 1.5))
            running.process.kill()
            running.process.wait()
            swap.join()
    deadline = time.monotonic() + 15
    while home.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert home.processes() == []
    assert home.run("status").returncode == 3
    config = home.ccr / "config.json"
    if config.exists():
        json.loads(config.read_bytes())
        assert config.stat().st_mode & 0o777 == 0o600
    with home.running() as running:
        assert answered(ask(running.url, "again"), "again")
        assert home.status()["profile"] == "primary"


@pytest.fixture
def others() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a test has started; ended afterwards."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_orphans_are_ended_and_no_others(
    home: Home, provider: FakeProvider, others: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """The next start ends a CCR that a former supervisor has left; not a CCR of another home,
    and not a process that only carries the mark."""
    home.use(provider)
    with home.running():
        node, entry = program(home)
    (instance,) = (home.root / ".local" / "state" / "synccr").glob("ccr-*")
    mark = {"_SYNCCR_INSTANCE": str(instance)}
    elsewhere = Home(tmp_path / "elsewhere", home.npm_cache)
    (elsewhere.ccr).mkdir(parents=True)
    (elsewhere.ccr / "config.json").write_text(json.dumps(profile("http://127.0.0.1:9", 1)))

    def begin(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        others.append(subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL))
        return others[-1]

    ports = [free_port(), free_port()]
    service = [{"SERVICE_PORT": str(port)} for port in ports]
    orphan = begin([node, entry, "start"], home.env | mark | service[0])
    other = begin([node, entry, "start"], elsewhere.env | service[1])
    bystander = begin([sys.executable, "-c", "import time; time.sleep(600)"], {**mark})
    for port in ports:
        while not serves(port):
            time.sleep(0.05)
    with home.running() as running:
        assert orphan.wait(10) is not None
        assert answered(ask(running.url, "x"), "x")
        assert (other.poll(), bystander.poll()) == (None, None)
        assert serves(ports[1])


def test_a_ccr_that_somebody_else_runs(
    home: Home, provider: FakeProvider, others: list[subprocess.Popen[bytes]]
) -> None:
    """A CCR that a person started in the same directory is left alone: exit code 7."""
    home.use(provider)
    with home.running():
        node, entry = program(home)
    theirs = free_port()
    env = home.env | {"SERVICE_PORT": str(theirs)}
    others.append(subprocess.Popen([node, entry, "start"], env=env, stdout=subprocess.DEVNULL))
    while not serves(theirs):
        time.sleep(0.05)
    done = home.run("start")
    assert done.returncode == 7
    assert str(others[0].pid) in done.stderr
    assert serves(theirs)
    others[0].kill()
    others[0].wait()


def serves(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.HTTPError:
        return False
