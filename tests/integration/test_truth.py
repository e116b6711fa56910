"""What other commands say beside a synccr that runs is what runs, and they leave it in peace."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from home import KEY, MAIN, SPARE, Home, message, profile
from ports import free_port
from provider import FakeProvider
from synccr.ccr.process import identify

pytestmark = [pytest.mark.integration, pytest.mark.long]

TOKEN = "of-the-local-port-8e21"


def other_profile(home: Home, provider: FakeProvider, port: int) -> Path:
    """A profile that is not in its usual place, with a key of its own."""
    document = profile(provider.url("openai"), port, APIKEY="$PORT_KEY")
    path = home.root / "other.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.ccr("2.0.0", "3.1.1")
def test_models_says_what_traffic_showed(home: Home, provider: FakeProvider) -> None:
    """A model that ran out of credit a moment ago is so in ``models``, whose record of the
    preflight at the start is still young; and so is the move in ``heal``."""
    home.use(provider)
    with home.running() as running:
        provider.set(MAIN, "billing")
        httpx.post(f"{running.url}/v1/messages", json=message("x"), trust_env=False)
        running.until_profile("fallback")
        done = home.run("models", "--json")
        states = {row["model"]: row["status"] for row in json.loads(done.stdout)["models"]}
        assert (states[MAIN], done.returncode) == ("billing", 1)
        assert states == {row["model"]: row["status"] for row in home.status()["models"]}
        changes = json.loads(home.run("heal", "--json").stdout)["changes"]
        assert "Router.default" in {change["path"] for change in changes}


@pytest.mark.ccr("2.0.0", "3.1.1")
@pytest.mark.skipif(sys.platform == "win32", reason="nothing is suspended on Windows")
@pytest.mark.parametrize("deaf", [False, True], ids=["suspended", "deaf"])
def test_a_supervisor_that_does_not_answer_is_stopped(
    home: Home, provider: FakeProvider, *, deaf: bool
) -> None:
    """``restart`` names it and the remedy at once; ``stop`` resumes one that was suspended, which
    then ends as ever, and kills one that hears no signal; CCR goes with it."""
    home.use(provider)
    with home.running() as running:
        pid = running.process.pid
        ccr = home.status()["ccr"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        refused = home.run("restart")
        assert time.monotonic() - begin < 20
        assert (refused.returncode, f"kill -CONT {pid}" in refused.stderr) == (1, True)
        with contextlib.ExitStack() as held:
            if deaf:  # suspended again as often as it is resumed
                stop = threading.Event()
                thread = threading.Thread(target=_suspend, args=(pid, stop))
                thread.start()
                held.callback(thread.join)
                held.callback(stop.set)
            done = home.run("stop")
        assert (done.returncode, f"pid {pid}" in done.stderr) == (0, True), done.stderr
        assert running.process.wait(30) == (-signal.SIGKILL if deaf else 0)
        assert identify(ccr) is None
    assert home.processes() == []


def _suspend(pid: int, stop: threading.Event) -> None:
    with contextlib.suppress(ProcessLookupError):
        while not stop.wait(0.0005):
            os.kill(pid, signal.SIGSTOP)


@pytest.mark.ccr("2.0.0", "3.1.1")
def test_commands_speak_of_what_runs(home: Home, provider: FakeProvider) -> None:
    """With a profile, a port and a key that were named at the start alone: ``heal`` shows, writes
    nothing and refuses other files; ``ask`` and ``env`` have the key of what runs, in a shell
    without its variable, too; ``models`` and ``doctor`` look at the same files and port."""
    home.use(provider)
    port = free_port()
    other = other_profile(home, provider, free_port())
    provider.set(MAIN, "billing")
    home.env["PORT_KEY"] = TOKEN
    with home.running("--config", str(other), "--port", str(port)):
        del home.env["PORT_KEY"]
        config = (home.ccr / "config.json").read_bytes()
        status = home.status()
        given = {"config": str(other), "fallback_config": None, "port": port, "log_level": None}
        assert status["options"] == given
        assert status["sources"]["primary"] == str(other)
        assert TOKEN not in json.dumps(status)

        healed = home.run("heal", "--json")
        assert healed.returncode == 0, healed.stderr
        document = json.loads(healed.stdout)
        assert (document["written"], document["backup"]) == (False, None)
        moved = {c["path"]: c["after"] for c in document["changes"]}
        assert moved["Router.default"] == f"acme,{SPARE}"
        assert f"pid {status['supervisor']['pid']}" in home.run("heal").stderr
        assert home.run("heal", "--config", str(other), "--json").returncode == 0
        for options in (
            ["--port", str(home.port)],
            ["--config", str(home.config / "ccr-config.json")],
        ):
            refused = home.run("heal", *options)
            assert refused.returncode == 7, refused.stderr
            assert str(other) in refused.stderr
            assert home.run("heal", *options, "--dry-run").returncode == 0
        assert (home.ccr / "config.json").read_bytes() == config

        assert home.run("ask", "echo:still-here").stdout.strip() == "still-here"
        assert f"ANTHROPIC_AUTH_TOKEN={TOKEN}" in home.run("env", "--shell", "bash").stdout

        (home.config / "ccr-config.json").write_text("{}")  # not what runs
        assert home.run("models").returncode == 1
        done = home.run("doctor", "port", "config.valid", "--json")
        rows = {row["id"]: row for row in json.loads(done.stdout)["checks"]}
        assert rows["port.free"]["detail"] == f"synccr serves at http://127.0.0.1:{port}"
        assert str(other) in rows["config.valid"]["detail"]
        assert KEY not in done.stdout + healed.stdout


@pytest.mark.ccr("2.0.0")  # CCR 3 writes no log
def test_a_log_level_that_was_asked_for(home: Home, provider: FakeProvider) -> None:
    """CCR's log has what ``start --log-level`` says, the start says what that means, and it stays
    over a restart; ``heal`` shows no other; without the option there are errors only again."""
    home.use(provider, LOG_LEVEL="warn")

    def written() -> str:
        return str(json.loads((home.ccr / "config.json").read_bytes())["LOG_LEVEL"])

    assert home.run("start", "--log-level", "loud").returncode == 2
    with home.running("--log-level", "debug") as running:
        assert "every prompt is written" in running.log.read_text()
        assert (home.status()["options"]["log_level"], written()) == ("debug", "debug")
        changes = json.loads(home.run("heal", "--json").stdout)["changes"]
        levels = [change["after"] for change in changes if change["path"] == "LOG_LEVEL"]
        assert levels == ["debug"]
        pid = home.status()["supervisor"]["pid"]
        assert home.run("restart").returncode == 0
        status = home.status()
        assert status["supervisor"]["pid"] != pid
        assert (status["options"]["log_level"], written()) == ("debug", "debug")
        prompt = message("a-prompt-in-the-log")
        httpx.post(f"{running.url}/v1/messages", json=prompt, trust_env=False)
        logs = (home.ccr / "logs").glob("*.log")
        assert any(b"a-prompt-in-the-log" in log.read_bytes() for log in logs)
        assert home.run("trace", "--json").returncode == 0
    with home.running() as running:
        assert "every prompt" not in running.log.read_text()
        assert (home.status()["options"]["log_level"], written()) == (None, "warn")
