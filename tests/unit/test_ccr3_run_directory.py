"""The directory of one CCR 3, and the environment that keeps CCR inside it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from synccr.ccr.process import ProcessId, identify
from synccr.ccr.v3 import run_directory
from synccr.ccr.v3.run_directory import ROUTER, RunDirectory
from synccr.files import write_atomic
from synccr.paths import Paths

HOME = "USERPROFILE" if os.name == "nt" else "HOME"


def make(root: Path, owner: ProcessId | None = None) -> RunDirectory:
    paths = Paths(root / "ccr", root / "config", root / "state", root / "cache", root / "log")
    ourselves = identify(os.getpid())
    assert ourselves
    return RunDirectory.make(paths, owner or ourselves)


def test_it_is_private_and_goes_away(tmp_path: Path) -> None:
    made = make(tmp_path)
    made.write({"Providers": []}, {"routes": {}})
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (made.path.parent, made.path, made.ccr)}
    assert modes == {0o700}
    files = [p for p in made.path.rglob("*") if p.is_file()]
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o600}
    assert made.router.read_bytes() == ROUTER.read_bytes()
    made.remove()
    assert not made.path.exists()


def test_those_of_the_dead_are_removed(tmp_path: Path) -> None:
    """Of a supervisor that was killed, and one that was killed before it wrote its name."""
    alive, dead = make(tmp_path), make(tmp_path, ProcessId(os.getpid(), "another"))
    nameless = dead.path.parent / "run-nameless"
    nameless.mkdir()
    newest = make(tmp_path)
    assert {p.name for p in newest.path.parent.iterdir()} == {alive.path.name, newest.path.name}


@pytest.mark.parametrize(
    "content", ["", "mine", '["1", 2]', '{"pid": 1, "started": "then"}', "7", "[" * 100_000]
)
def test_those_of_nobody_are_removed(tmp_path: Path, content: str) -> None:
    """Whatever stands where the owner is named."""
    left = make(tmp_path).path
    (left / "owner.json").write_text(content)
    make(tmp_path)
    assert not left.exists()


def test_one_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk, for example."""

    def full(path: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(run_directory, "_write", full)
    with pytest.raises(OSError, match="No space"):
        make(tmp_path)
    assert list(tmp_path.glob("state/*/ccr3/*")) == []
    assert list(tmp_path.glob("state/*/ccr3")) != []


def test_routes_are_replaced_as_a_whole(tmp_path: Path) -> None:
    """Whoever has the former file open reads it to its end."""
    made = make(tmp_path)
    made.write({}, {"routes": {"default": "a,one"}})
    with (made.ccr / "routes.json").open() as former:
        made.write_routes({"routes": {"default": "a,two"}})
        assert json.load(former)["routes"]["default"] == "a,one"
    assert json.loads((made.ccr / "routes.json").read_bytes())["routes"]["default"] == "a,two"
    shutil.rmtree(made.path)


@pytest.mark.parametrize("gone", ["", ".claude-code-router", "router.cjs", "routes.json"])
def test_what_was_removed_is_put_back(tmp_path: Path, gone: str) -> None:
    made = make(tmp_path)
    made.write({}, {"routes": {"default": "a,one"}})
    for path in [made.path] if not gone else list(made.path.rglob(gone)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    made.restore({"routes": {"default": "a,two"}})
    assert made.router.read_bytes() == ROUTER.read_bytes()
    assert json.loads((made.ccr / "routes.json").read_bytes())["routes"]["default"] == "a,two"
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (made.path, made.ccr)}
    assert modes == {0o700}


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    made = make(tmp_path)
    made.write({}, {"routes": {"default": "a,one"}})
    before = [(p, p.stat().st_mtime_ns, p.stat().st_ino) for p in sorted(made.ccr.iterdir())]
    made.restore({"routes": {"default": "a,two"}})
    after = [(p, p.stat().st_mtime_ns, p.stat().st_ino) for p in sorted(made.ccr.iterdir())]
    assert before == after


def test_nothing_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A swap writes here while requests wait, and no CCR outlives a power failure."""
    waited: list[int] = []
    monkeypatch.setattr(os, "fsync", waited.append)
    make(tmp_path).write({}, {})
    assert waited == []
    write_atomic(tmp_path / "kept", b"")
    assert len(waited) == (1 if os.name == "nt" else 2)


def test_nothing_leads_ccr_elsewhere(tmp_path: Path) -> None:
    """Neither to the person's settings, nor past the egress, nor to another program."""
    made = make(tmp_path)
    person = {
        HOME: "/home/person",
        "PATH": "/bin",
        "XDG_CONFIG_HOME": "/home/person/.config",
        "https_proxy": "http://proxy.example:1",
        "HTTP_PROXY": "http://proxy.example:1",
        "All_Proxy": "socks5://proxy.example:1",
        "NO_PROXY": "localhost",
        "CCR_GATEWAY_ENTRY": "/home/person/own.js",
        "ccr_raw_trace_enabled": "1",
        "CCR_INTERNAL_HOME_DIR": "/home/person",
        "GATEWAY_UPSTREAM_RETRY_ENABLED": "true",
        **dict.fromkeys(("RAW_TRACE_ENABLED", "AUTH_REQUIRED", "RATE_LIMIT_ENABLED"), "1"),
    }
    environ = made.environ(person)
    own = str(made.path)
    assert {n for n, v in environ.items() if "/home/person" in v} == {
        "SYNCCR_HOME",
        "npm_config_cache",
        "npm_config_userconfig",
    }
    assert {n for n in environ if "proxy" in n.lower()} == {"NO_PROXY"}
    assert {n for n in environ if n.upper().startswith("CCR_")} == {
        "CCR_INTERNAL_HOME_DIR",
        "CCR_INTERNAL_APP_DATA_DIR",
        "CCR_INTERNAL_USER_DATA_DIR",
        "CCR_RAW_TRACE_ENABLED",
    }
    assert (environ[HOME], environ["PATH"], environ["CCR_RAW_TRACE_ENABLED"]) == (own, "/bin", "0")
    assert environ["GATEWAY_UPSTREAM_RETRY_ENABLED"] == "false"  # it asks no provider twice
    assert environ.keys() & {"RAW_TRACE_ENABLED", "AUTH_REQUIRED", "RATE_LIMIT_ENABLED"} == set()


def test_who_says_where_npm_keeps_its_things_is_heard(tmp_path: Path) -> None:
    environ = make(tmp_path).environ({HOME: "/home/person", "npm_config_cache": "/var/npm"})
    assert environ["npm_config_cache"] == "/var/npm"
