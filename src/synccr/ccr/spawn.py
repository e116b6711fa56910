"""How a child is started on each platform, so that it ends with us and only with us."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

_SIGKILL = 9

# Runs in the child before its program: Linux sends it a signal when the thread of
# ours that started it is gone, whatever ended it. A wrapper of 18 ms and not preexec_fn,
# which may deadlock beside threads; the pid and the process group stay the same.
_ENDS_WITH_PARENT = (
    "import ctypes, os, sys;"
    "ctypes.CDLL(None).prctl(1, int(sys.argv[2]));"  # PR_SET_PDEATHSIG
    "os.getppid() == int(sys.argv[1]) or sys.exit(1);"  # it went before we asked
    "os.execvp(sys.argv[3], sys.argv[3:])"
)


def guarded(command: tuple[str, ...], number: int = _SIGKILL) -> tuple[str, ...]:
    """``command``, sent this signal by the system when we end, where there is such a thing
    (Linux)."""
    wrapper: tuple[str, ...] = ()
    if sys.platform == "linux" and sys.executable:
        wrapper = (
            sys.executable,
            "-I",
            "-S",
            "-c",
            _ENDS_WITH_PARENT,
            str(os.getpid()),
            str(number),
        )
    return (*wrapper, *command)


def spawn_options() -> dict[str, Any]:
    """Arguments for the spawn: a process group of its own, and files for one person only."""
    options: dict[str, Any] = {}
    if sys.platform == "win32":
        # Ctrl-C in the console is ours to handle.
        options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    else:
        options["start_new_session"] = True
        # CCR's log, pid file and ~/.claude.json are nobody else's to read.
        options["umask"] = 0o077
    return options
