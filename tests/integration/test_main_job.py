"""The main job on the real Claude Code Router, run as a user runs it."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from home import KEY, LONG, MAIN, SPARE, Home, message
from processes import started
from provider import FakeProvider
from synccr.ccr.process import identify

pytestmark = [pytest.mark.integration, pytest.mark.ccr("2.0.0", "3.1.1")]


@pytest.mark.ccr("2.0.0", "3.1.1", long=False)
def test_402_at_run_time_moves_to_the_fallback_and_no_client_sees_it(
    home: Home, provider: FakeProvider
) -> None:
    """Eight clients send requests while the main model runs out of credit: every answer
    is 200 and its own request's, the fallback profile serves, and the key is nowhere."""
    home.use(provider)
    wrong: list[str] = []
    done = threading.Event()
    count = 0

    def client(number: int) -> None:
        nonlocal count
        turn = 0
        with httpx.Client(timeout=60) as http:
            while not done.is_set():
                nonce = f"n{number}x{turn}"
                body = message(nonce, stream=bool(turn % 2))
                answer = http.post(f"http://127.0.0.1:{home.port}/v1/messages", json=body)
                turn += 1
                count += 1
                text = _text(answer.text) if turn % 2 == 0 else _whole(answer)
                if answer.status_code != 200 or text != nonce:
                    wrong.append(f"{answer.status_code} {nonce}: {answer.text[:300]}")

    with home.running() as running:
        with ThreadPoolExecutor(8) as pool:
            for number in range(8):
                pool.submit(client, number)
            time.sleep(0.5)
            provider.set(MAIN, "billing")
            status = running.until_profile("fallback")
            time.sleep(0.5)
            done.set()
        assert wrong == []
        assert count > 50
        assert status["last_swap"]["reason"] == "billing"
        assert status["last_swap"]["model"] == f"acme,{MAIN}"
        assert status["routes"]["default"] == f"acme,{SPARE}"
        terminal = running.log.read_text()
        line = next(text for text in terminal.splitlines() if "primary -> fallback" in text)
        assert "billing" in line
        assert "took" in line
        assert "Top up" in line
    assert running.process.returncode == 0
    assert home.where_is(KEY) == []
    assert home.run("status", "--json").returncode == 3


def _whole(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["content"][0]["text"])
    except (ValueError, KeyError, IndexError):
        return answer.text


def _text(stream: str) -> str:
    events = [json.loads(line[5:]) for line in stream.splitlines() if line.startswith("data:")]
    return "".join(e["delta"].get("text", "") for e in events if "delta" in e)


def test_main_model_returns_by_itself(home: Home, provider: FakeProvider) -> None:
    """A model that serves again, twice in a row, brings its profile back."""
    home.env |= {"SYNCCR_RECOVERY_INTERVAL": "1", "SYNCCR_SWAP_COOLDOWN": "0.5"}
    home.use(provider)
    with home.running() as running:
        provider.set(MAIN, "billing")
        httpx.post(f"{running.url}/v1/messages", json=message("x"), timeout=60)
        running.until_profile("fallback")
        provider.set(MAIN, "ok")
        status = running.until_profile("primary")
        assert status["routes"]["default"] == f"acme,{MAIN}"
        assert status["swaps"] == 2


def test_sampling_of_the_shipped_profile_arrives(home: Home, provider: FakeProvider) -> None:
    """The main model's parameters are in the provider's request as the profile says."""
    sampling = {
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
        "repetition_penalty": 1.05,
        "max_tokens": 65536,
    }
    document = home.use(provider)
    document["Providers"][0]["transformer"] = {MAIN: {"use": [["sampling", sampling]]}}
    home.write("ccr-config.json", document)
    with home.running() as running:
        provider.forget()
        httpx.post(f"{running.url}/v1/messages", json=message("x"), timeout=60)
    arrived = json.loads(provider.requests(MAIN)[0].raw)
    assert {name: arrived.get(name) for name in sampling} == sampling


