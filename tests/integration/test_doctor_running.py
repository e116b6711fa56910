"""The doctor beside things that run: supervisors, CCRs nobody started, terminals, no network."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from doctor_kit import PROGRAMS, Stage, claude
from home import KEY, MAIN, Home, message
from ports import free_port
from provider import FakeProvider
from synccr.ccr.process_markers import INSTANCE
from synccr.doctor.registry import CHECKS

pytestmark = [pytest.mark.integration, pytest.mark.long]


@pytest.fixture
def stage(home: Home, provider: FakeProvider) -> Iterator[Stage]:
    stage = Stage(home, provider)
    with stage.held:
        yield stage


@contextlib.contextmanager
def bare_ccr(stage: Stage, port: int, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """CCR as a person starts it, without synccr; or as a killed supervisor leaves it."""
    stage.check("ccr.package")
    modules = stage.home.root / ".cache/synccr/ccr/2.0.0/node_modules"
    script = modules / "@musistudio/claude-code-router/dist/cli.js"
    stage.put(".claude-code-router/config.json", stage.profile.read_text())
    process = subprocess.Popen(
        ["node", str(script), "start"],
        env=stage.home.env | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                    break
            assert process.poll() is None
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_all_in_order_while_it_serves(stage: Stage) -> None:
    """Beside a running synccr with all in order nothing fails and nothing warns; the
    document has the contract's keys and nothing else; the key is nowhere."""
    claude(stage)
    stage.change(APIKEY="of-the-local-port-51c7")
    with stage.home.running():
        document = stage.doctor()
        shown = stage.home.run("doctor")
    assert set(document) == {"checks", "summary"}
    keys = {"id", "title", "status", "detail", "fix", "fixable"}
    assert all(set(row) == keys for row in document["checks"])
    assert [row["id"] for row in document["checks"]] == [check.id for check in CHECKS]
    assert set(document["summary"]) == {"ok", "warn", "fail", "skip"}
    assert sum(document["summary"].values()) == len(CHECKS)
    bad = [row for row in document["checks"] if row["status"] in ("fail", "warn")]
    assert bad == []
    for said in (shown.stdout + shown.stderr, json.dumps(document)):
        assert KEY not in said
        assert "of-the-local-port-51c7" not in said
    assert shown.returncode == 0
    assert stage.home.where_is(KEY) == []


def test_a_hung_supervisor(stage: Stage) -> None:
    """One that does not answer is named, and the line ends it and CCR with it."""
    with stage.home.running() as running:
        running.process.send_signal(signal.SIGSTOP)
        seen = stage.check("supervisor.healthy")
        assert (seen["status"], seen["fix"]) == ("fail", "synccr stop")
        assert f"pid {running.process.pid}" in seen["detail"]
        assert stage.check("backend.healthy")["status"] == "skip"
        stage.paste(seen["fix"])
        running.process.wait(30)
    assert stage.check("supervisor.healthy")["status"] == "skip"


def test_a_hung_ccr(stage: Stage) -> None:
    """A CCR that answers nothing is named, and the line brings another one."""
    stage.home.env["SYNCCR_HEALTH_INTERVAL"] = "600"
    with stage.home.running():
        pid = stage.home.status()["ccr"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        seen = stage.check("backend.healthy")
        assert (seen["status"], seen["fix"]) == ("fail", "synccr restart")
        stage.paste(seen["fix"])
        assert stage.check("backend.healthy")["status"] == "ok"
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()


def test_a_ccr_that_synccr_did_not_start(stage: Stage) -> None:
    """A bare CCR on the port is named with its pid, and the line ends it."""
    with bare_ccr(stage, stage.home.port) as process:
        port = stage.check("port.free")
        assert (port["status"], port["fix"]) == ("fail", f"kill {process.pid}")
        assert stage.check("pidfile.stale")["status"] == "warn"
        assert stage.check("ccr.orphans")["status"] == "ok"
        stage.paste(port["fix"])
        process.wait(30)
    assert stage.check("port.free")["status"] == "ok"
    assert stage.check("pidfile.stale", "--fix")["status"] == "ok"


def test_a_ccr_whose_supervisor_was_killed(stage: Stage) -> None:
    """It is found by its mark and ended by ``--fix``."""
    port = free_port()
    marks = {INSTANCE: str(stage.instance), "SERVICE_PORT": str(port)}
    with bare_ccr(stage, port, **marks) as process:
        seen = stage.check("ccr.orphans")
        assert (seen["status"], seen["fix"]) == ("warn", f"kill {process.pid}")
        mended = stage.check("ccr.orphans", "--fix")
        assert mended["detail"].startswith("Mended: ended 1 CCR"), mended
        assert process.wait(10) is not None


def test_an_api_key_is_taken_after_a_start(stage: Stage) -> None:
    """What ``--fix`` says of the new key is true: the port wants it, and ``env`` has it."""
    with stage.home.running() as running:
        body = message("x")
        assert httpx.post(f"{running.url}/v1/messages", json=body).status_code == 200
    assert "synccr env" in stage.check("apikey.local", "--fix")["detail"]
    with stage.home.running() as running:
        assert httpx.post(f"{running.url}/v1/messages", json=body).status_code == 401
        lines = stage.home.run("env", "--shell", "bash").stdout.splitlines()
        env = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        headers = {"authorization": f"Bearer {env['ANTHROPIC_AUTH_TOKEN']}"}
        answer = httpx.post(f"{running.url}/v1/messages", json=body, headers=headers)
        assert answer.status_code == 200


def test_an_api_key_is_not_forced_on_clients_that_run(stage: Stage) -> None:
    """Beside a running synccr ``--fix`` adds none unless it is named; then it has been taken when
    the command returns, and what was there before is kept."""
    before = stage.profile.read_bytes()
    with stage.home.running() as running:
        done = json.loads(stage.home.run("doctor", "--json", "--fix").stdout)
        row = next(row for row in done["checks"] if row["id"] == "apikey.local")
        assert (row["status"], row["fixable"]) == ("warn", False)
        assert stage.profile.read_bytes() == before
        body = message("x")
        assert httpx.post(f"{running.url}/v1/messages", json=body).status_code == 200

        stage.paste(row["fix"])
        assert httpx.post(f"{running.url}/v1/messages", json=body).status_code == 401
        assert stage.home.run("ask", "echo:with-key").stdout.strip() == "with-key"
    copies = list(stage.home.config.glob("ccr-config.json.*.bak"))
    assert [copy.read_bytes() for copy in copies] == [before]
    assert copies[0].stat().st_mode & 0o777 == 0o600


def test_a_kept_key_counts(stage: Stage) -> None:
    """A key in keys.env is set, accepted, no key in clear, and never shown."""
    del stage.home.env["ACME_KEY"]
    stage.put(".config/synccr/keys.env", f"ACME_KEY={KEY}\n")
    rows = stage.doctor("keys", "key", "models.state")["checks"]
    assert [row["status"] for row in rows] == ["ok"] * len(rows)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at a systemd unit")
def test_a_service_that_does_not_run(stage: Stage) -> None:
    """Installed and not alive is said; one written for another synccr, too."""
    assert stage.check("service.installed")["status"] == "skip"
    stage.put(".config/synccr/keys.env", f"ACME_KEY={KEY}\n")
    stage.home.run("service", "install")
    seen = stage.check("service.installed")
    assert seen["status"] in ("warn", "fail"), seen
    unit = stage.home.root / ".config/systemd/user/synccr.service"
    unit.write_text(unit.read_text() + "# another\n")
    seen = stage.check("service.installed")
    assert (seen["status"], seen["fix"]) == ("warn", "synccr service install")


@pytest.mark.parametrize("where", ["environment", "configuration"])
def test_which_proxy_the_real_ccr_takes(stage: Stage, where: str) -> None:
    """The facts behind ``provider.proxy``: HTTPS_PROXY of the environment changes nothing for a
    provider on this machine, and PROXY_URL of the configuration counts for it, too."""
    stage.home.env["NO_PROXY"] = "127.0.0.1,localhost"
    if where == "environment":
        stage.home.env["HTTPS_PROXY"] = stage.home.env["HTTP_PROXY"] = "http://127.0.0.1:9"
    else:
        stage.change(PROXY_URL="http://127.0.0.1:9")
    bad = stage.check("provider.proxy")["status"] == "fail"
    with stage.home.running("--skip-preflight") as running:
        stage.provider.forget()
        httpx.post(f"{running.url}/v1/messages", json=message("x"), timeout=60, trust_env=False)
        arrived = stage.provider.requests(MAIN)
    assert (bad, bool(arrived)) == ((False, True) if where == "environment" else (True, False))


def test_no_network(stage: Stage) -> None:
    """Providers that nobody reaches: the ways to them fail, what depends on them is skipped,
    and everything else is looked at."""
    stage.replace(stage.provider.url("openai"), "http://127.0.0.1:9/v1/chat/completions")
    begin = time.monotonic()
    rows = {row["id"]: row for row in stage.doctor()["checks"]}
    assert time.monotonic() - begin < 60
    assert rows["provider.connect"]["status"] == "fail"
    for name in ("models.state", "routes.served", "key.accepted", "quota.left"):
        assert rows[name]["status"] == "skip", rows[name]
    assert rows["node.version"]["status"] == "ok"


@pytest.mark.parametrize("home_is", ["missing", "a file", "unset", "not absolute"])
def test_homes_that_cannot_be_used(stage: Stage, home_is: str) -> None:
    """Results or one sentence, never a traceback."""
    wrong = {
        "missing": str(stage.home.root / "none" / "here"),
        "a file": str(stage.put("plain", "x")),
        "unset": "",
        "not absolute": "here",
    }[home_is]
    stage.home.env["HOME"] = wrong
    done = stage.home.run("doctor")
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == (4 if home_is in ("unset", "not absolute") else 1)


@pytest.mark.parametrize("closed", [".", ".claude-code-router", ".config/synccr"])
def test_a_home_that_cannot_be_read(stage: Stage, closed: str) -> None:
    """Directories that are closed to their owner: checks say so or skip, others look on."""
    directory = stage.home.root / closed
    stage.put(".claude-code-router/config.json", "{}")
    program = [sys.executable, "-m", "synccr", "doctor"]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything, and there is no setpriv to take that away")
        program = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *program]
    directory.chmod(0)
    try:
        done = subprocess.run(
            program, env=stage.home.env, capture_output=True, text=True, timeout=120, check=False
        )
    finally:
        directory.chmod(0o700)
    assert "Traceback" not in done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr
    assert "ok    node.version" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1
    assert f"chmod u+rwX -- {directory}" in done.stdout


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_readable_in_any_width(stage: Stage, columns: int) -> None:
    """Sentences stay within the width; only lines to paste and single long words do not."""
    stage.home.env["COLUMNS"] = str(columns)
    stage.home.env["ACME_KEY"] = ""
    done = stage.home.run("doctor", "config", "keys", "node", "client", "files")
    wide = [line for line in done.stdout.splitlines() if len(line) > columns]
    assert all(" /" in f" {line}" or "export" in line or "npm" in line for line in wide), wide
    assert "\x1b" not in done.stdout + done.stderr


