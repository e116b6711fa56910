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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from fragile import DIES, LIVES, fragile, sampled, with_fault
from home import LONG, MAIN, SPARE, Home, ccr_processes, message, profile, program
from load import Load, said
from ports import free_port
from provider import FakeProvider

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ccr("2.0.0", "3.1.1")]

JSON = {"content-type": "application/json"}


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


@pytest.mark.ccr("2.0.0")  # CCR 3 goes over to these routes as it runs
def test_a_new_backend_that_does_not_start(home: Home, provider: FakeProvider) -> None:
    """The old one serves on under load, the configuration is as it was byte for byte, the
    journal and the command say why, and it is not tried again at once."""
    other = fragile(home.use(provider), Router={"default": f"acme,{SPARE}"})
    home.write("ccr-config-fallback.json", other)
    with_fault(home, DIES)
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


def test_an_edit_whose_backend_does_not_start(home: Home, provider: FakeProvider) -> None:
    """The old one serves on under load, and the configuration is as it was byte for byte; the
    edit is not tried again at once, and a better one is applied."""
    document = home.use(provider)
    with_fault(home, DIES)
    config = home.ccr / "config.json"
    with home.running() as running:
        before, written = home.status(), config.read_bytes()
        with Load(running.url) as load:
            home.write("ccr-config.json", fragile(document))
            running.until(lambda: home.events("swap_failed"))
            load.more(100)
        after = home.status()
        assert (load.failed, load.cut) == ([], [])
        assert config.read_bytes() == written
        assert (after["ccr"]["pid"], after["state"]) == (before["ccr"]["pid"], "running")
        assert "exited with code 3" in home.events("swap_failed")[0]["error"]
        home.write("ccr-config.json", sampled(document, 0.5))
        running.until(lambda: home.status()["ccr"]["pid"] not in (None, before["ccr"]["pid"]))
        assert answered(ask(running.url, "better"), "better")


@pytest.mark.ccr("2.0.0")  # what CCR 3 does is below
def test_an_upstream_that_never_answers(home: Home, provider: FakeProvider) -> None:
    """A silent request does not keep the old CCR alive beyond the drain deadline; it is
    carried over and answered by the new one."""
    home.env["SYNCCR_DRAIN_TIMEOUT"] = "5"
    other = sampled(home.use(provider), 0.5) | {"Router": {"default": f"acme,{SPARE}"}}
    home.write("ccr-config-fallback.json", other)
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


@pytest.mark.ccr("3.1.1")  # CCR 2 changes no route as it runs
def test_a_silent_request_when_routes_change_in_place(home: Home, provider: FakeProvider) -> None:
    """It keeps its model, which may be reading a long prompt, for as long as silence is allowed;
    then the model that serves by now gets it."""
    home.env["SYNCCR_SILENCE_CEILING"] = "5"
    home.use(provider)
    with home.running() as running, ThreadPoolExecutor(1) as pool:
        before = home.status()["ccr"]
        provider.set(MAIN, "never")
        provider.forget()
        waiting = pool.submit(ask, running.url, "patient")
        running.until(lambda: provider.requests(MAIN))
        assert home.run("swap", "fallback").returncode == 0
        assert answered(ask(running.url, "meanwhile"), "meanwhile")
        assert not waiting.done()
        assert answered(waiting.result(60), "patient")
        assert home.status()["ccr"] == before
    asked = [record.model for record in provider.requests() if b"patient" in record.raw]
    assert asked == [MAIN, SPARE]


@pytest.mark.parametrize("move", ["edit", "restart"])
def test_a_stream_ends_where_it_began(home: Home, provider: FakeProvider, move: str) -> None:
    """A stream that runs during a swap to other providers or a restart is finished by its
    backend."""
    moves: dict[str, Callable[[], object]] = {
        "edit": lambda: home.write("ccr-config.json", sampled(home.use(provider), 0.5)),
        "restart": lambda: home.run("restart").check_returncode(),
    }
    ends_where_it_began(home, provider, moves[move])


@pytest.mark.ccr("2.0.0")  # CCR 3 has no pid file, and cuts its streams on SIGTERM
def test_a_stream_ends_in_a_ccr_that_was_told_to_stop(home: Home, provider: FakeProvider) -> None:
    """So does one that runs during ``ccr stop``."""
    file = home.ccr / ".claude-code-router.pid"
    ends_where_it_began(home, provider, lambda: os.kill(int(file.read_text()), signal.SIGTERM))


