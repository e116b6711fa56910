"""People who have CCR 3: synccr takes what they configured, and changes nothing of CCR 3's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from ccr3_kit import checksums, lay_out
from home import KEY, LONG, MAIN, SPARE, Home, message
from provider import FakeProvider
from synccr.config.keys import read_keys
from terminal import SYNCCR, in_terminal, plain

pytestmark = pytest.mark.integration

OF_ACME, OF_PORT = "key-of-acme-7a1c", "key-of-the-port-3f1d"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """It takes the key that CCR 3 has."""
    with FakeProvider({MAIN: "ok", SPARE: "ok", LONG: "ok"}, key=OF_ACME) as provider:
        yield provider


@pytest.fixture
def upgraded_provider() -> Iterator[FakeProvider]:
    """It takes the key that the old config.json names."""
    with FakeProvider({MAIN: "ok", SPARE: "ok", LONG: "ok"}, key=KEY) as provider:
        yield provider


def beside(home: Home, name: str, provider: FakeProvider) -> dict[str, str]:
    """A home that CCR 3 has left; the checksums of what is there."""
    del home.env["ACME_KEY"]
    lay_out(home.root, name, origin=provider.base_url, port=home.port)
    return of_ccr3(home)


def of_ccr3(home: Home) -> dict[str, str]:
    """Of Claude Code's settings and of CCR's directory, but for what CCR 2 and synccr have
    there."""
    own = ("config.json", "logs", ".claude-code-router.pid", "plugins", "presets")
    found = {
        f"{room}/{name}": sum_
        for room in (".claude", ".claude-code-router")
        for name, sum_ in checksums(home.root / room).items()
    }
    return {n: s for n, s in found.items() if n.split("/")[1] not in own or "sqlite" in n}


def ask(home: Home, nonce: str, model: str = "claude-sonnet-4") -> httpx.Response:
    return httpx.post(
        f"http://127.0.0.1:{home.port}/v1/messages",
        json=message(nonce, model=model),
        headers={"x-api-key": OF_PORT},
        timeout=60,
    )


def test_start_takes_what_was_configured_in_ccr_3(home: Home, provider: FakeProvider) -> None:
    """Routes, port and keys; it is said once, a fresh start reads synccr's own files, and after
    doctor, restart and stop CCR 3's files are as they were."""
    before = beside(home, "native", provider)
    with home.running() as running:
        said = running.log.read_text()
        assert said.count("is the primary profile; it is kept as") == 1
        assert "Not taken: provider off: it is switched off" in said
        answer = ask(home, "hello")
        assert (answer.status_code, "hello" in answer.text) == (200, True)
        assert ask(home, "x", "claude-3-5-haiku").status_code == 200
        asked = [r.model for r in provider.requests() if b"echo:" in r.raw]
        assert asked == [MAIN, SPARE]
        environ = psutil.Process(home.status()["ccr"]["pid"]).environ()
        assert OF_ACME not in environ.values()
        refused = httpx.post(f"http://127.0.0.1:{home.port}/v1/messages", json=message("no"))
        assert refused.status_code == 401
        assert home.run("doctor").returncode in (0, 1)
        assert home.run("restart").returncode == 0
        assert ask(home, "again").status_code == 200
    assert home.run("start", "--detach").returncode == 0
    assert "kept as" not in home.run("stop").stderr
    assert of_ccr3(home) == before
    assert read_keys(home.config / "keys.env")["ACME_API_KEY"] == OF_ACME
    own = {home.config / "keys.env", *home.ccr.glob("config.sqlite*")}
    assert set(home.where_is(OF_ACME)) <= own


