"""The doctor on CCR 3: whose data it finds, and what CCR 3 left in Claude Code's settings."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ccr_kit import make_paths

from ccr3_capture import UPGRADED
from ccr3_kit import checksums, lay_out, write_database
from ports import free_port
from synccr.config.ccr3 import database
from synccr.config.ccr3.database import DATABASE
from synccr.config.ccr_file import ConfigFile
from synccr.config.keys import below
from synccr.config.store import FILES, decline, offered_keys, recorded
from synccr.doctor.checks import ccr, ccr3, client, configuration
from synccr.doctor.context import Context
from synccr.doctor.result import Diagnosis
from synccr.paths import Paths

OWN = {"Providers": UPGRADED["Providers"], "Router": UPGRADED["Router"]}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = make_paths(tmp_path)
    paths.ccr_config.unlink()
    paths.config.mkdir(exist_ok=True)
    return paths


def context(paths: Paths, **environ: str) -> Context:
    home = paths.ccr.parent
    known = {"HOME": str(home), "PATH": "/nonexistent", **environ}
    return Context(paths, below(known, offered_keys(paths, known)), cwd=home)


def native(paths: Paths) -> None:
    lay_out(paths.ccr.parent, "native")


def upgraded(paths: Paths) -> None:
    lay_out(paths.ccr.parent, "upgraded")


def with_profile(paths: Paths) -> None:
    upgraded(paths)
    (paths.config / FILES["primary"]).write_text(json.dumps(OWN))


def with_config_json(paths: Paths) -> None:
    upgraded(paths)
    paths.ccr_config.write_text(json.dumps(OWN))


def with_written(paths: Paths) -> None:
    """synccr has run on the profile that comes with it."""
    native(paths)
    with recorded(paths, "primary", OWN):
        ConfigFile(paths).write(OWN)


def upgraded_and_ran(paths: Paths) -> None:
    upgraded(paths)
    with recorded(paths, "primary", {}):
        pass


def declined(paths: Paths) -> None:
    native(paths)
    decline(paths)


def no_provider(paths: Paths) -> None:
    write_database(paths.ccr, {}).close()


def garbage(paths: Paths) -> None:
    (paths.ccr / DATABASE).write_bytes(b"no database")


@pytest.mark.parametrize(
    ("make", "level", "words"),
    [
        (lambda _: None, "ok", ("no data of CCR 3",)),
        (native, "ok", ("the first synccr start takes it",)),
        (declined, "ok", ("synccr init takes it",)),
        (with_written, "ok", ("synccr init takes it", "neither reads nor removes the config.json")),
        (upgraded, "warn", ("dropped its routes", "default acme,vendor/main-480b",
                            "the first synccr start takes it")),
        (upgraded_and_ran, "warn", ("dropped its routes", "synccr init takes it")),
        (with_profile, "ok", ("leaves it as it is", FILES["primary"])),
        (with_config_json, "ok", ("neither reads nor removes", "config.json)")),
        (no_provider, "ok", ("no provider yet",)),
        (garbage, "warn", ("no configuration of CCR 3",)),
    ],
)  # fmt: skip
def test_whose_data_it_is(
    paths: Paths, make: Callable[[Paths], None], level: str, words: tuple[str, ...]
) -> None:
    """Data of CCR 3 are no fault; routes that are missed are told, with what brings them back."""
    make(paths)
    before = checksums(paths.ccr)
    found = ccr3.generation3(context(paths))
    assert found.level == level
    for word in words:
        assert word in found.detail
    if level == "warn":
        assert found.fix
        assert ("init" in found.fix) == ("routes" in found.detail)
    assert "key-of" not in f"{found}"
    assert checksums(paths.ccr) == before


def test_data_that_are_being_written(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    declined(paths)
    where = context(paths)
    numbers = iter(range(1000))
    monkeypatch.setattr(database, "_PAUSE", 0)
    monkeypatch.setattr(database, "_state", lambda _: ((next(numbers),), None))
    found = ccr3.generation3(where)
    assert (found.level, "is writing it" in found.detail) == ("warn", True)


@pytest.mark.parametrize(("make", "level"), [(lambda _: None, "fail"), (native, "warn")])
def test_a_global_ccr_3(
    paths: Paths, tmp_path: Path, make: Callable[[Paths], None], level: str
) -> None:
    """It takes config.json away as long as it has no data of its own."""
    make(paths)
    root = tmp_path / "lib/node_modules/@musistudio/claude-code-router"
    program = root / "dist/cli.js"
    program.parent.mkdir(parents=True)
    program.write_text("")
    program.chmod(0o700)
    (root / "package.json").write_text('{"version": "3.1.1"}')
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ccr").symlink_to(program)
    found = ccr.global_ccr(context(paths, PATH=str(tmp_path / "bin")))
    assert (found.level, "takes config.json away" in found.detail) == (level, level == "fail")
    assert "rewrites Claude Code's settings" in found.detail


def test_a_profile_that_is_ccr_3s_is_edited_where_it_will_be(paths: Paths) -> None:
    """No line opens or changes the database."""
    upgraded(paths)
    found = context(paths)
    line = found.edit(found.profiles.primary)
    assert "init &&" in line
    assert str(paths.config / FILES["primary"]) in line
    old = {k: v for k, v in UPGRADED.items() if k != "APIKEY"}
    (paths.ccr / DATABASE).unlink()
    (paths.ccr / f"{DATABASE}-wal").unlink()
    files = (json.dumps(old).encode(),)
    with closing(write_database(paths.ccr, UPGRADED, imported=files)):
        open_port = configuration.api_key(context(paths))
    assert (open_port.level, open_port.repair) == ("warn", None)
    assert "init &&" in str(open_port.fix)


# ------------------------------------------------------------ Claude Code's settings


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def points(
    paths: Paths, status: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> Diagnosis:
    monkeypatch.setattr(Context, "status_or_error", lambda _self: status)
    return client.points(context(paths, ANTHROPIC_API_KEY=""))


def settings_of(paths: Paths) -> Path:
    return paths.ccr.parent / ".claude/settings.json"


def test_settings_that_lead_to_a_dead_port(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are mended with a copy beside them, and nothing of CCR 3's is touched."""
    own = lay_out(paths.ccr.parent, "native", port=free_port())
    settings = settings_of(paths)
    document = json.loads(settings.read_bytes())
    document["model"] = "opus"
    settings.write_text(json.dumps(document))
    before, data = checksums(settings.parent), checksums(own)
    found = points(paths, None, monkeypatch)
    assert (found.level, "where nobody listens" in found.detail) == ("fail", True)
    assert "doctor --fix client.points" in str(found.fix)
    assert checksums(settings.parent) == before
    assert found.repair
    assert str(settings) in found.repair()
    assert json.loads(settings.read_bytes()) == {"model": "opus"}
    assert settings.stat().st_mode & 0o777 == 0o600
    (copy,) = settings.parent.glob("settings.json.*.bak")
    assert json.loads(copy.read_bytes()) == document
    after = checksums(settings.parent)
    assert {k: v for k, v in after.items() if k not in (copy.name, settings.name)} == {
        k: v for k, v in before.items() if k != settings.name
    }
    assert checksums(own) == data
    assert points(paths, None, monkeypatch).level == "ok"
    assert "meanwhile" in found.repair()  # a second time nothing is left to do


