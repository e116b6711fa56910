"""What other commands say beside a synccr that runs is what runs, and they leave it in peace."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from home import KEY, MAIN, SPARE, Home, free_port, message, profile
from synccr.sandbox import ProviderThread

pytestmark = pytest.mark.integration

TOKEN = "of-the-local-port-8e21"


def other_profile(home: Home, provider: ProviderThread, port: int) -> Path:
    """A profile that is not in its usual place, with a key of its own."""
    document = profile(provider.url("openai"), port, APIKEY="$PORT_KEY")
    path = home.root / "other.json"
    path.write_text(json.dumps(document))
    return path


def test_models_says_what_traffic_showed(home: Home, provider: ProviderThread) -> None:
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


def test_commands_speak_of_what_runs(home: Home, provider: ProviderThread) -> None:
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
        assert status["options"] == {"config": str(other), "fallback_config": None, "port": port}
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
