"""A canary key followed through everything that is written, shown or visible."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import fault_kit as kit
from fault_kit import FULL, Ledger
from home import KEY, MAIN, SPARE, Home, message
from provider import FakeProvider

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(900)]

LOCAL = "local-canary-91d0c7e2b6"
"""The local port's key; in CCR's configuration, in what ``env`` prints, and nowhere else."""

ECHO = {
    "kind": "reply",
    "status": 401,
    "message": "invalid API key: got '{key}', see \x1b]0;{key}\x07",
}

COMMANDS = [
    ("status",),
    ("status", "--json"),
    ("models",),
    ("models", "--json", "--fresh"),
    ("heal", "--dry-run"),
    ("heal", "--dry-run", "--json"),
    ("events",),
    ("events", "--json"),
    ("logs",),
    ("ask", "hello"),
    ("ask", "--route", "fallback", "hello"),
    ("ask", "--route", f"acme,{MAIN}", "hello"),
    ("swap", "primary"),
    ("swap", "fallback"),
    ("statusline",),
    ("restart",),
    ("start",),
    ("doctor",),
    ("doctor", "--json"),
    ("--debug", "ask", "--route", f"acme,{MAIN}", "hello"),
]


TROUBLES: dict[str, Any] = {
    "401": ECHO,
    "200": ECHO | {"status": 200},
    "ok": "ok",
    "400": ECHO | {"status": 400},
    "500": ECHO | {"status": 500},
}


@kit.cases("trouble", list(TROUBLES)[: None if FULL else 2], ["401"])
def test_the_key_is_nowhere(
    home: Home, provider: FakeProvider, ledger: Ledger, trouble: str
) -> None:
    """With a provider that echoes the key it was sent, at the start and while it runs, the key
    is in no output, file, log, journal or process list; only in the environment of those
    that need it. What a provider says of it reaches CCR masked."""
    home.use(provider, APIKEY="$LOCAL_KEY")
    home.env["LOCAL_KEY"] = LOCAL
    said: list[str] = []
    echo = TROUBLES[trouble]
    with ledger.fault(f"canary key: {trouble}"):
        supervisor = kit.start(home)
        try:
            provider.set(MAIN, echo)
            with httpx.Client(timeout=60, headers={"x-api-key": LOCAL}) as http:
                for turn in range(3):
                    with contextlib.suppress(httpx.HTTPError):
                        http.post(
                            f"http://127.0.0.1:{home.port}/v1/messages", json=message(f"{turn}")
                        )
            for command in COMMANDS:
                done = home.run(*command, input="{}")
                said.append(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}")
                assert "\x1b]" not in done.stdout + done.stderr, command
            seen = _process_lists(home)
            provider.set(SPARE, echo)  # nothing serves
            with contextlib.suppress(httpx.HTTPError):
                httpx.post(
                    f"http://127.0.0.1:{home.port}/v1/messages",
                    json=message("y"),
                    headers={"x-api-key": LOCAL},
                    timeout=60,
                )
            said.append(home.run("models", "--fresh").stdout)
        finally:
            kit.stop(supervisor)
        if trouble not in ("ok", "200"):
            provider.set_all(echo)
            kit.instance(home).joinpath("models.json").unlink()
            home.env["SYNCCR_PREFLIGHT_TIMEOUT"] = "3"
            said.append(home.run("start").stderr)
            assert "No model can serve" in said[-1]
        for secret in (KEY, LOCAL):
            assert [text for text in said if secret in text] == []
            assert [line for line in seen if secret in line] == []
            assert home.where_is(secret) == []
        assert kit.terminal(home).count(KEY) == 0
        for path in home.ccr.glob("logs/*"):
            assert path.stat().st_mode & 0o077 == 0
    kit.assert_whole(home)


def _process_lists(home: Home) -> list[str]:
    """Command lines of everything that runs, and that those with the key are ours."""
    lines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            lines.append(" ".join(process.cmdline()))
    ours = [process for process in home.processes() if KEY in process.environ().values()]
    assert len(ours) == 2, "the supervisor, and the restarted one that waits for it; not CCR"
    return lines


@kit.BOTH_IF_FULL
def test_a_crash_report_has_no_key(home: Home, provider: FakeProvider, ledger: Ledger) -> None:
    """Configurations that cannot be used, with keys written into them, and --debug: what is
    said names the place and never the key."""
    document = home.use(provider)
    document["Providers"][0]["api_key"] = KEY
    home.env["ACME_KEY"] = ""
    broken = [
        json.dumps(document)[:-3],
        json.dumps(document | {"Router": {"default": 7}}),
        json.dumps(document | {"PORT": "x"}),
        json.dumps(document | {"Providers": [document["Providers"][0] | {"models": KEY}]}),
        json.dumps(document).replace(f'"{KEY}"', f'"{KEY}'),
        json.dumps(document) + KEY,
        json.dumps(document["Providers"]),
    ]
    for text in broken:
        with ledger.fault("canary key in a broken configuration"):
            home.write("ccr-config.json", text)
            for command in (("start",), ("models", "--json"), ("--debug", "heal", "--dry-run")):
                done = home.run(*command)
                assert KEY not in done.stdout + done.stderr, done.stderr
    (home.config / "ccr-config.json").unlink()
    assert [path for path in home.where_is(KEY) if path != Path()] == []


@kit.BOTH_IF_FULL
def test_escapes_in_an_answer_are_harmless(
    home: Home, provider: FakeProvider, ledger: Ledger
) -> None:
    """On a terminal an answer's escape sequences are shown, not obeyed; a pipe gets them as
    they are."""
    import pty
    import subprocess
    import sys

    home.use(provider)
    nasty = "\x1b]0;owned\x07\x1b[2Jplain\x08x"
    supervisor = kit.start(home)
    try:
        with ledger.fault("terminal escapes in an answer"):
            assert nasty in home.run("ask", input=f"echo:{nasty}").stdout
            master, slave = pty.openpty()
            done = subprocess.Popen(
                [sys.executable, "-m", "synccr", "ask", f"echo:{nasty}"],
                env=home.env,
                stdin=subprocess.DEVNULL,
                stdout=slave,
                stderr=subprocess.DEVNULL,
            )
            os.close(slave)
            shown = b""
            with contextlib.suppress(OSError):
                while piece := os.read(master, 4096):
                    shown += piece
            os.close(master)
            assert done.wait(60) == 0
            assert b"plain" in shown
            assert b"\x1b" not in shown
            assert b"\x07" not in shown
            assert b"plain\\u0008x" in shown
    finally:
        kit.stop(supervisor)