def test_what_ccr_3_changed_comes_back(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its own copy."""
    lay_out(paths.ccr.parent, "native", port=free_port())
    settings = settings_of(paths)
    original = settings.with_name("settings.json.ccr-original")
    original.write_text(json.dumps({"apiKeyHelper": "/bin/mine", "env": {"ANTHROPIC_MODEL": "x"}}))
    found = points(paths, None, monkeypatch)
    assert found.repair
    found.repair()
    assert json.loads(settings.read_bytes()) == {"apiKeyHelper": "/bin/mine", "env": {}}


def test_settings_that_lead_to_a_ccr_3_that_runs(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, listening: int
) -> None:
    """They are its own as long as it runs."""
    lay_out(paths.ccr.parent, "native", port=listening)
    decline(paths)  # synccr is elsewhere
    found = points(paths, None, monkeypatch)
    assert (found.level, found.repair) == ("fail", None)
    assert "End CCR 3, then" in found.detail


def test_a_key_of_ccr_3_for_synccr(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, listening: int
) -> None:
    """The port is synccr's now; the key that Claude Code sends is not."""
    lay_out(paths.ccr.parent, "native", port=listening)
    status = {"endpoint": f"http://127.0.0.1:{listening}"}
    found = points(paths, status, monkeypatch)
    assert (found.level, "send CCR 3's key to synccr" in found.detail) == ("fail", True)
    assert found.repair


def test_an_administrators_settings_are_not_changed(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(paths.ccr.parent, "native", port=free_port())
    settings = settings_of(paths)
    monkeypatch.setattr(Context, "status_or_error", lambda _self: None)
    where = context(paths)
    where.managed = (settings,)
    found = client.points(where)
    assert found.repair is None