def test_pipes_lists_and_wrong_names(stage: Stage) -> None:
    """``| head -1`` is silent, ``--list`` lists every check, a wrong name gets the right one."""
    line = f"{PROGRAMS}/synccr doctor 2>&1 | head -1"
    done = subprocess.run(
        ["sh", "-c", line], env=stage.home.env, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr
    listed = stage.home.run("doctor", "--list").stdout.splitlines()
    assert [text.split()[0] for text in listed] == [check.id for check in CHECKS]
    wrong = stage.home.run("doctor", "nod.version")
    assert (wrong.returncode, "node.version" in wrong.stderr) == (2, True)


def test_colour_and_progress_on_a_terminal(stage: Stage) -> None:
    """On a terminal there is colour and a line with what is still out; not with NO_COLOR."""
    coloured = _on_a_terminal(stage)
    assert "\x1b[32mok" in coloured
    assert "to go:" in coloured
    stage.home.env["NO_COLOR"] = "1"
    plain = _on_a_terminal(stage)
    assert "\x1b" not in plain
    assert "ok    node.version" in plain


def _on_a_terminal(stage: Stage) -> str:
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "synccr", "doctor", "node", "models"],
        env=stage.home.env | {"TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 4096):
            said += piece
    os.close(ours)
    process.wait(30)
    return said.decode()
