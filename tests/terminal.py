"""Terminals for tests: a pseudo terminal for one command, tmux for a whole session."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

SYNCCR = (sys.executable, "-m", "synccr")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]")


def plain(text: str) -> str:
    """What stands on the screen: no escapes, no carriage returns."""
    return _ESCAPE.sub("", text).replace("\r", "")


def _control_terminal() -> None:
    """So that Ctrl-C is a signal, and one that counts: a shell that runs the tests in the
    background has it ignored by all that it starts."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Ended:
    """A command that has ended in a terminal."""

    code: int
    text: str


def in_terminal(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    columns: int = 80,
    rows: int = 24,
    keys: bytes = b"",
    patience: float = 60,
) -> Ended:
    """Run a command on a pseudo terminal of this size; ``keys`` are typed when it has shown
    something."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    child = subprocess.Popen(
        command,
        env={"TERM": "xterm-256color", **env},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=_control_terminal,
    )
    os.close(slave)
    shown = b""
    os.set_blocking(master, False)
    deadline = time.monotonic() + patience
    try:
        while True:
            ended = child.poll() is not None
            try:
                chunk = os.read(master, 65536)
            except BlockingIOError:
                chunk = b""
            except OSError:
                break  # the other end is closed
            shown += chunk
            if shown and keys:
                os.write(master, keys)
                keys = b""
            if not chunk:
                if ended:
                    break
                assert time.monotonic() < deadline, f"still runs: {plain(shown.decode())}"
                time.sleep(0.02)
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        os.close(master)
    return Ended(child.returncode, shown.decode("utf-8", "replace"))


class Tmux:
    """A tmux server of its own with one shell; ``close`` ends all of it."""

    def __init__(
        self, name: str, env: Mapping[str, str], columns: int = 100, rows: int = 30
    ) -> None:
        if shutil.which("tmux") is None:
            pytest.skip("tmux is not installed")
        self._base = ["tmux", "-L", f"synccr-test-{os.getpid()}-{name}", "-f", "/dev/null"]
        self._env = {"TERM": "xterm-256color", **env, "PS1": "ready> ", "LC_ALL": "C.UTF-8"}
        self._count = 0
        size = ["-x", str(columns), "-y", str(rows)]
        self.run("new-session", "-d", *size, "bash", "--norc", "--noprofile")
        self.until("ready>")

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._base, *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout

    def type(self, text: str, *, enter: bool = True) -> None:
        """Type a text as it is, then Enter."""
        if text:
            self.run("send-keys", "-l", text)
        if enter:
            self.run("send-keys", "Enter")

    def press(self, key: str) -> None:
        self.run("send-keys", key)

    def screen(self) -> str:
        """What is to be seen, and what has scrolled away."""
        return self.run("capture-pane", "-p", "-S", "-500")

    def until(self, words: str, seconds: float = 60) -> str:
        """Wait until these words are on the screen."""
        deadline = time.monotonic() + seconds
        while words not in (shown := self.screen()):
            assert time.monotonic() < deadline, f"{words!r} never came:\n{shown}"
            time.sleep(0.1)
        return shown

    def command(self, line: str, seconds: float = 60) -> str:
        """Type a command, wait for its end, and return what it showed and ``ended:CODE``."""
        self._count += 1
        mark = f"ended{self._count}:"
        self.type(f"{line}; echo {mark}$?")
        shown = self.until_match(rf"{mark}\d+\s", seconds)
        return shown.rpartition(f"{mark}$?")[2].replace(mark, "ended:")

    def until_match(self, pattern: str, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while not re.search(pattern, shown := self.screen()):
            assert time.monotonic() < deadline, f"{pattern!r} never came:\n{shown}"
            time.sleep(0.1)
        return shown

    def close(self) -> None:
        subprocess.run(
            [*self._base, "kill-server"], env=self._env, check=False, capture_output=True
        )


def command_on_path(directory: Path) -> Path:
    """A directory with ``synccr`` in it, as an installation would put it on the PATH."""
    directory.mkdir(parents=True, exist_ok=True)
    script = directory / "synccr"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m synccr "$@"\n')
    script.chmod(0o755)
    return directory
