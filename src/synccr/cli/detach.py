"""``start --detach``: the same command in the background, watched until it answers."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synccr.cli.output import print_note
from synccr.cli.result import Note, Result
from synccr.control import request
from synccr.errors import NotRunning, SynccrError, Taken
from synccr.files import open_to_append, private_directory
from synccr.paths import Paths

_PATIENCE = 900.0  # npm may have to bring CCR over a slow line
_LOG_LIMIT = 1024 * 1024


def start_detached(arguments: list[str]) -> Result:
    """Do :func:`detach`, and say where it runs."""
    return runs_at(detach(arguments))


def runs_at(status: Mapping[str, Any]) -> Result:
    """Where the supervisor with this status is found."""
    where = f"{status['endpoint']} (pid {status['supervisor']['pid']})"
    return Result([Note(f"synccr runs at {where}.")])


def detach(arguments: list[str]) -> dict[str, Any]:
    """Start a supervisor in the background and wait until its endpoint answers.

    What the child says meanwhile is passed on.

    Args:
        arguments: of ``synccr start``.

    Returns:
        Its status.

    Raises:
        SynccrError: it ended instead; its own words and exit code.
    """
    paths = Paths.from_environment()
    try:
        running = request(paths.instance, "status", timeout=2.0)
    except NotRunning:
        pass
    else:
        raise Taken(
            f"synccr runs already: supervisor pid {running['supervisor']['pid']}, "
            f"endpoint {running['endpoint']}.",
            "Use it, or end it: synccr stop",
        )
    private_directory(paths.log)
    log = own_log(paths)
    child, begin = _spawn(arguments, log)
    heard = _Listener(log, begin)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        code = child.poll()
        if code is not None:
            if code != Taken.exit_code:  # else what the log says was said by the one that runs
                heard.listen()
            raise _last_words(log, begin, code)
        try:
            status: dict[str, Any] = request(paths.instance, "status", timeout=2.0)
            if status["supervisor"]["pid"] == child.pid:
                heard.listen()
                if status["state"] != "starting":
                    return status
        except SynccrError:
            pass
        time.sleep(0.03)
    child.terminate()
    raise SynccrError(f"synccr has not answered within {_PATIENCE:.0f} s.", f"Look at {log}")


class _Listener:
    """Passes on the whole lines that are new in a log, but for the last words."""

    def __init__(self, log: Path, at: int) -> None:
        self._log, self._at = log, at

    def listen(self) -> None:
        with self._log.open("rb") as file:
            file.seek(self._at)
            whole, end, _ = file.read().rpartition(b"\n")
        self._at += len(whole) + len(end)
        for line in whole.decode("utf-8", "replace").splitlines():
            if line.startswith("synccr: "):
                break
            if line:
                print_note(line, "dim")


def own_log(paths: Paths) -> Path:
    """Where a supervisor in the background writes."""
    return paths.log / f"{paths.instance.name}.log"


def _spawn(arguments: list[str], log: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The child, and where its own words begin in the log."""
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    handle = open_to_append(log)
    try:
        begin = os.fstat(handle).st_size
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "synccr", "start", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            env={**os.environ, "_SYNCCR_DETACHED": "1"},
            **_apart(),
        )
    finally:
        os.close(handle)
    return child, begin


def bound_own_log(log: Path) -> None:
    """Keep the output of a supervisor in the background within limits; for that process itself.

    Nobody else writes there, and it was opened for appending. What is no log of ours,
    such as a terminal or a file of the person's own, is left alone.
    """
    with contextlib.suppress(OSError):
        own = os.fstat(2)
        if own.st_size > _LOG_LIMIT and os.path.samestat(own, log.stat()):
            shutil.copyfile(log, log.with_suffix(".log.1"), follow_symlinks=False)
            os.ftruncate(2, 0)


def _apart() -> dict[str, Any]:
    """What makes a child outlive this terminal."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def _last_words(log: Path, begin: int, code: int) -> SynccrError:
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    at = max((i for i, line in enumerate(lines) if line.startswith("synccr: ")), default=None)
    if at is None:
        error = SynccrError(f"synccr ended at once (exit code {code}).", f"Look at {log}")
    else:
        todo = lines[at + 1].strip() if at + 1 < len(lines) else ""
        error = SynccrError(lines[at].removeprefix("synccr: "), todo)
    error.exit_code = code or 1  # type: ignore[misc]  # the child's own
    return error
