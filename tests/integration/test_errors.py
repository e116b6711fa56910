"""Every failure the contract names: one sentence, the right exit code, nothing changed."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from home import KEY, LONG, MAIN, SPARE, Home, profile
from provider import FakeProvider

pytestmark = [pytest.mark.integration, pytest.mark.long]


def refused(home: Home, code: int, *words: str, command: tuple[str, ...] = ("start",)) -> str:
    """Run a command that has to fail, and check how."""
    before = {path: path.read_bytes() for path in home.ccr.rglob("*") if path.is_file()}
    done = home.run(*command, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    assert KEY not in said
    for word in words:
        assert word in said
    assert {path: path.read_bytes() for path in home.ccr.rglob("*") if path.is_file()} == before
    return said


def broken(change: Any) -> Any:
    document = profile("http://127.0.0.1:1/v1/chat/completions", 3456)
    change(document)
    return document


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{ not json", ("line 1",)),
        ("[]", ("the document",)),
        (broken(lambda d: d.update(Providers=[])), ("Providers", "empty")),
        (broken(lambda d: d.update(Providers={})), ("Providers", "an object")),
        (broken(lambda d: d["Providers"].append(d["Providers"][0])), ("Providers[1].name",)),
        (broken(lambda d: d["Router"].update(default="acne,x")), ("Router.default", "acme,x")),
        (broken(lambda d: d["Router"].update(default=["a"])), ("Router.default", "a list")),
        (broken(lambda d: d["Router"].update(default="${X}")), ("Router.default", "variables")),
        (broken(lambda d: d["Providers"][0].update(models="m")), ("models", "text")),
        (broken(lambda d: d["Providers"][0].update(api_key="$NO_SUCH")), ("NO_SUCH", "export")),
    ],
)
@pytest.mark.parametrize("command", [("models",), ("heal",), ("start",)])
def test_a_profile_that_cannot_be_used(
    home: Home, document: Any, words: tuple[str, ...], command: tuple[str, ...]
) -> None:
    """Exit 4 with file and place, and nothing is written for CCR."""
    path = home.write("ccr-config.json", document)
    refused(home, 4, str(path), *words, command=command)
    assert not home.ccr.exists()


def test_no_model_serves(home: Home, provider: FakeProvider) -> None:
    """Exit 5, with what each model said and what to do."""
    home.use(provider)
    for model in (MAIN, SPARE, LONG):
        provider.set(model, "billing")
    refused(home, 5, "billing", "Top up")
    refused(home, 5, "billing", command=("heal",))
    refused(home, 5, "billing", command=("models",))


def test_statuses_of_models(home: Home, provider: FakeProvider) -> None:
    """402, 404 and a spent cap are told apart; exit 1 when a route had to move."""
    home.use(provider)
    provider.set(MAIN, "billing")
    provider.set(LONG, "spent_cap")
    done = home.run("models", "--json")
    found = {row["model"]: row["status"] for row in json.loads(done.stdout)["models"]}
    assert found == {MAIN: "billing", SPARE: "ok", LONG: "quota"}
    assert done.returncode == 1
    provider.set(MAIN, "missing")
    provider.set(LONG, "unavailable")
    done = home.run("models", "--json", "--fresh")
    rows = {row["model"]: row for row in json.loads(done.stdout)["models"]}
    assert (rows[MAIN]["status"], rows[LONG]["status"]) == ("missing", "missing")
    assert rows[MAIN]["alternatives"][0] == f"acme,{SPARE}"


def test_dry_run_writes_nothing(home: Home, provider: FakeProvider) -> None:
    """``heal --dry-run`` shows the change; ``heal`` then writes it with mode 0600."""
    home.use(provider)
    provider.set(MAIN, "billing")
    dry = json.loads(home.run("heal", "--dry-run", "--json").stdout)
    assert not dry["written"]
    assert not (home.ccr / "config.json").exists()
    done = json.loads(home.run("heal", "--json").stdout)
    assert done["written"]
    assert done["changes"] == dry["changes"]
    written = home.ccr / "config.json"
    assert json.loads(written.read_bytes())["Router"]["default"] == f"acme,{SPARE}"
    assert written.stat().st_mode & 0o777 == 0o600


def test_port_taken(home: Home, provider: FakeProvider) -> None:
    """Exit 7, with who has it."""
    home.use(provider)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", home.port))
        taken.listen()
        refused(home, 7, str(home.port), f"pid {os.getpid()}")


def test_npm_offline_with_nothing_cached(
    home: Home, provider: FakeProvider, tmp_path: Path
) -> None:
    """Exit 6: nothing is cached and the registry cannot be reached."""
    home.use(provider)
    shutil.rmtree(home.cache / "ccr")
    home.env["npm_config_cache"] = str(tmp_path / "empty")
    home.env["npm_config_registry"] = "http://127.0.0.1:9"
    home.env["npm_config_fetch_retries"] = "0"
    refused(home, 6)


@pytest.mark.parametrize("version", ["3.1.0", "latest", "9.9.9"])
def test_a_version_that_cannot_be_run(home: Home, provider: FakeProvider, version: str) -> None:
    """A version that synccr does not know how to run, or that does not exist, is said."""
    home.use(provider)
    home.env["SYNCCR_CCR_VERSION"] = version
    done = home.run("start")
    assert done.returncode in (2, 6)
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_names_the_right_one(home: Home) -> None:
    """Exit 2 and the nearest name."""
    home.env["SYNCCR_SWAP_COLDOWN"] = "3"
    done = home.run("models")
    assert done.returncode == 2
    assert "SYNCCR_SWAP_COOLDOWN" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("--help",), ("nonsense",), ("swap", "sideways"), ("events",)]
)
def test_pipes_that_close_early(home: Home, arguments: tuple[str, ...]) -> None:
    """``| head -1`` never shows a traceback."""
    import subprocess
    import sys

    line = f"{sys.executable} -m synccr {' '.join(arguments)} 2>&1 | head -1"
    done = subprocess.run(
        ["sh", "-c", line], env=home.env, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr
