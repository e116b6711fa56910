"""What Claude Code shows when nothing can be carried over: the words of docs/troubleshooting.md."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from home import MAIN, Home
from pages import DOCS
from provider import FakeProvider

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.ccr("2.0.0", "3.1.1"),
]

SHOWN = {
    "billing": "API Error: 402 No model answered",
    "missing": "There's an issue with the selected model",
    "unavailable": "API Error: 400",
    "auth": "Failed to authenticate. API Error: 403 No model answered",
    "forbidden": "Failed to authenticate. API Error: 403 No model answered",
    "spent_cap": "API Error: 402 No model answered",
    "rate_limited_bare": "API Error: Request rejected (429)",
    "bad_request": "API Error: 400",
    "overloaded": "API Error: 529 No model answered",
    "reset": "API Error: 529 No model answered",
    "cut": "API Error: 529 No model answered",
    "html": "API Error: 529 No model answered",
}
"""Behaviours of the only model, and the words."""


QUIET = {
    "CLAUDE_CODE_MAX_RETRIES": "0",
    "DISABLE_TELEMETRY": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
}


def claude_code(home: Home, *arguments: str) -> str:
    """What one prompt shows, without Claude Code's own retries."""
    done = home.run(*arguments, "-p", "say hi", timeout=240)
    assert done.returncode != 0
    return done.stdout


def test_words_for_each_trouble(home: Home, provider: FakeProvider, claude: Path) -> None:
    """Each row of the page that names a trouble of a provider shows these words."""
    home.env |= {"PATH": f"{claude}:{home.env['PATH']}", **QUIET}
    document = home.use(provider, Router={"default": f"acme,{MAIN}"})
    document["Providers"][0]["models"] = [MAIN]
    home.write("ccr-config.json", document)
    page = (DOCS / "troubleshooting.md").read_text()
    wrong = {}
    with home.running():
        for behaviour, words in SHOWN.items():
            assert f"| `{words}`" in page
            provider.set(MAIN, behaviour)
            if words not in (shown := claude_code(home, "code")):
                wrong[behaviour] = shown
    assert wrong == {}


def by_hand(home: Home, claude: Path, port: int) -> str:
    """What Claude Code shows when it is pointed at a port with the wrong key."""
    done = subprocess.run(
        [claude / "claude", "-p", "say hi"],
        env={
            **home.env,
            **QUIET,
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
            "ANTHROPIC_AUTH_TOKEN": "wrong",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    return done.stdout


def test_words_of_the_local_port(home: Home, provider: FakeProvider, claude: Path) -> None:
    """Nothing listens there, or it refuses the key that Claude Code has."""
    page = (DOCS / "troubleshooting.md").read_text()
    words = "Unable to connect to API (ConnectionRefused)"
    assert words in by_hand(home, claude, home.port)
    assert f"| `{words}`" in page
    home.use(provider, APIKEY="right")
    words = "Failed to authenticate. API Error: 401 Invalid API key"
    with home.running():
        assert words in by_hand(home, claude, home.port)
    assert f"| `{words}`" in page
