"""Planted links, web pages that a browser has open, and a package that was changed."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import fault_kit as kit
from fault_kit import FULL, Ledger
from home import KEY, Home, message
from provider import FakeProvider

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(900)]

SECRET = b"a file of somebody's that must stay as it is\n"


def _victim(tmp_path: Path) -> Path:
    victim = tmp_path / "victim.txt"
    victim.write_bytes(SECRET)
    victim.chmod(0o644)
    return victim


def _every_file(home: Home) -> list[Path]:
    """Every file that a run leaves, and those that exist only while it runs."""
    instance = kit.instance(home)
    found = [path for path in home.root.rglob("*") if path.is_file() and "logs" not in path.parts]
    transient = [
        home.ccr / ".claude-code-router.pid",
        instance / "control.sock",
        instance / "control.new",
        instance / "control.json",
        instance / "journal.jsonl.1",
        home.root / ".local/state/synccr/log" / f"{instance.name}.log",
        home.root / ".local/state/synccr/log" / f"{instance.name}.log.1",
    ]
    own = {home.root / "terminal.txt", home.config / "ccr-config.json"}
    return sorted({*found, *transient} - own)


@kit.cases("kind", ["symlink", "hard link"], ["symlink"])
def test_planted_links(
    home: Home, provider: FakeProvider, ledger: Ledger, tmp_path: Path, kind: str
) -> None:
    """A link to somebody's file in place of every file that is written: that file keeps its
    content and its mode, and the start says why not or works. All at once, and in the full
    run each alone."""
    document = home.use(provider)
    assert home.run("start", "--detach").returncode == 0
    assert home.run("swap", "fallback").returncode == 0
    assert home.run("stop").returncode == 0
    victim = _victim(tmp_path)
    places = _every_file(home)
    assert len(places) > 10
    rounds = [[path] for path in places] if FULL else []
    for planted in (places, *rounds):
        for path in planted:
            ledger.tried[f"planted {kind}"] += 1
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if kind == "symlink":
                path.symlink_to(victim)
            else:
                path.hardlink_to(victim)
        (home.config / "ccr-config.json").write_text(json.dumps(document))
        for place in ("start --detach", "restart", "swap fallback", "stop"):
            done = home.run(*place.split(), timeout=90)
            assert "Traceback" not in done.stderr
            assert "unforeseen" not in done.stderr, (planted, done.stderr)
            assert victim.read_bytes() == SECRET, planted
            assert stat.S_IMODE(victim.stat().st_mode) == 0o644, planted
        ledger.survived[f"planted {kind}"] += len(planted)
        for path in planted:
            path.unlink(missing_ok=True)
    kit.assert_next_start_works(home)


@kit.BOTH
def test_everything_written_is_private(home: Home, provider: FakeProvider, ledger: Ledger) -> None:
    """Under the usual umask and under none at all, what is written can be read and changed by
    its owner alone."""
    import os

    home.use(provider)
    before = os.umask(0)
    try:
        with ledger.fault("umask 0"):
            assert home.run("start", "--detach").returncode == 0
            loose = [
                (path, oct(path.lstat().st_mode))
                for path in home.root.rglob("*")
                if path.is_file()
                and path.lstat().st_mode & 0o077
                and path != home.config / "ccr-config.json"
            ]
            assert loose == []
            own = (home.ccr, kit.instance(home))
            below = (path for top in own for path in top.rglob("*") if path.is_dir())
            modes = {path: oct(path.stat().st_mode & 0o777) for path in (*own, *below)}
            assert set(modes.values()) == {"0o700"}, modes
            assert len(kit.run_directories(home)) == kit.expected_run_directories(home)
            sockets = [path for path in home.root.rglob("*") if path.is_socket()]
            assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in sockets)
    finally:
        os.umask(before)
        home.run("stop")


HOSTILE = [
    {"Host": "evil.example:{port}"},
    {"Host": "evil.example"},
    {"Host": "127.0.0.1.evil.example:{port}"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://127.0.0.1.evil.example:{port}"},
    {"Origin": "https://127.0.0.1:{port}"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
]
REQUESTS = [
    ("POST", "/v1/messages"),
    ("POST", "/api/restart"),
    ("POST", "/api/config"),
    ("GET", "/api/config"),
    ("GET", "/api/logs?file=/etc/passwd"),
    ("OPTIONS", "/v1/messages"),
]
OWN_PAGES = {kit.CCR2: ("/api/config", "/ui/"), kit.CCR3: ("/v1/models", "/")}
"""What a page of CCR's own asks for, and what a person opens; CCR 3 has its page elsewhere."""


