"""Following the log of the backend that serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from synccr.ccr.process import ProcessId, paused
from synccr.ccr.v2.dir_watch import changes
from synccr.ccr.v2.log import CANDIDATES, parse_line
from synccr.ccr.v2.log_files import trim_logs
from synccr.ccr.v2.log_follower import LogFollower
from synccr.classify.logged import LoggedFailure
from synccr.paths import Paths

_LOOK = 1.0
_TAIL = 1024 * 1024  # bytes that stay of a log that is cut
_REST = 0.005


class Logging(Protocol):
    """A CCR 2 that writes a log.

    Attributes:
        paths: CCR's directory.
        identity: the process that writes.
    """

    paths: Paths
    identity: ProcessId

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def log_path(self) -> Path | None:
        """The log; None while none is open."""


async def follow(
    backend: Logging, on_failure: Callable[[LoggedFailure], None], limit: int = 0
) -> None:
    """Report what goes wrong with providers, until cancelled.

    Lines of this backend are reported from its start on, each once, within about
    1 ms of being written (p99 below 30 ms).

    Args:
        backend: whose log.
        on_failure: called in the event loop; must not block.
        limit: bytes of all logs together; 0 is none. Old logs are deleted, and this one is cut
            at half of it, once that was read. CCR is held for that moment, so that no line is
            lost, and appends, so that it goes on.
    """

    def read(follower: LogFollower) -> bool:
        lines, more = follower.poll()
        for line in lines:
            if failure := parse_line(line, backend.pid):
                on_failure(failure)
        return more

    if limit:
        await asyncio.to_thread(trim_logs, backend.paths.ccr_logs, limit)
    async with changes(backend.paths.ccr_logs) as changed:
        while (path := backend.log_path) is None:  # "LOG": false, or not opened yet
            await _next(changed)
        with LogFollower(path, CANDIDATES) as follower:
            while True:
                changed.clear()
                more = True
                while more:
                    more = read(follower)
                    # A long backlog, or a log that never rests, leaves room for others.
                    await asyncio.sleep(0 if more else _REST)
                if limit and follower.size > limit // 2:
                    with paused(backend.identity):
                        while read(follower):
                            pass
                        follower.cut(min(_TAIL, limit // 4))
                await _next(changed)


async def _next(changed: asyncio.Event) -> None:
    """Until something changed, or a second: not every file system tells."""
    try:
        async with asyncio.timeout(_LOOK):
            await changed.wait()
    except TimeoutError:
        return