@pytest.mark.parametrize("level", ["error", "debug", None])
def test_a_prompt_never_causes_a_swap(
    home: Home, provider: FakeProvider, level: str | None
) -> None:
    """Text that looks like CCR's own error line, typed by a user, moves nothing."""
    home.use(provider, **({"LOG_LEVEL": level} if level else {}))
    forged = f"[provider_response_error] Error from provider(acme,{MAIN}: 402): no credit"
    with home.running() as running:
        for text in (forged, json.dumps({"level": 50, "msg": forged}), f"echo:{forged}"):
            body = message("x") | {"messages": [{"role": "user", "content": text}]}
            body["system"] = [{"type": "text", "text": "s"}, {"type": "text", "text": forged}]
            httpx.post(f"{running.url}/v1/messages", json=body, timeout=60)
        time.sleep(1.5)
        status = home.status()
    assert (status["profile"], status["swaps"]) == ("primary", 0)


def test_ctrl_c_ends_everything_and_only_that(home: Home, provider: FakeProvider) -> None:
    """SIGINT ends supervisor and CCR; a stranger whose pid stands in CCR 2's file lives on."""
    home.use(provider)
    with started([sys.executable, "-c", "import time; time.sleep(600)"]) as stranger:
        home.ccr.mkdir(mode=0o700)
        (home.ccr / ".claude-code-router.pid").write_text(str(stranger.pid))
        with home.running() as running:
            pid = home.status()["ccr"]["pid"]
            if home.ccr_version.startswith("2"):  # CCR 3 has no such file
                assert int((home.ccr / ".claude-code-router.pid").read_text()) == pid
            running.process.send_signal(signal.SIGINT)
            assert running.process.wait(30) == 0
        assert identify(pid) is None  # dead; who inherits it may not have looked yet
        assert home.processes() == []
        assert stranger.poll() is None


def test_a_killed_ccr_is_replaced(home: Home, provider: FakeProvider) -> None:
    """After kill -9 of CCR a request waits for the next one and is answered."""
    home.use(provider)
    with home.running() as running:
        for turn in range(3):
            psutil.Process(home.status()["ccr"]["pid"]).kill()
            answer = httpx.post(f"{running.url}/v1/messages", json=message(f"t{turn}"), timeout=60)
            assert (answer.status_code, _whole(answer)) == (200, f"t{turn}")
        assert home.status()["ccr"]["restarts"] == 3


