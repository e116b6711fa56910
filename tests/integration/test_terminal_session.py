"""A new user in a terminal, who types what README.md says."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from home import KEY, MAIN, SPARE, Home, profile
from provider import FakeProvider
from terminal import Tmux, command_on_path

pytestmark = [pytest.mark.integration, pytest.mark.long]

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.fixture
def shell(home: Home, tmp_path: Path) -> Iterator[Tmux]:
    """A terminal of 100 columns; no key in its environment."""
    programs = command_on_path(tmp_path / "bin")
    del home.env["ACME_KEY"]
    env = {**home.env, "PATH": f"{programs}:{home.env['PATH']}", "SYNCCR_SWAP_COOLDOWN": "0.5"}
    shell = Tmux("user", env)
    try:
        yield shell
    finally:
        home.run("stop")
        shell.close()
        deadline = time.monotonic() + 10
        while home.processes() and time.monotonic() < deadline:
            time.sleep(0.1)


def used(block: str) -> list[str]:
    """The synccr commands of README's section."""
    section = README.partition(f"## {block}")[2].partition("\n## ")[0]
    code = section.partition("```sh")[2].partition("```")[0]
    lines = (line.partition("#")[0].strip() for line in code.splitlines())
    return [line for line in lines if line.startswith("synccr ")]


def test_a_new_user_follows_the_readme(
    home: Home, provider: FakeProvider, shell: Tmux, tmp_path: Path
) -> None:
    """init asks for profile and key without showing the key; start serves; the live view,
    ask and the swap are seen; Ctrl-C ends all of it. Claude Code is not installed, and how
    to install it is said."""
    mine = tmp_path / "my-ccr.json"
    mine.write_text(json.dumps(profile(provider.url("openai"), home.port)))
    assert used("Use it") == ["synccr init", "synccr start", "synccr code"]

    said = shell.command("synccr start")
    assert "SYNTHETIC_API_KEY" in said
    assert "synccr init" in said
    assert "ended:4" in said

    shell.type("synccr init")
    shell.until("Which CCR configuration?")
    shell.type(str(mine))
    shell.until("ACME_KEY")
    shell.type(KEY)
    shown = shell.until("Start it: synccr start")
    assert KEY not in shown
    assert re.search(rf"{MAIN} +ok", shown)
    assert home.where_is(KEY) == [home.config / "keys.env"]
    assert (home.config / "keys.env").stat().st_mode & 0o777 == 0o600
    assert (home.config / "ccr-config.json").stat().st_mode & 0o777 == 0o600

    shell.type("clear; synccr start -d")
    shell.until("synccr runs at")
    assert "one-word" in shell.command('synccr ask "echo:one-word"')
    answer = shell.command('echo "echo:piped" | synccr ask --route fallback')
    assert "piped" in answer
    assert SPARE in answer
    assert "npm install -g @anthropic-ai/claude-code" in shell.command("synccr code")
    assert "echo" not in shell.command('eval "$(synccr env)" && env | grep ANTHROPIC_BASE')

    shell.type("clear; synccr status --watch")
    shell.until("routes")
    provider.set(MAIN, "billing")
    home.run("ask", "echo:x")
    shell.until("running on fallback", 30)
    shell.until("billing")
    shell.press("q")
    shell.until("ready>")
    assert "fallback (main-480b billing)" in shell.command("synccr statusline < /dev/null")
    assert "ended:0" in shell.command("synccr stop")
    assert "ended:3" in shell.command("synccr status")

    provider.set(MAIN, "ok")
    shell.type("clear; synccr start")
    shell.until("Ready at")
    shell.press("C-c")
    shell.until("Ending")
    shell.until_match(r"\nready> *\n*$", 60)
    assert "ended:3" in shell.command("synccr status")


def test_completion_in_a_terminal(shell: Tmux) -> None:
    """Tab completes a command after the script is loaded."""
    shell.type('eval "$(synccr completion bash)"')
    shell.type("clear")
    shell.type("synccr mod\t", enter=False)
    shell.until("synccr models")
