"""The directory that CCR 3 runs in, broken while it runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import fault_kit as kit
from fault_kit import FULL, Ledger
from home import MAIN, Home, message
from provider import FakeProvider

pytestmark = [
    pytest.mark.faults,
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.ccr(kit.CCR3),
]


def remove(*names: str) -> Callable[[Path], None]:
    def now(directory: Path) -> None:
        for name in names:
            for path in directory.rglob(name):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return now


def break_routes(directory: Path) -> None:
    (directory / ".claude-code-router" / "routes.json").write_text('{"routes": {"defa')


def forge_owner(directory: Path) -> None:
    (directory / "owner.json").write_text('[1, "then"]')


HARMLESS: dict[str, Callable[[Path], None]] = {
    "the database removed": remove("config.sqlite*", "app-data"),
    "the owner forged": forge_owner,
    "the spool removed": remove("user-data"),
}
GONE: dict[str, Callable[[Path], None]] = {
    "all removed": shutil.rmtree,
    "routes removed": remove("routes.json"),
}


def ask(home: Home, nonce: str = "x") -> httpx.Response:
    url = f"http://127.0.0.1:{home.port}/v1/messages"
    return httpx.post(url, json=message(nonce), timeout=60)


@pytest.mark.parametrize("name", HARMLESS if FULL else list(HARMLESS)[:1])
def test_a_402_is_seen_after(home: Home, provider: FakeProvider, ledger: Ledger, name: str) -> None:
    """CCR goes on, a model that runs out of credit is noticed, and no request fails."""
    home.use(provider)
    supervisor = kit.start(home)
    try:
        with ledger.fault(f"run directory: {name}"):
            (directory,) = kit.run_directories(home)
            HARMLESS[name](directory)
            provider.set(MAIN, "billing")
            assert ask(home).status_code == 200
            kit.until(lambda: kit.status(home)["profile"] == "fallback", 30, "the 402 is seen")
            assert ask(home).status_code == 200
            assert kit.status(home)["ccr"]["restarts"] == 0
    finally:
        kit.stop(supervisor)
    kit.assert_whole(home)


@pytest.mark.parametrize("name", GONE if FULL else list(GONE)[:1])
def test_what_was_removed_comes_back(
    home: Home, provider: FakeProvider, ledger: Ledger, name: str
) -> None:
    """What CCR reads for each request is put back, and the same CCR serves again; what is broken
    is whole after a restart."""
    home.env["SYNCCR_HEALTH_INTERVAL"] = "0.5"
    home.use(provider)
    supervisor = kit.start(home)
    try:
        with ledger.fault(f"run directory: {name}"):
            pid = kit.status(home)["ccr"]["pid"]
            (directory,) = kit.run_directories(home)
            GONE[name](directory)
            kit.until(lambda: ask(home).status_code == 200, 30, "requests are answered again")
            assert kit.status(home)["ccr"]["pid"] == pid
            assert home.run("swap", "fallback").returncode == 0
            assert ask(home).status_code == 200
        with ledger.fault("run directory: routes broken"):
            break_routes(directory)
            assert ask(home).status_code == 400
            assert home.run("restart").returncode == 0
            answer = ask(home, "after")
            assert (answer.status_code, kit.whole(answer)) == (200, "after")
    finally:
        kit.stop(supervisor)
    kit.assert_whole(home)