@kit.BOTH
def test_pages_of_other_origins(home: Home, provider: FakeProvider, ledger: Ledger) -> None:
    """Without an APIKEY: what a page of another origin, or one that rebinds its name, makes a
    browser send is refused, and reaches neither the provider nor the configuration; CCR's
    own page and clients that are no browser are served."""
    home.use(provider)
    supervisor = kit.start(home)
    base = f"http://127.0.0.1:{home.port}"
    try:
        before = kit.written(home)
        pid = kit.status(home)["ccr"]["pid"]
        provider.forget()
        with httpx.Client(base_url=base, timeout=30) as http:
            for hostile in HOSTILE:
                headers = {k: v.format(port=home.port) for k, v in hostile.items()}
                for method, path in REQUESTS:
                    with ledger.fault("page of another origin"):
                        body = json.dumps(message("x") if "messages" in path else {"Providers": []})
                        answer = http.request(
                            method,
                            path,
                            content=body if method == "POST" else None,
                            headers={"Content-Type": "text/plain", **headers},
                        )
                        assert answer.status_code == 403, (method, path, headers, answer.text)
                        assert "access-control-allow-origin" not in answer.headers
            assert provider.requests() == []
            assert kit.written(home) == before
            assert kit.status(home)["ccr"]["pid"] == pid
            data, page = OWN_PAGES[home.ccr_version]
            for name in ("127.0.0.1", "localhost"):
                own = {"Host": f"{name}:{home.port}", "Origin": f"http://{name}:{home.port}"}
                assert http.get(data, headers=own).status_code == 200
            walked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
            assert http.get(page, headers=walked).status_code == 200
            assert http.post("/v1/messages", json=message("x")).status_code == 200
            assert http.post("/api/restart").status_code == 200
            kit.until(lambda: kit.status(home)["ccr"]["pid"] != pid, 20, "restarted")
    finally:
        kit.stop(supervisor)


@kit.BOTH
def test_with_a_key_only_who_knows_it(home: Home, provider: FakeProvider, ledger: Ledger) -> None:
    """With an APIKEY nothing is done without it, the relay's own answers included."""
    home.use(provider, APIKEY="$LOCAL_KEY")
    home.env["LOCAL_KEY"] = "local-key-57"
    supervisor = kit.start(home)
    try:
        pid = kit.status(home)["ccr"]["pid"]
        with httpx.Client(base_url=f"http://127.0.0.1:{home.port}", timeout=30) as http:
            for method, path in REQUESTS[:-1]:
                with ledger.fault("request without the key"):
                    for headers in ({}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}):
                        answer = http.request(method, path, json=message("x"), headers=headers)
                        assert answer.status_code == 401, (method, path, answer.text)
            assert kit.status(home)["ccr"]["pid"] == pid
            for headers in (
                {"x-api-key": "local-key-57"},
                {"authorization": "Bearer local-key-57"},
            ):
                answer = http.post("/v1/messages", json=message("x"), headers=headers)
                assert answer.status_code == 200
            assert http.post("/api/restart", headers=headers).status_code == 200
            kit.until(lambda: kit.status(home)["ccr"]["pid"] != pid, 20, "restarted")
    finally:
        kit.stop(supervisor)


@kit.BOTH
def test_a_package_that_was_changed_is_not_run(
    home: Home, provider: FakeProvider, ledger: Ledger, tmp_path: Path
) -> None:
    """A single byte changed in what npm installed: it is fetched anew, or not run at all."""
    home.env |= {"npm_config_cache": str(tmp_path / "npm"), "npm_config_offline": "true"}
    home.use(provider)
    (entry,) = home.cache.glob(f"ccr/{home.ccr_version}/node_modules/@musistudio/*/dist/**/cli.js")
    with ledger.fault("package tampered with"):
        program = entry.read_bytes()
        entry.unlink()  # the file is shared with other homes
        entry.write_bytes(
            program + b"\n;require('fs').writeFileSync(process.env.HOME + '/ran', '')\n"
        )
        done = home.run("start")
        assert done.returncode == 6, done.stderr
        assert f"Claude Code Router {home.ccr_version}" in done.stderr
        assert not (home.root / "ran").exists()
    kit.assert_whole(home)


