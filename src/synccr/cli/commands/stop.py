"""``synccr stop``."""

from __future__ import annotations

import asyncio
import time

from synccr.ccr.orphans import end_orphans
from synccr.ccr.process import ProcessId, ask_to_end, end_now, identify, is_alive, resume
from synccr.cli.output import print_note
from synccr.cli.result import Note, Result
from synccr.cli.running_instance import PATIENCE
from synccr.control import request
from synccr.errors import NoAnswer, NotRunning, SynccrError
from synccr.paths import Paths
from synccr.supervisor.lock import holder

_STOP_PATIENCE = 30.0
_KILL_AFTER = 15.0  # a supervisor gives requests in flight and CCR 5 seconds each


def run() -> Result:
    """End the supervisor and CCR with it. Nothing else is touched.

    One that does not answer is resumed, in case it was suspended, and asked by a signal;
    what does not end then is killed. Exit code 0 also when nothing runs.
    """
    paths = Paths.from_environment()
    try:
        pid = int(request(paths.instance, "stop", timeout=PATIENCE)["pid"])
    except NotRunning:
        return Result([Note("synccr is not running.")])
    except NoAnswer:
        silent = holder(paths.instance)
        if silent is None:
            raise
        _end_silent(paths, silent)
    else:
        there = identify(pid)
        if there and not _ended(there, _STOP_PATIENCE):
            raise SynccrError(
                f"The supervisor (pid {pid}) has not ended within {_STOP_PATIENCE:.0f} s.",
                f"Look at: synccr logs; as the last resort: kill -9 {pid}",
            )
    return Result([Note("Stopped.")])


def _end_silent(paths: Paths, there: ProcessId) -> None:
    """End a supervisor that does not answer, and should it have to be killed, its CCR."""
    print_note(f"The supervisor (pid {there.pid}) does not answer; it is ended by a signal.")
    ask_to_end(there)
    resume(there)
    if not _ended(there, _KILL_AFTER):
        end_now(there)
        _ended(there, PATIENCE)
        asyncio.run(end_orphans(paths))


def _ended(process: ProcessId, patience: float) -> bool:
    """Success is an observed exit; one that its parent has not waited for yet is one, too."""
    deadline = time.monotonic() + patience
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
