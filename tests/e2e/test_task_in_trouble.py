"""A task of five tool turns with the real Claude Code, whose model fails in the middle of it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from home import LONG, MAIN, SPARE, Home
from provider import FakeProvider

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DONE = "All five steps are done, and here is the whole last sentence."
LIMIT = 120.0
"""Seconds for the task, the client's start included."""
WORDS = "I am about to take the third step, and I say so at some length."

TROUBLES: dict[str, Any] = {
    "billing": "billing",
    "auth": "auth",
    "rate_limited": "rate_limited",
    "error_first": "error_first",
    "html": "html",
    "json_error": "json_error",
    "empty_answer": {"preset": "empty_answer", "text": "", "tools": "ignore"},
    "empty_stream": "empty_stream",
    "head_then_silence": "head_then_silence",
    "never": "never",
    "reset": "reset",
    "cut": {"preset": "cut", "text": WORDS},
    "stream_error": {"preset": "stream_error", "text": WORDS},
    "stall": {"preset": "stall", "text": WORDS},
    "cut_in_a_call": "cut",
}
"""Behaviours of the main model from its third turn on."""

CLIENTS = ("claude", "newest_claude")
CCR3 = [
    *("auth", "billing", "cut", "rate_limited"),
    *("error_first", "stream_error", "html", "empty_answer"),
]
"""What CCR 3 alone would answer in another way than CCR 2, or hide."""
ALONE = ("auth", "rate_limited", "error_first")
"""Of these, what is tried on CCR 3 alone."""
CASES = [
    *(("2.0.0", one, client) for one in TROUBLES if one not in ALONE for client in CLIENTS),
    *(("3.1.1", one, CLIENTS[number % 2]) for number, one in enumerate(CCR3)),
]
QUICK = ("2.0.0", "billing", "claude")


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments}


def steps(folder: Path) -> list[dict[str, Any]]:
    """Five tool calls. The second waits until the test has set the trouble."""
    wait = f"while [ ! -e {folder}/go ]; do sleep 0.05; done"
    return [
        call("Bash", command=f"echo 1 >> {folder}/steps", description="Step 1"),
        call("Bash", command=f"echo 2 >> {folder}/steps; {wait}", description="Step 2"),
        call("Read", file_path=f"{folder}/steps"),
        call("Bash", command=f"echo 4 >> {folder}/steps", description="Step 4"),
        call("Bash", command=f"echo 5 >> {folder}/steps", description="Step 5"),
    ]


def taken(folder: Path) -> list[str]:
    file = folder / "steps"
    return file.read_text().split() if file.exists() else []


@pytest.mark.parametrize(
    ("ccr_version", "trouble", "client"),
    [pytest.param(*case, marks=() if case == QUICK else pytest.mark.long) for case in CASES],
    indirect=["ccr_version"],
)
def test_a_task_is_finished_unaided(
    home: Home,
    provider: FakeProvider,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    client: str,
    trouble: str,
) -> None:
    """The whole final text, exit code 0, each tool run once, whatever happens to the third
    turn; the main model is asked for it once or twice and no more."""
    folder = tmp_path / "project"
    folder.mkdir()
    home.env |= {
        "PATH": f"{request.getfixturevalue(client)}:{home.env['PATH']}",
        "DISABLE_TELEMETRY": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "SYNCCR_SILENCE_CEILING": "3",
    }
    script = {"script": steps(folder), "text": DONE}
    home.use(provider)
    with home.running():
        for model in (MAIN, SPARE, LONG):
            provider.set(model, script)
        task = home.begin(
            "code", "-p", "take the five steps", "--allowedTools", "Bash,Read", cwd=folder
        )
        deadline = time.monotonic() + LIMIT
        while taken(folder) != ["1", "2"] and task.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        provider.forget()
        chosen = TROUBLES[trouble]
        changes = {"preset": chosen} if isinstance(chosen, str) else chosen
        provider.set(MAIN, changes if "text" in changes else script | changes)
        (folder / "go").touch()
        try:
            said, errors = task.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            task.kill()
            said, errors = task.communicate()
    assert (task.returncode, said.strip()) == (0, DONE), errors
    assert taken(folder) == ["1", "2", "4", "5"]
    asked = [record for record in provider.requests(MAIN) if b"take the five steps" in record.raw]
    assert 1 <= len(asked) <= 2
