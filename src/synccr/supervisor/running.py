"""The second stage of a run: from the first CCR to the end."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from synccr.ccr.backend import Backend
from synccr.config.profile import Role
from synccr.policy import events as e
from synccr.policy.state import PolicyState
from synccr.supervisor.backend_lifecycle import Backends
from synccr.supervisor.commands import Stage
from synccr.supervisor.endpoints import Endpoints
from synccr.supervisor.loop import Loop
from synccr.supervisor.prober import Prober
from synccr.supervisor.restarting import Restarting
from synccr.supervisor.saved_health import HealthStore
from synccr.supervisor.status import serving
from synccr.supervisor.takeover.protocol import COMMIT_TIMEOUT
from synccr.supervisor.trace import write_in_time
from synccr.supervisor.watching import Watchers

STOP_GRACE = 5.0
"""Seconds that requests in flight get when everything ends."""


class Running(Stage):
    """A loop that decides, the CCR processes, and what is watched; answers from now on.

    Args:
        endpoints: open.
        prober: asks models; has done so once.
        state: the policy's first.
    """

    def __init__(self, endpoints: Endpoints, prober: Prober, state: PolicyState) -> None:
        parts = endpoints.parts
        super().__init__(parts)
        self._endpoints = endpoints
        self._adopting: asyncio.Task[None] | None = None
        self._store = HealthStore(parts.context.paths.instance, state)
        self._backends = Backends(
            parts.context.paths,
            parts.config.settings,
            parts.packages(parts.config.settings),
            endpoints.launcher,
            endpoints.proxy,
            on_died=lambda reason: self._loop.post(e.BackendDied(reason)),
            on_serving=self._serves,
            before_writing=lambda: self._watchers.config.adopt_edits(),  # noqa: PLW0108  # made below
            predecessor=parts.predecessor.process if parts.predecessor else None,
        )
        self._loop = Loop(
            *(state, self._backends, prober.probe, parts.journal, parts.tell, self._store.save_soon)
        )
        self._watchers = Watchers(parts, prober, self._loop)
        self._restarting = Restarting(parts, endpoints, self._loop)
        policy = endpoints.provider_side.dispatcher.policy
        policy.consult(lambda: self._loop.state, self._loop.post)
        endpoints.stage = self

    async def serve(self, why: str) -> None:
        """Bring the first CCR, then decide until stopped.

        Args:
            why: its configuration was chosen.

        Raises:
            SynccrError: it did not come up, or a predecessor is gone.
        """
        try:
            await self._launch()
            self._announce(why)
            await self._loop.run()
        finally:
            self._loop.swaps.end(self._loop.state)
            self._store.save()
            await self._end()

    async def exit_code(self) -> int:
        """0, or that of the supervisor that has replaced this one, should somebody wait for it."""
        new_process = self._restarting.awaited
        return await new_process.exit_code() or 0 if new_process else 0

    # ------------------------------------------------------- what it is asked for

    def status(self) -> dict[str, Any]:
        more = {"traffic": self._endpoints.traffic.document()} | self.origin_status()
        return serving(
            self.start_status(),
            self._loop.state,
            self._loop.swaps,
            self._backends,
            self._watchers.status() | more,
            self.parts.tracing.log.first_bytes(),
        )

    @property
    def api_key(self) -> str | None:
        key: str | None = self._loop.state.current.config.get("APIKEY")
        return key

    def stop(self) -> bool:
        self._loop.post(e.StopAsked())
        return True

    async def swap(self, role: Role) -> dict[str, Any]:
        patience = 2 * self.parts.config.settings.preflight_timeout
        result = await self._loop.swap(role, patience)
        return self.status() | result._asdict()

    async def restart(self) -> dict[str, Any]:
        restarting = self._restarting
        if restarting.replaces_itself:
            return await restarting.replace()
        await restarting.apply_settings()
        if self._watchers.config.reload():
            await restarting.renew()
        return self.status()

    def renew_soon(self) -> None:
        if self._watchers.config.reload():
            self.parts.background.spawn(self._restarting.renew_quietly())

    def forward(self, number: int) -> bool:
        if new_process := self._restarting.awaited:
            new_process.signal(number)
        return new_process is not None

    def backend_lost(self) -> None:
        self._backends.check_now()

    # ------------------------------------------------------- beginning and end

    def _serves(self, backend: Backend) -> None:
        self._endpoints.lead_to(backend.package.generation)
        self._watchers.ccr.follow(backend)

    async def _launch(self) -> None:
        parts, predecessor = self.parts, self.parts.predecessor
        if predecessor:
            await predecessor.wait_to_proceed()
        await self._backends.start(self._loop.state.current)
        if predecessor:
            await predecessor.wait_for_commit()
            parts.lock.acquire(COMMIT_TIMEOUT)
            await self._endpoints.accept()
            predecessor.announce(self.status())
            self._adopting = asyncio.create_task(
                predecessor.receive_connections(self._endpoints.proxy.adopt)
            )

    def _announce(self, why: str) -> None:
        parts = self.parts
        parts.journal.write("started", endpoint=parts.endpoint, pid=os.getpid(), why=why)
        if self._backends.current:  # else it has died already, and its death was posted
            self._loop.post(e.BackendReady())
        resent = write_in_time(self._endpoints.provider_side.dispatcher.resent_log, parts.journal)
        for work in (resent, *self._watchers.tasks()):
            parts.background.spawn(work)
        parts.context.on_ready(self.status())

    async def _end(self) -> None:
        """What was started ends, in order: clients get their answers, then CCR goes."""
        parts, proxy = self.parts, self._endpoints.proxy
        takeover = self._restarting.takeover
        if takeover:
            await takeover.cancel()
        await parts.background.cancel()
        if takeover and takeover.new_process:
            text = "Another supervisor serves now; finishing what has begun."
            parts.tell("stopping", text, "", False)
            return await takeover.drain_and_exit(self._adopting, STOP_GRACE)
        served = parts.predecessor is None or self._adopting is not None
        if served:
            parts.tell("stopping", "Ending; requests in flight get 5 seconds.", "", False)
        await proxy.close(STOP_GRACE)
        await self._backends.close(STOP_GRACE)
        if parts.predecessor and self._adopting:
            parts.predecessor.channel.finish()  # so that the predecessor ends as well
            await asyncio.wait({self._adopting}, timeout=3 * STOP_GRACE)
        if served:
            parts.journal.write("stopped", pid=os.getpid())