def test_routes_that_an_upgrade_dropped_come_back(
    home: Home, upgraded_provider: FakeProvider
) -> None:
    """Doctor tells of them, the first start has them, and then all is in order."""
    before = beside(home, "upgraded", upgraded_provider)
    seen = json.loads(home.run("doctor", "--json", "ccr.generation3").stdout)["checks"][0]
    assert (seen["status"], "dropped its routes" in seen["detail"]) == ("warn", True)
    assert seen["fix"].endswith("synccr init")
    started = home.run("start", "--detach")
    assert started.returncode == 0, started.stderr
    assert "took over" in started.stderr
    assert ask(home, "hello").status_code == 200
    assert home.status()["routes"]["longContext"] == f"acme,{LONG}"
    profile = json.loads((home.config / "ccr-config.json").read_bytes())
    assert profile["Providers"][0]["api_key"] == "$ACME_KEY"
    assert read_keys(home.config / "keys.env")["ACME_KEY"] == KEY
    after = json.loads(home.run("doctor", "--json", "ccr.generation3").stdout)["checks"][0]
    assert after["status"] == "ok"
    assert home.run("stop").returncode == 0
    assert of_ccr3(home) == before


@pytest.mark.parametrize(("typed", "yes"), [(b"y\n", True), (b"\n", True), (b"n\n\n", False)])
def test_init_asks(home: Home, provider: FakeProvider, typed: bytes, yes: bool) -> None:
    """It shows what it would take. A no holds for the next start, too."""
    before = beside(home, "native", provider)
    environ = home.env | ({} if yes else {"SYNTHETIC_API_KEY": "x-not-for-anybody"})
    done = in_terminal([*SYNCCR, "init", "--no-check"], environ, keys=typed, columns=200)
    shown = plain(done.text)
    assert done.code == 0, shown
    assert "CCR 3 is configured here" in shown
    assert f"Providers: acme, anth, pool; routes: background acme,{SPARE}" in shown
    assert "Not taken: provider off" in shown
    assert "key-of" not in shown
    own = home.config / "ccr-config.json"
    assert own.exists() is yes
    assert (home.config / "keys.env").exists() is yes
    checked = json.loads(home.run("doctor", "--json", "config.valid").stdout)["checks"][0]
    assert (str(own) in checked["detail"]) is yes
    assert "config.sqlite" not in checked["detail"]
    assert of_ccr3(home) == before


@pytest.mark.parametrize("arguments", [(), ("--key-from", "ACME_KEY")])
def test_init_without_a_terminal_takes_what_start_would(
    home: Home, provider: FakeProvider, arguments: tuple[str, ...]
) -> None:
    """And says so; a newer key of the environment counts."""
    before = beside(home, "upgraded", provider)
    wanted = KEY
    if arguments:
        wanted = home.env["ACME_KEY"] = "key-that-is-newer-55"
    done = home.run("init", "--no-check", *arguments)
    assert done.returncode == 0, done.stderr
    assert "took over" in done.stderr
    assert ("another value here" in done.stderr) == bool(arguments)
    assert (home.config / "ccr-config.json").exists()
    assert read_keys(home.config / "keys.env")["ACME_KEY"] == wanted
    assert of_ccr3(home) == before


def test_a_database_that_is_none(home: Home, provider: FakeProvider) -> None:
    """It is told beside the profile that is used instead, and left as it is."""
    beside(home, "native", provider)
    broken = home.ccr / "config.sqlite"
    broken.write_bytes(b"no database")
    (home.ccr / "config.sqlite-wal").unlink()  # it has every page
    home.env["SYNTHETIC_API_KEY"] = "x-not-for-anybody"
    done = home.run("init", "--no-check")
    assert done.returncode == 0
    assert f"{broken} is no configuration of CCR 3" in done.stderr
    assert "Traceback" not in done.stderr
    assert broken.read_bytes() == b"no database"


def test_nothing_is_left_in_temporary_directories(
    home: Home, provider: FakeProvider, tmp_path: Path
) -> None:
    """The copy of the database goes away."""
    beside(home, "native", provider)
    place = tmp_path / "tmp"
    place.mkdir()
    home.env["TMPDIR"] = str(place)
    assert home.run("init", "--no-check").returncode == 0
    assert list(place.iterdir()) == []
