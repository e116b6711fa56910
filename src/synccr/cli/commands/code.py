"""``synccr code``: Claude Code through the router."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import typer

from synccr.cli.detach import detach
from synccr.cli.endpoint import client_environment, endpoint
from synccr.cli.output import print_note
from synccr.cli.result import Result
from synccr.errors import NotRunning, RuntimeMissing

CONTEXT = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}
"""Every argument is Claude Code's."""


def run(context: typer.Context) -> Result:
    """Run Claude Code through the router, which is started when needed.

    All arguments go to Claude Code; terminal, signals and exit code are its own,
    and none of its settings is changed.
    """
    program = shutil.which("claude")
    if program is None:
        raise RuntimeMissing(
            "Claude Code is not installed (no claude on the PATH).",
            "Run: npm install -g @anthropic-ai/claude-code",
        )
    try:
        found = endpoint()
    except NotRunning:
        print_note("Starting the router ...", "dim")
        detach([])
        found = endpoint()
    environ = {**os.environ, **client_environment(found)}
    environ.pop("ANTHROPIC_API_KEY", None)  # Claude Code would prefer it to the token
    command = [program, *context.args]
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform == "win32":
        return Result(exit_code=subprocess.run(command, env=environ, check=False).returncode)
    os.execve(program, command, environ)  # noqa: S606  # exit code and terminal are then its own
