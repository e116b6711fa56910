"""Starting CCR: out of its own way, on a private port, until it serves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from synccr.ccr.launch_context import EgressAddress
from synccr.ccr.liveness import answers, refuses
from synccr.ccr.orphans import Register
from synccr.ccr.output import last_error
from synccr.ccr.package import Package
from synccr.ccr.process import ProcessId
from synccr.ccr.spawn import environ_of, serving, spawn
from synccr.ccr.start_failure import StartFailed, TryAgain, unwritable
from synccr.ccr.v2.backend import Backend2
from synccr.ccr.v2.log_files import last_logged_error
from synccr.ccr.v2.pid_file import (
    ForeignCCR,
    Ours,
    pid_file_owner,
    remove_pid_file,
    write_pid_file,
)
from synccr.ccr.v2.preload import led_command, led_environ
from synccr.errors import Taken
from synccr.files import close_to_writers, private_directory
from synccr.paths import Paths
from synccr.ports import free_port, is_free
from synccr.redact import Redactor

_STEP = 0.01
_ATTEMPTS = 4
_TODO = "See: synccr logs"
_SAYS_RUNNING = ("server is running", "already running")


@dataclass(frozen=True)
class Launcher:
    """Starts CCR for one directory.

    Args:
        paths: where CCR reads its configuration and writes its log.
        environ: for CCR; provider keys are in it.
        start_timeout: seconds until ``/health`` has to answer.
        redact: applied to what CCR says before it is quoted.
        register: keeps what was started, for a successor of ours.
        egress: where CCR's provider requests are to go; None for straight to the providers.
    """

    paths: Paths
    environ: Mapping[str, str] = field(repr=False)
    start_timeout: float = 30.0
    redact: Redactor = field(default_factory=Redactor)
    register: Register | None = None
    egress: EgressAddress | None = None

    async def launch(
        self,
        package: Package,
        *,
        ours: Collection[ProcessId] = (),
    ) -> Backend2:
        """Start CCR and wait until it serves.

        Call it in the thread that lives as long as the program: on Linux CCR ends
        with the thread that started it.

        Args:
            package: what to start.
            ours: the backends that run; the pid file may name one of them, which
                goes on serving. When the start fails the file names it again.

        Raises:
            StartFailed: CCR died or did not answer; its last error is quoted.
            Taken: another CCR serves this directory.
            RuntimeMissing: it could not be run at all.
            SynccrError: CCR's directory cannot be written.
        """
        last: TryAgain | None = None
        for _ in range(_ATTEMPTS):
            named = self._clear_pid_file(ours)
            backend, ready = None, False
            try:
                backend = await self._spawn(package, free_port())
                await self._until_ready(backend)
                write_pid_file(self.paths, backend.pid)
                ready = True
            except TryAgain as lost:
                last = lost
            except OSError as error:
                raise unwritable(error, self.paths.ccr) from error
            else:
                return backend
            finally:
                if not ready:
                    if backend:
                        backend.kill()
                        await backend.stop(0)
                    self._name_again(named)
        raise StartFailed(f"CCR could not be started: {last}.", todo=_TODO)

    def _clear_pid_file(self, ours: Collection[ProcessId]) -> int | None:
        """Take the pid file out of CCR's way; the pid of ours that it named."""
        owner = pid_file_owner(self.paths, ours)
        if isinstance(owner, ForeignCCR) and owner.ports:
            listed = ", ".join(map(str, sorted(owner.ports)))
            raise Taken(
                f"Another Claude Code Router (pid {owner.identity.pid}, port {listed}) already "
                f"serves {self.paths.ccr}.",
                "Stop it with: ccr stop",
            )
        try:
            remove_pid_file(self.paths)
        except OSError as error:
            raise unwritable(error, self.paths.ccr) from error
        return owner.identity.pid if isinstance(owner, Ours) else None

    def _name_again(self, pid: int | None) -> None:
        # Should it fail, CCR's own commands find nothing; what serves goes on serving.
        with contextlib.suppress(OSError):
            if pid is None:
                remove_pid_file(self.paths)
            else:
                write_pid_file(self.paths, pid)

    async def _spawn(self, package: Package, port: int) -> Backend2:
        directory = private_directory(self.paths.ccr)
        for place in (directory, self.paths.ccr_logs):
            close_to_writers(place)  # CCR opens files there by names that can be foreseen
        environ = environ_of(package, self.environ, self.paths) | {"SERVICE_PORT": str(port)}
        command = package.command
        if self.egress:
            command = led_command(package)
            environ = led_environ(package, environ, self.egress)
        process, root, output = await spawn(
            package, command, directory, environ, register=self.register
        )
        return Backend2(
            process,
            package=package,
            port=port,
            root=root,
            paths=self.paths,
            output=output,
            register=self.register,
        )

    async def _until_ready(self, backend: Backend2) -> None:
        deadline = time.monotonic() + self.start_timeout
        while time.monotonic() < deadline:
            if backend.exit_code is not None:
                raise self._died(backend)
            if await answers(backend.port, 1.0) and (found := serving(backend)):
                backend.identity = found
                backend.led = self.egress is not None and await refuses(backend.port, 1.0)
                _ = backend.log_path  # looked up while it is surely open
                return
            await asyncio.sleep(_STEP)
        detail = self._detail(backend)
        raise StartFailed.silent(backend.port, self.start_timeout, detail, _TODO)

    def _died(self, backend: Backend2) -> Exception:
        """Why it died, or that it is worth another try."""
        code = backend.exit_code
        said = backend.last_words()
        if code == 0 and any(words in said for words in _SAYS_RUNNING):
            return TryAgain("it says that it already runs")
        detail = self._detail(backend)
        # CCR exits before its log is written, so that its own word on the port is often lost.
        if "EADDRINUSE" in detail or (code == 1 and not is_free(backend.port)):
            return TryAgain(f"port {backend.port} was taken by another process")
        return StartFailed.exited(code, detail, _TODO)

    def _detail(self, backend: Backend2) -> str:
        pid = backend.root.pid if backend.package.entry else None
        logged = last_logged_error(self.paths.ccr_logs, pid, backend.started_at.timestamp())
        return self.redact.line(logged or last_error(backend.output)).rstrip(".")
