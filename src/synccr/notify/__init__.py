"""Reaching a person who does not look: a desktop notification, a URL or a command.

A command is run as it is. The other two take libraries that are large for a process that
runs for weeks, so a child that lives for one message loads them (``python -m
synccr.notify``); what it needs comes on its standard input, since a URL may hold a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from synccr.errors import UsageError

TIMEOUT = 15.0
"""Seconds that one message may take."""
EVENT = "SYNCCR_EVENT"
"""The environment variable in which a command finds the message as JSON."""
GET_IT = "install it with: pip install 'synccr[notify]'"
_ANSWER = 500


@dataclass(frozen=True)
class Notice:
    """One message.

    Attributes:
        kind: a kind of the journal.
        text: what happened, one line.
        todo: what a person can do; empty when nothing.
        at: ISO 8601, UTC.
    """

    kind: str
    text: str
    todo: str = ""
    at: str = ""

    @property
    def line(self) -> str:
        """Everything in one line. Its beginning is ours, so that it is never an option."""
        return f"synccr: {self.text} {self.todo}".rstrip()


@dataclass(frozen=True)
class Target:
    """Where messages go.

    Attributes:
        way: one of the four values of the setting ``notify``.
        url: for ``url``; may hold a token, so it is not shown.
        command: for ``command``: a program and its arguments.
    """

    way: Literal["off", "desktop", "url", "command"]
    url: str = field(default="", repr=False)
    command: tuple[str, ...] = ()


def target(setting: str) -> Target:
    """Read the setting ``notify``.

    Raises:
        UsageError: it is a command whose quotes do not match, or an empty one.
    """
    text = setting.strip()
    if text.lower() in ("", "off", "none", "false"):
        return Target("off")
    if text.lower() == "desktop":
        return Target("desktop")
    if "://" in text.split()[0]:
        return Target("url", url=text)
    try:
        words = shlex.split(text, posix=sys.platform != "win32")
        if not words[0]:
            raise ValueError("it is empty")
    except ValueError as error:
        raise UsageError(
            f"The setting notify is a command that cannot be read: {error}.",
            "Write off, desktop, a URL, or a command as in a shell.",
        ) from error
    program, *rest = (word.strip('"') for word in words)
    if program.startswith("~"):
        program = str(Path(program).expanduser())
    return Target("command", command=(program, *rest))


def lacks(to: Target, environ: Mapping[str, str]) -> str | None:
    """What keeps messages from arriving there, as far as that can be told without sending one;
    None when nothing does."""
    if to.way == "desktop" and not has("desktop_notifier"):
        return f"desktop notifications need desktop-notifier; {GET_IT}"
    if to.way == "url" and not has("apprise"):
        scheme = to.url.partition("://")[0].lower()
        if scheme not in ("http", "https"):
            return f"{scheme}:// addresses need apprise; {GET_IT}"
    if to.way == "command" and shutil.which(to.command[0], path=environ.get("PATH")) is None:
        close = difflib.get_close_matches(to.command[0], ("desktop", "off"), n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"there is no command {to.command[0]!r}{hint}"
    return None


def has(library: str) -> bool:
    """Whether a library of the extra ``notify`` is installed; it is not loaded."""
    return importlib.util.find_spec(library) is not None


async def send(
    to: Target, notice: Notice, environ: Mapping[str, str], *, timeout: float = TIMEOUT
) -> str | None:
    """Deliver one message.

    A command gets the line as its last argument and on standard input, and the message as
    JSON in ``SYNCCR_EVENT``. No shell is between.

    Returns:
        None when it was delivered; else why not, which may hold text from outside.
    """
    if to.way == "off":
        return "notifications are off"
    if to.way == "command":
        message = json.dumps(asdict(notice), ensure_ascii=False)
        return await _run(
            [*to.command, notice.line], notice.line, {**environ, EVENT: message}, timeout
        )
    order = {"way": to.way, "url": to.url, "notice": asdict(notice)}
    arguments = [sys.executable, "-P", "-m", "synccr.notify"]
    return await _run(arguments, json.dumps(order), environ, timeout)


async def _run(
    arguments: list[str], text: str, environ: Mapping[str, str], timeout: float
) -> str | None:
    """Files instead of pipes: what a notifier leaves running keeps nobody waiting."""
    apart: dict[str, Any] = {} if sys.platform == "win32" else {"start_new_session": True}
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as said:
        told.write(text.encode())
        told.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=told,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=dict(environ),
                **apart,
            )
        except (OSError, ValueError) as error:
            return f"{arguments[0]} cannot be run: {getattr(error, 'strerror', None) or error}"
        try:
            code = await asyncio.wait_for(process.wait(), timeout)
        except TimeoutError:
            return f"not delivered within {timeout:g} s"
        finally:
            await _end(process)
        if code == 0:
            return None
        said.seek(max(0, said.seek(0, os.SEEK_END) - _ANSWER))
        words = said.read().decode("utf-8", "replace").strip()
        return words.splitlines()[-1] if words else f"exit code {code}"


async def _end(process: asyncio.subprocess.Process) -> None:
    """One that has not ended by itself is ended with its group, which is its own: that holds
    what has lost its parent, too, as the tree below the process does not."""
    if process.returncode is not None:
        return
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