def test_a_killed_supervisor_leaves_nothing_broken(home: Home, provider: FakeProvider) -> None:
    """After kill -9 of the supervisor CCR is gone, the lock is free and the next start works."""
    home.use(provider)
    with home.running() as running:
        pid = home.status()["ccr"]["pid"]
        running.process.kill()
        running.process.wait()
        deadline = time.monotonic() + 10
        while psutil.pid_exists(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert identify(pid) is None  # dead; who inherits it may not have looked yet
    assert home.run("status", "--json").returncode == 3
    json.loads((home.ccr / "config.json").read_bytes())
    with home.running():
        assert home.status()["state"] == "running"


def test_detach_status_swap_restart_stop(home: Home, provider: FakeProvider) -> None:
    """The life of a supervisor in the background, with the contract's exit codes."""
    home.use(provider)
    assert home.run("start", "--detach").returncode == 0
    try:
        first = home.status()
        assert first["state"] == "running"
        assert first["endpoint"] == f"http://127.0.0.1:{home.port}"
        second = home.run("start")
        assert second.returncode == 7
        assert str(first["supervisor"]["pid"]) in second.stderr
        assert home.run("swap", "fallback").returncode == 0
        assert home.status()["profile"] == "fallback"
        assert home.run("swap", "primary").returncode == 0
        assert home.status()["routes"]["default"] == f"acme,{MAIN}"
        before = home.status()["ccr"]["pid"]
        assert home.run("restart").returncode == 0
        assert home.status()["ccr"]["pid"] != before
        asked = home.run("ask", "--route", "fallback", input="echo:piped")
        assert (asked.stdout, asked.returncode) == ("piped\n", 0)
        assert SPARE in asked.stderr
        assert f"ANTHROPIC_BASE_URL=http://127.0.0.1:{home.port}" in home.run("env").stdout
        assert "main-480b" in home.run("statusline", input="{}").stdout
    finally:
        assert home.run("stop").returncode == 0
    assert home.run("status").returncode == 3
    assert home.run("ask", "x").returncode == 3
    assert home.run("swap", "primary").returncode == 3
    assert home.run("statusline", input="{}").stdout == ""


def test_a_hand_written_configuration_becomes_the_profile(
    home: Home, provider: FakeProvider
) -> None:
    """A person's config.json in CCR's directory is used, kept, and left without an APIKEY."""
    document = home.use(provider)
    (home.config / "ccr-config.json").unlink()
    home.ccr.mkdir(mode=0o700)
    text = "// mine\n" + json.dumps(document)
    (home.ccr / "config.json").write_text(text)
    with home.running() as running:
        assert httpx.post(f"{running.url}/v1/messages", json=message("x")).status_code == 200
        written = json.loads((home.ccr / "config.json").read_bytes())
        assert "APIKEY" not in written
        assert written["LOG_LEVEL"] == "error"
    assert (home.config / "ccr-config.json").read_text() == text
    kept = [path.read_text() for path in home.ccr.glob("config.json.*")]
    assert text in kept


def test_an_edit_while_it_runs_is_applied_by_a_swap(home: Home, provider: FakeProvider) -> None:
    """A profile edited while it runs takes effect; a broken edit is reported and does not."""
    document = home.use(provider)
    with home.running() as running:
        document["Router"]["default"] = f"acme,{LONG}"
        home.write("ccr-config.json", document)
        running.until(lambda: home.status()["routes"]["default"] == f"acme,{LONG}")
        home.write("ccr-config.json", '{"Providers": [')
        running.until(lambda: "not applied" in running.log.read_text())
        status = home.status()
    assert (status["state"], status["routes"]["default"]) == ("running", f"acme,{LONG}")


def test_an_edit_of_the_written_file_is_carried_over(home: Home, provider: FakeProvider) -> None:
    """What a person changes in CCR's own config.json becomes part of the profile."""
    home.use(provider)
    with home.running() as running:
        written = json.loads((home.ccr / "config.json").read_bytes())
        written["Router"]["background"] = f"acme,{SPARE}"
        (home.ccr / "config.json").write_text(json.dumps(written))
        running.until(lambda: home.status()["routes"].get("background") == f"acme,{SPARE}")
    kept = json.loads((home.config / "ccr-config.json").read_bytes())
    assert kept["Router"]["background"] == f"acme,{SPARE}"
    assert kept["Router"]["default"] == f"acme,{MAIN}"


@pytest.mark.ccr("1.0.73", long=False)
def test_version_1_works_too(home: Home, provider: FakeProvider) -> None:
    """CCR 1.0.73 has no in-flight fallback, but a 402 in its log moves it all the same."""
    home.use(provider)
    with home.running() as running:
        provider.set(MAIN, "billing")
        httpx.post(f"{running.url}/v1/messages", json=message("x"), timeout=60)
        running.until_profile("fallback")
        answer = httpx.post(f"{running.url}/v1/messages", json=message("later"), timeout=60)
        assert (answer.status_code, _whole(answer)) == (200, "later")


@pytest.mark.ccr("2.0.0", "3.1.1", long=False)
def test_the_demo_runs_and_leaves_nothing(home: Home) -> None:
    """``synccr demo`` needs no key and no configuration, and removes what it made."""
    home.env["TMPDIR"] = str(home.root)
    done = home.run("demo", "--ccr", home.ccr_version, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert home.ccr_version in done.stdout
    assert "primary -> fallback" in done.stdout
    assert list(home.root.glob("synccr-demo-*")) == []
