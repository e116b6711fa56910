"""One running CCR 2: named in CCR's pid file, and with a log."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synccr.ccr.backend import Backend, StopResult
from synccr.ccr.process import identify
from synccr.ccr.v2.log_files import find_log
from synccr.ccr.v2.log_watch import follow
from synccr.ccr.v2.pid_file import read_pid_file, remove_pid_file, write_pid_file
from synccr.classify.logged import LoggedFailure
from synccr.paths import Paths


class Backend2(Backend):
    """A CCR 2 that serves.

    Attributes:
        paths: CCR's directory.
    """

    def __init__(self, *args: Any, paths: Paths, **options: Any) -> None:
        super().__init__(*args, **options)
        self.paths = paths
        self._log: Path | None = None
        self._named: int | None = None

    @property
    def log_path(self) -> Path | None:
        """The log it writes; None while it has none open (``"LOG": false``)."""
        if self._log is None:
            self._log = find_log(self.paths.ccr_logs, self.pid, self.started_at.timestamp())
        return self._log

    async def report_failures(
        self, on_failure: Callable[[LoggedFailure], None], log_limit: int
    ) -> None:
        """Follow its log."""
        await follow(self, on_failure, log_limit)

    def claim(self) -> None:
        """Be the one that CCR's pid file names; ``ccr restart`` from a shell leaves there the
        pid of a CCR that never served."""
        if read_pid_file(self.paths) != self.pid:
            with contextlib.suppress(OSError):
                write_pid_file(self.paths, self.pid)

    async def stop(self, deadline: float) -> StopResult:
        """End it; a pid file that names it goes as well. See `Backend.stop`."""
        self._named = read_pid_file(self.paths)
        return await super().stop(deadline)

    def _ended(self) -> None:
        """Name nobody that is gone, and whoever else was named.

        A number that is given out again would make CCR's commands take a stranger for
        CCR; and 1.0.73 deletes the file at its end, also when it names its successor.
        """
        named = self._named
        with contextlib.suppress(OSError):
            remove_pid_file(self.paths, self.pid)
            if not named or named == self.pid or identify(named) is None:
                return
            if read_pid_file(self.paths) is None:
                write_pid_file(self.paths, named)