ASKED_OF_PRIVATE_PORTS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/v1/messages", message("x")),
    ("POST", "/v1/messages/count_tokens", message("x")),
    ("GET", "/v1/models", None),
    ("GET", "/__ccr/remote/capabilities", None),
    ("POST", "/v1/oauth/token", {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}),
    ("POST", "/api/ccr/rpc", {"method": "getConfig", "args": []}),
    ("POST", "/api/config", {"Providers": []}),
    ("GET", "/api/config", None),
]
NOBODYS: list[dict[str, str]] = [
    {},
    {"authorization": "Bearer wrong", "x-api-key": "wrong", "x-ccr-web-auth": "wrong"},
    {"Host": "evil.example", "Origin": "http://evil.example"},
]


@kit.BOTH
def test_private_ports_refuse_a_stranger(
    home: Home, provider: FakeProvider, ledger: Ledger
) -> None:
    """Without an APIKEY: whoever finds CCR's own ports, its management's or the egress's gets
    nothing done there, and learns nothing."""
    home.use(provider)
    supervisor = kit.start(home)
    try:
        before, pid = kit.written(home), kit.status(home)["ccr"]["pid"]
        ports = {
            connection.laddr.port
            for process in home.processes()
            for connection in process.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
        } - {home.port}
        assert len(ports) == 2 + len(kit.gateways(home))
        provider.forget()
        for port in ports:
            statuses = set()
            for method, path, body in ASKED_OF_PRIVATE_PORTS:
                for headers in NOBODYS:
                    with ledger.fault("stranger at a private port"):
                        url = f"http://127.0.0.1:{port}{path}"
                        answer = httpx.request(method, url, json=body, headers=headers, timeout=30)
                        assert 400 <= answer.status_code < 500, (port, method, path, answer.text)
                        assert KEY not in answer.text
                        statuses.add(answer.status_code)
            assert statuses & {401, 403}, port
        assert provider.requests() == []
        assert kit.written(home) == before
        assert kit.status(home)["ccr"]["pid"] == pid
    finally:
        kit.stop(supervisor)
    kit.assert_whole(home)


FORGED = {
    "empty": "",
    "text": "mine",
    "other": '{"pid": 1, "started": "then"}',
    "wrong": '["1", 2]',
    "deep": "[" * 100_000,
    "gone": f"[{2**22}, 'long ago']",
}
"""Contents of ``owner.json``."""


@pytest.mark.ccr(kit.CCR3)
def test_planted_run_directories(
    home: Home, provider: FakeProvider, ledger: Ledger, tmp_path: Path
) -> None:
    """Where CCR 3 is to run there is a link to somebody's directory, or there are links and
    forged owners: what they lead to stays as it is, and the start works or says why not."""
    home.use(provider)
    kit.stop(kit.start(home))
    somebodys = tmp_path / "somebodys"
    somebodys.mkdir()
    (somebodys / "run-theirs").mkdir()
    victim = _victim(somebodys / "run-theirs")
    place = kit.instance(home) / "ccr3"
    with ledger.fault("planted link for the directory of CCR 3"):
        place.rmdir()
        place.symlink_to(somebodys)
        done = home.run("start", "--detach")
        assert done.returncode in kit.EXITS - {0}, done.stderr
        assert str(place) in done.stderr
        assert "Traceback" not in done.stderr
        place.unlink()
    with ledger.fault("planted links in the directory of CCR 3"):
        place.mkdir(mode=0o700)
        (place / "run-link").symlink_to(somebodys)
        (place / "file").write_bytes(SECRET)
        for name, content in FORGED.items():
            (place / f"run-{name}").mkdir()
            (place / f"run-{name}" / "owner.json").write_text(content)
        (place / "run-linked").mkdir()
        (place / "run-linked" / "owner.json").symlink_to(victim)
        supervisor = kit.start(home)
        assert kit.status(home)["state"] == "running"
        assert {path.name for path in kit.run_directories(home) if path.is_dir()} == {
            next(iter(_of_ccr(home))).name,
            "run-link",
        }
        kit.stop(supervisor)
    assert victim.read_bytes() == SECRET
    assert sorted(somebodys.rglob("*")) == [victim.parent, victim]


def _of_ccr(home: Home) -> set[Path]:
    """Where the CCRs of a home run."""
    found = {process.environ()["CCR_INTERNAL_HOME_DIR"] for process in kit.ccr_processes(home)}
    return {Path(path) for path in found}
