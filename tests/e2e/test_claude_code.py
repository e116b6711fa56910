"""The real Claude Code client, answered through synccr while its main model has no credit."""

from __future__ import annotations

from pathlib import Path

import pytest

from home import KEY, MAIN, SPARE, Home
from provider import FakeProvider

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.ccr("2.0.0", "3.1.1", long=False),
]


def test_claude_code_answers_while_its_main_model_has_no_credit(
    home: Home, provider: FakeProvider, claude: Path
) -> None:
    """402 on the main model: the same Claude Code call is answered, and the next one by
    the fallback profile; exit code 0, no error on the screen, no key on the disk."""
    home.env |= {
        "PATH": f"{claude}:{home.env['PATH']}",
        "DISABLE_TELEMETRY": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    home.use(provider)
    with home.running() as running:
        first = home.run("code", "-p", "echo:alpha", timeout=240)
        assert (first.stdout.strip(), first.returncode) == ("alpha", 0), first.stderr
        assert provider.requests(MAIN)
        provider.set(MAIN, "billing")
        second = home.run("code", "-p", "echo:beta", timeout=240)
        assert (second.stdout.strip(), second.returncode) == ("beta", 0), second.stderr
        running.until_profile("fallback")
        provider.forget()
        third = home.run("code", "-p", "echo:gamma", timeout=240)
        assert (third.stdout.strip(), third.returncode) == ("gamma", 0), third.stderr
        assert not provider.requests(MAIN)
        assert provider.requests(SPARE)
    assert home.where_is(KEY) == []
