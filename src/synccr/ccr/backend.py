"""One running CCR: asked whether it serves, seen to end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synccr.ccr.liveness import Look, look
from synccr.ccr.orphans import Register
from synccr.ccr.output import Output
from synccr.ccr.package import Package
from synccr.ccr.process import ProcessId, end, end_tree_now, is_alive, tree
from synccr.classify.logged import LoggedFailure


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
    """A CCR that serves; each generation's has more to do, or less.

    Attributes:
        package: what runs.
        port: the private one, on 127.0.0.1.
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
        """The log it writes; None for one that keeps none."""
        return None

    async def report_failures(
        self, on_failure: Callable[[LoggedFailure], None], log_limit: int
    ) -> None:
        """Report what it writes of providers' failures, until cancelled; at once, should it
        write of none.

        Args:
            on_failure: called in the event loop; must not block.
            log_limit: bytes of all logs together; 0 is none.
        """

    def claim(self) -> None:
        """Put the files right by which CCR's own commands find this one, and by which it finds
        its routes; again, should another have changed them."""

    def applies(self, config: Mapping[str, Any]) -> bool:  # noqa: ARG002  # of use to some
        """Whether it can go over to this configuration as it runs."""
        return False

    def apply(self, config: Mapping[str, Any]) -> None:
        """Go over to this configuration, with the next request.

        Raises:
            SynccrError: it could not be written; the former one counts.
        """
        raise NotImplementedError

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
        """End it and everything it started, and remove what only it needed.

        SIGTERM lets CCR finish the streams it has begun; with a request whose
        upstream is silent it would never end, so after the deadline it is killed.

        Args:
            deadline: seconds; 0 kills at once.
        """
        began = time.monotonic()
        members = tree(self._outermost())
        killed = await end(members, deadline)
        ended = not any(map(is_alive, members))
        if ended:
            await self._process.wait()
            self._ended()
            if self._register:
                self._register.discard(self.root)
        return StopResult(ended, self.exit_code, killed, time.monotonic() - began)

    def _ended(self) -> None:
        """Remove what only it needed; it has gone."""

    def kill(self) -> None:
        """Send SIGKILL to everything without waiting; for a way out that cannot wait."""
        end_tree_now(self._outermost())

    def _outermost(self) -> ProcessId:
        """Where its tree begins: when npx was killed, CCR has gone on as nobody's child."""
        return self.root if is_alive(self.root) else self.identity
