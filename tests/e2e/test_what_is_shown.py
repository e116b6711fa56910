"""What Claude Code shows when nothing can be carried over: the words of docs/troubleshooting.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from home import MAIN, Home, free_port
from pages import DOCS
from synccr.sandbox import ProviderThread

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SHOWN = {
    "billing": "API Error: 402 Error from provider",
    "missing": "There's an issue with the selected model",
    "unavailable": "API Error: 400 Error from provider",
    "auth": "Failed to authenticate. API Error: 401",
    "forbidden": "Failed to authenticate. API Error: 403",
    "spent_cap": "API Error: Request rejected (429)",
    "overloaded": "API Error: 529 Error from provider",
    "reset": "API Error: 500 fetch failed",
    "cut": "API Error: 500 terminated",
    "html": "API Error: 500 Unexpected token '<'",
}
"""Behaviours of the only model, and the words."""


def claude_code(home: Home, *arguments: str) -> str:
    """What one prompt shows, without Claude Code's own retries."""
    done = home.run(*arguments, "-p", "say hi", timeout=240)
    assert done.returncode != 0
    return done.stdout


def test_words_for_each_trouble(home: Home, provider: ProviderThread, claude: Path) -> None:
    """Each row of the page that names a trouble of a provider shows these words."""
    home.env |= {
        "PATH": f"{claude}:{home.env['PATH']}",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "DISABLE_TELEMETRY": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
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


def test_words_when_nothing_listens(home: Home, claude: Path) -> None:
    """Nor does synccr run."""
    import subprocess

    done = subprocess.run(
        [claude / "claude", "-p", "say hi"],
        env={
            **home.env,
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{free_port()}",
            "ANTHROPIC_AUTH_TOKEN": "none",
            "CLAUDE_CODE_MAX_RETRIES": "0",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    words = "Unable to connect to API (ConnectionRefused)"
    assert words in done.stdout
    assert f"| `{words}`" in (DOCS / "troubleshooting.md").read_text()