def ends_where_it_began(home: Home, provider: FakeProvider, move: Callable[[], object]) -> None:
    """A stream is finished by the backend that began it, asked of the provider once; that backend
    ends right after it; others are served meanwhile."""
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
            move()
            running.until(lambda: home.status()["ccr"]["pid"] not in (None, old))
            assert answered(ask(running.url, "meanwhile"), "meanwhile")
            assert psutil.pid_exists(old)
            provider.hurry()
            whole = begun + b"".join(chunks)
        assert said(whole, stream=True) == "a-long-nonce-in-twelve-pieces"
        assert gone(old)
        asked = [r for r in provider.requests() if b"twelve-pieces" in r.raw]
        assert [record.model for record in asked] == [MAIN]


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


@pytest.mark.ccr("2.0.0")  # CCR 3 counts them in a moment
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
    home.use(provider, Fragile=True)
    fault = with_fault(home, LIVES)
    with home.running() as running:
        assert answered(ask(running.url, "before"), "before")
        fault.write_text(DIES)
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
        fault.write_text(LIVES)
        running.until(lambda: home.status()["state"] == "running")
        assert answered(ask(running.url, "after"), "after")


@pytest.fixture
def fault(home: Home, provider: FakeProvider) -> Path:
    """What CCR dies of with the primary profile alone, when it is there."""
    document = home.use(provider)
    home.write("ccr-config-fallback.json", document | {"Router": {"default": f"acme,{SPARE}"}})
    home.write("ccr-config.json", fragile(document))
    return with_fault(home, LIVES)


@pytest.mark.ccr("2.0.0")  # CCR 3 goes back to it as it runs, and so does not die of it
def test_a_profile_that_ccr_dies_of(home: Home, fault: Path) -> None:
    """The other profile serves instead; the first one returns by itself when CCR lives with it,
    and is left at once should CCR die of it again."""
    home.env |= {"SYNCCR_RECOVERY_INTERVAL": "2", "SYNCCR_SWAP_COOLDOWN": "1"}
    with home.running() as running:
        assert home.status()["profile"] == "primary"
        fault.write_text(DIES)
        psutil.Process(home.status()["ccr"]["pid"]).kill()
        running.until(lambda: home.status()["profile"] == "fallback", 120)
        assert home.status()["last_swap"]["reason"] == "crashed"
        assert answered(ask(running.url, "elsewhere"), "elsewhere")
        fault.write_text(LIVES)
        running.until(lambda: home.status()["profile"] == "primary", 60)
        fault.write_text(DIES)
        psutil.Process(home.status()["ccr"]["pid"]).kill()
        assert answered(ask(running.url, "again"), "again")
        running.until(lambda: home.status()["profile"] == "fallback")


def test_a_person_who_does_not_wait_for_a_ccr_that_keeps_dying(home: Home, fault: Path) -> None:
    """``synccr swap`` is carried out between two tries."""
    with home.running() as running:
        fault.write_text(DIES)
        psutil.Process(home.status()["ccr"]["pid"]).kill()
        running.until(lambda: home.status()["state"] == "degraded")
        done = home.run("swap", "fallback", timeout=60)
        assert done.returncode == 0, done.stderr
        assert answered(ask(running.url, "asked"), "asked")
        running.until(lambda: home.status()["state"] == "running")


@pytest.mark.ccr("2.0.0", "3.1.1", seeds=(6, 2))
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
        ours = ccr_processes(home)[0]
        command, directory = ours.cmdline(), ours.environ()["HOME"]
    (instance,) = (home.root / ".local" / "state" / "synccr").glob("ccr-*")
    mark = {"_SYNCCR_INSTANCE": str(instance)}

    def begin(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        others.append(subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL))
        return others[-1]

    def ccr(root: Path, port: int, env: dict[str, str]) -> subprocess.Popen[bytes]:
        """A CCR of this home, started as ours was; it serves."""
        config = root / ".claude-code-router" / "config.json"
        if not config.exists():
            config.parent.mkdir(parents=True)
            config.write_text(json.dumps(profile("http://127.0.0.1:9", port)))
        own_page = [*command[:-1], str(free_port())] if "--port" in command else command
        env = home.env | {"HOME": str(root), "SERVICE_PORT": str(port)} | env
        process = begin(own_page, env)
        while not serves(port):
            time.sleep(0.05)
        return process

    ports = [free_port(), free_port()]
    orphan = ccr(Path(directory), ports[0], mark)
    other = ccr(tmp_path / "elsewhere", ports[1], {})
    bystander = begin([sys.executable, "-c", "import time; time.sleep(600)"], {**mark})
    with home.running() as running:
        assert orphan.wait(10) is not None
        assert answered(ask(running.url, "x"), "x")
        assert (other.poll(), bystander.poll()) == (None, None)
        assert serves(ports[1])


@pytest.mark.ccr("2.0.0")  # CCR 3 shares no directory with a person's
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
