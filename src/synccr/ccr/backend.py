"""One running CCR: asked whether it serves, seen to end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from synccr.ccr.liveness import Look, look
from synccr.ccr.log_files import find_log
from synccr.ccr.orphans import Register
from synccr.ccr.output import Output
from synccr.ccr.package import Package
from synccr.ccr.pid_file import read_pid_file, remove_pid_file, write_pid_file
from synccr.ccr.process import ProcessId, end, end_tree_now, identify, is_alive, tree
from synccr.paths import Paths


@dataclass(frozen=True)
class StopResult:
    """How a backend ended.

    Attributes:
        ended: everything that was started is gone, and was seen to be.
        exit_code: of the process; negative for a signal; None when it still runs.
        killed: it did not end within its time and got SIGKILL.
        took: seconds.
    """

    ended: bool
    exit_code: int | None
    killed: bool
    took: float


class Backend:
    """A CCR that serves.

    Attributes:
        package: what runs.
        port: the private one, on 127.0.0.1.
        paths: CCR's directory.
        root: the process that was started.
        identity: the process that serves; not ``root`` only when npx runs it.
        started_at: UTC.
        led: its provider requests go to the egress, and its port is closed to strangers; False
            also when the module that sees to it did not load.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        *,
        package: Package,
        port: int,
        root: ProcessId,
        paths: Paths,
        output: Output,
        register: Register | None,
    ) -> None:
        self.package = package
        self.port = port
        self.root = root
        self.identity = root
        self.started_at = datetime.now(UTC)
        self.led = False
        self._process = process
        self.paths = paths
        self._log: Path | None = None
        self._output = output
        self._register = register

    def __repr__(self) -> str:
        return f"Backend(pid={self.pid}, port={self.port}, version={self.package.version!r})"

    @property
    def pid(self) -> int:
        """Of the process that serves and that writes the log."""
        return self.identity.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    @property
    def output(self) -> str:
        """The last 64 KiB of what it printed; from outside, to be redacted before it is shown."""
        return self._output.text()

    @property
    def log_path(self) -> Path | None:
        """The log it writes; None while it has none open (``"LOG": false``)."""
        if self._log is None:
            self._log = find_log(self.paths.ccr_logs, self.pid, self.started_at.timestamp())
        return self._log

    def last_words(self) -> str:
        """What it printed last; for one that has ended."""
        return self._output.finish()

    async def look(self, timeout: float = 5.0) -> Look:
        """Whether it answers ``/health`` within ``timeout`` seconds."""
        return await look(self.port, timeout) if self.exit_code is None else Look.CLOSED

    async def healthy(self, timeout: float = 5.0) -> bool:
        """Whether it runs and answers ``/health`` within ``timeout`` seconds."""
        return await self.look(timeout) is Look.HEALTHY

    def cpu_seconds(self) -> float:
        """CPU time that it has used; 0 when the system does not tell."""
        import psutil

        try:
            times = psutil.Process(self.pid).cpu_times()
        except (psutil.Error, OSError):
            return 0.0
        return float(times.user + times.system)

    async def wait(self) -> int:
        """Until it ends; its exit code, negative for a signal."""
        return await self._process.wait()

    async def stop(self, deadline: float) -> StopResult:
        """End it and everything it started; a pid file that names it goes as well.

        SIGTERM lets CCR finish the streams it has begun; with a request whose
        upstream is silent it would never end, so after the deadline it is killed.

        Args:
            deadline: seconds; 0 kills at once.
        """
        began = time.monotonic()
        named = read_pid_file(self.paths)
        members = tree(self._outermost())
        killed = await end(members, deadline)
        ended = not any(map(is_alive, members))
        if ended:
            await self._process.wait()
            with contextlib.suppress(OSError):
                self._leave_pid_file(named)
            if self._register:
                self._register.discard(self.root)
        return StopResult(ended, self.exit_code, killed, time.monotonic() - began)

    def _leave_pid_file(self, named: int | None) -> None:
        """Name nobody that is gone, and whoever else was named.

        A number that is given out again would make CCR's commands take a stranger for
        CCR; and 1.0.73 deletes the file at its end, also when it names its successor.
        """
        remove_pid_file(self.paths, self.pid)
        if named and named != self.pid and identify(named) and read_pid_file(self.paths) is None:
            write_pid_file(self.paths, named)

    def kill(self) -> None:
        """Send SIGKILL to everything without waiting; for a way out that cannot wait."""
        end_tree_now(self._outermost())

    def _outermost(self) -> ProcessId:
        """Where its tree begins: when npx was killed, CCR has gone on as nobody's child."""
        return self.root if is_alive(self.root) else self.identity
