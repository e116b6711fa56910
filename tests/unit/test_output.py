"""What reaches a terminal: text from outside cannot make it obey."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from synccr.cli import output


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variable", "value", "plain"),
    [("NO_COLOR", "1", True), ("TERM", "dumb", True), ("TERM", "xterm-256color", False)],
)
def test_a_table_without_colours(
    variable: str, value: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where colours are not welcome a table has no escapes at all, not even bold ones spelt out."""
    from rich.table import Table

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(variable, value)
    table = Table(box=None, header_style="bold")
    table.add_column("model")
    table.add_row("[red]main")
    stream = Terminal()
    output.draw(table, stream=stream)
    assert "\\u001b" not in stream.getvalue()
    assert ("\x1b" not in stream.getvalue()) is plain


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_nobody_to_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for a person that cannot be written stops nothing; data that cannot is an error."""
    monkeypatch.setattr("sys.stderr", Full())
    monkeypatch.setattr("sys.stdout", Full())
    output.print_note("nobody hears this")
    with pytest.raises(OSError, match="No space"):
        output.print_data("this was asked for")


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe is another thing there")
@pytest.mark.parametrize(
    ("command", "code"),
    [("doctor --list", 0), ("status --json", 0), ("status", 3), ("swap nowhere", 2)],
)
def test_nobody_reads(command: str, code: int, tmp_path: Path) -> None:
    """As after ``2>&1 | head -1``: who has what they wanted goes, which is no fault; another
    exit code than that of the command is never made of it."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "synccr", *command.split()],
            env={**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": "", "XDG_CONFIG_HOME": ""},
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=write,
            timeout=30,
            check=False,
        )
    finally:
        os.close(write)
    assert done.returncode == code
