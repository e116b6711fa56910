"""The CCR processes: one serves, one may be starting, some may be draining.

Everything that starts, replaces and ends them is here; when, others decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from synccr.background import Background
from synccr.ccr.backend import Backend
from synccr.ccr.launch_context import Starter
from synccr.ccr.liveness import Liveness, Look
from synccr.ccr.package_source import PackageSource
from synccr.ccr.process import ProcessId, descendants
from synccr.config.ccr_file import ConfigFile
from synccr.config.store import recorded
from synccr.errors import SynccrError
from synccr.heal import Healed
from synccr.paths import Paths
from synccr.proxy import BackendAddress, Proxy
from synccr.settings import Settings

HEALTH_PATIENCE = 5.0
"""Seconds for one answer of ``/health``."""
_RECHECK = 1.0
"""Seconds until the next health check after one without an answer."""
_STOP_TIMEOUT = 2.0
"""Seconds that a CCR without requests gets to end by itself."""


class SupervisorReplaced(SynccrError):
    """Another supervisor serves; nothing is started here any more."""

    def __init__(self) -> None:
        super().__init__("Another supervisor serves now.", "Ask it: synccr status")


@dataclass
class Backends:
    """Starts CCR processes and points the proxy to the one that serves.

    Attributes:
        paths: CCR's directory.
        settings: timeouts.
        packages: what is run, looked up before each launch.
        launcher: starts one CCR on a private port.
        proxy: the public port.
        on_died: called with the reason when the serving backend is gone.
        on_serving: called with each backend that begins to serve.
        before_writing: called before CCR's configuration is replaced.
        current: the backend that serves.
        restarts: backends started in place of dead ones.
        predecessor: the supervisor before this one; its CCR may still run.
    """

    paths: Paths
    settings: Settings
    packages: PackageSource
    launcher: Starter
    proxy: Proxy
    on_died: Callable[[str], None]
    on_serving: Callable[[Backend], None]
    before_writing: Callable[[], None] = lambda: None
    current: Backend | None = None
    restarts: int = 0
    predecessor: ProcessId | None = None
    _generation: int = 0
    _healed: Healed | None = None
    _counted: tuple[int, int] = (0, 0)
    _replaced: bool = False
    _closed: bool = False
    _all: list[Backend] = field(default_factory=list)
    _tasks: Background = field(default_factory=Background)
    _check_asked: asyncio.Event = field(default_factory=asyncio.Event)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self, healed: Healed) -> Backend:
        """Start a backend of this configuration and point the proxy to it, unless the one that
        serves can go over to it as it runs.

        The old backend serves until the new one is healthy, then drains. On any
        failure the configuration on disk and the pid file are as before.

        Raises:
            SynccrError: it did not come up, or its configuration could not be written.
            SupervisorReplaced: another supervisor serves by now.
        """
        async with self._one_at_a_time:
            return self._apply(healed) or await self._start(healed)

    async def renew(self) -> Backend | None:
        """Start a backend of the configuration that runs, in place of the one that serves.

        Returns:
            None when none has been started yet.

        Raises:
            SynccrError: as ``start``.
        """
        async with self._one_at_a_time:  # a swap under way decides which configuration runs
            return await self._start(self._healed) if self._healed else None

    @contextlib.asynccontextmanager
    async def no_starts(self) -> AsyncIterator[None]:
        """No backend is started meanwhile. Should the block fail, configuration and pid
        file are made to name again what serves."""
        async with self._one_at_a_time:
            try:
                yield
            except BaseException:
                self._restore_files()
                raise

    def stop_for_takeover(self) -> None:
        """Another supervisor's backend serves from now on; ours drains and ends.

        What waits for its turn to start one raises `SupervisorReplaced`: configuration and pid
        file are the other supervisor's.
        """
        self._replaced = True
        old, self.current = self.current, None
        if old is not None:
            self._tasks.spawn(self._drain_and_stop(old, self._generation))

    async def replace_dead(self, healed: Healed) -> Backend:
        """Start a backend in place of one that died.

        Raises:
            SynccrError: as ``start``.
        """
        backend = await self.start(healed)
        self.restarts += 1
        return backend

    def check_now(self) -> None:
        """Check the current backend at once: the proxy has lost it."""
        self._check_asked.set()

    def take_counters(self) -> dict[str, int]:
        """Requests carried over and answers cut since the last call."""
        stats, (carried, cut) = self.proxy.stats, self._counted
        self._counted = stats.carried, stats.cut
        return {"carried": stats.carried - carried, "cut": stats.cut - cut}

    def oldest_unanswered(self) -> float | None:
        """Seconds for which the oldest request without an answer has waited; None without one."""
        return self.proxy.switch.oldest_unanswered(self._generation)

    async def close(self, deadline: float) -> None:
        """End every backend, within ``deadline`` seconds or by force; cancelled, at once.

        None is started any more, and one that is being started does not stay.
        """
        self.current, self._closed = None, True
        try:
            await self._tasks.cancel()
            await asyncio.gather(*(backend.stop(deadline) for backend in self._all))
        except asyncio.CancelledError:
            for backend in self._all:
                backend.kill()
            raise
        self._all.clear()

    def _apply(self, healed: Healed) -> Backend | None:
        """Have the backend that serves go over to a configuration; None when it cannot."""
        self._check_open()
        backend = self.current
        if backend is None or not backend.applies(healed.config):
            return None
        self.before_writing()
        with self._written(healed):
            backend.apply(healed.config)
        self._healed = healed
        return backend

    async def _start(self, healed: Healed) -> Backend:
        self._check_open()
        package = await self.packages.now()
        ours = [backend.identity for backend in self._all]
        ours += descendants(self.predecessor) if self.predecessor else []
        self.before_writing()
        with self._written(healed):
            backend = await self.launcher.launch(package, healed.config, ours=ours)
            if self._closed:
                backend.kill()
                await backend.stop(0)
            self._check_open()
        old, self.current = self.current, backend
        self._healed = healed
        self._all.append(backend)
        self._generation += 1
        self.proxy.switch.use(BackendAddress(self._generation, "127.0.0.1", backend.port))
        if old is not None:
            self._tasks.spawn(self._drain_and_stop(old, self._generation - 1))
        self._tasks.spawn(self._watch(backend))
        self.on_serving(backend)
        return backend

    @contextlib.contextmanager
    def _written(self, healed: Healed) -> Iterator[None]:
        """CCR's configuration is this one; should the block fail, the former one is back."""
        source = healed.profile.source
        with (
            recorded(self.paths, healed.profile.role, healed.config, source, healed.added),
            ConfigFile(self.paths).transaction(healed.config),
        ):
            yield

    def _check_open(self) -> None:
        if self._replaced:
            raise SupervisorReplaced
        if self._closed:
            raise SynccrError("This supervisor ends.")

    async def _watch(self, backend: Backend) -> None:
        """Notice when the serving backend exits, stops listening or no longer answers."""
        generation = self._generation
        ended = asyncio.create_task(backend.wait())
        liveness = Liveness()
        try:
            while backend is self.current:
                await self._wait_for_next_check(ended, soon=liveness.uneasy)
                began, used = time.monotonic(), backend.cpu_seconds()
                found = Look.CLOSED if ended.done() else await backend.look(HEALTH_PATIENCE)
                if found is Look.CLOSED:
                    # A process that is dying is seen to exit a moment later.
                    await asyncio.wait({ended}, timeout=0.05)
                if backend is not self.current:
                    return None
                if ended.done():
                    code = ended.result()
                    how = f"signal {-code}" if code < 0 else f"exit code {code}"
                    return self._lost(how, self._stop(backend))
                if found is Look.CLOSED:
                    # It was told to end, as by `ccr stop`, and finishes what it has begun.
                    drain = self._drain_and_stop(backend, generation)
                    return self._lost("it stopped listening", drain)
                now, used = time.monotonic(), backend.cpu_seconds() - used
                if liveness.over(found, used=used, waited=now - began, now=now):
                    self.proxy.switch.abandon(generation)
                    return self._lost("it no longer answers /health", self._stop(backend))
                if not self._one_at_a_time.locked():  # one that starts would take that for itself
                    backend.claim()
        finally:
            ended.cancel()

    async def _wait_for_next_check(self, ended: asyncio.Task[int], *, soon: bool) -> None:
        """Wait until it is time, or the proxy asks, or the backend has ended."""
        interval = self.settings.health_interval
        asked = asyncio.create_task(self._check_asked.wait())
        await asyncio.wait(
            {ended, asked},
            timeout=min(_RECHECK, interval) if soon else interval,
            return_when=asyncio.FIRST_COMPLETED,
        )
        asked.cancel()
        self._check_asked.clear()

    def _lost(self, reason: str, cleanup: Coroutine[Any, Any, None]) -> None:
        self.current = None
        self.proxy.switch.hold()
        self._tasks.spawn(cleanup)
        self.on_died(reason)

    def _restore_files(self) -> None:
        if self.current is None or self._healed is None:
            return
        with contextlib.suppress(SynccrError, OSError):
            self.current.claim()
            file = ConfigFile(self.paths)
            if not file.changed_by_others():
                file.write(self._healed.config)

    async def _drain_and_stop(self, backend: Backend, generation: int) -> None:
        """Let an old backend finish what it has begun, then end it."""
        self.proxy.switch.retire(generation)
        if not await self.proxy.switch.drained(generation, self.settings.drain_timeout):
            self.proxy.switch.abandon(generation)
        await self._stop(backend)

    async def _stop(self, backend: Backend) -> None:
        await backend.stop(_STOP_TIMEOUT)
        with contextlib.suppress(ValueError):
            self._all.remove(backend)
