"""``synccr restart``: a fresh supervisor in place of this one; or, elsewhere, a fresh CCR."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

from synccr.ccr.process import with_parent_death_signal
from synccr.errors import SynccrError
from synccr.policy import events as e
from synccr.policy.machine import Phase
from synccr.supervisor.endpoints import Endpoints
from synccr.supervisor.loop import Loop
from synccr.supervisor.parts import Parts
from synccr.supervisor.takeover.outgoing import NewProcess, Takeover
from synccr.supervisor.takeover.protocol import DETACHED, POSSIBLE


class Restarting:
    """What is replaced, and by what.

    Attributes:
        takeover: by another supervisor, once one was asked for.
    """

    takeover: Takeover | None = None

    def __init__(self, parts: Parts, endpoints: Endpoints, loop: Loop) -> None:
        self._parts, self._endpoints, self._loop = parts, endpoints, loop
        self._backends = loop.backends

    @property
    def replaces_itself(self) -> bool:
        """Whether another supervisor can take the place of this one."""
        return POSSIBLE and bool(self._parts.context.command)

    @property
    def awaited(self) -> NewProcess | None:
        """The supervisor that has replaced this one, when somebody waits for this one's end."""
        detached = self._parts.context.detached
        return self.takeover.new_process if self.takeover and not detached else None

    async def replace(self) -> dict[str, Any]:
        """Hand over to a fresh supervisor.

        Returns:
            its status.

        Raises:
            SynccrError: it did not come up; this one goes on.
        """
        self.takeover = self.takeover or self._takeover()
        endpoints = self._endpoints
        status = await self.takeover.run(endpoints.address, endpoints.listener)
        self._parts.journal.write("restarted", supervisor=status["supervisor"]["pid"], asked=True)
        self._loop.post(e.StopAsked())
        return status

    async def apply_settings(self) -> None:
        """Go on with the settings as they are now.

        Raises:
            SynccrError: they, the profiles or the CCR that they name cannot be used; the former
                ones count.
        """
        context, proxy = self._parts.context, self._endpoints.proxy
        settings = context.reload()
        context.load()  # what cannot be used is said here and now
        packages = self._parts.packages(settings)
        await packages.now()
        self._backends.packages = packages
        self._parts.config.settings = self._backends.settings = settings
        proxy.set_limits(hold_timeout=settings.hold_timeout, carry_limit=settings.carry_limit)
        self._loop.post(e.SettingsChanged(settings))

    async def renew(self) -> None:
        """A new CCR of the same configuration in place of the old one, unnoticed.

        Raises:
            SynccrError: it did not come up; the old one serves on.
        """
        if backend := await self._backends.renew():
            self._parts.journal.write("restarted", pid=backend.pid, asked=True)
            if self._loop.state.phase is not Phase.SWAPPING:
                self._loop.post(e.BackendReady())

    async def renew_quietly(self) -> None:
        """The same, for who does not wait for it."""
        with contextlib.suppress(SynccrError):
            await self.renew()

    def _takeover(self) -> Takeover:
        context, endpoints = self._parts.context, self._endpoints
        command = tuple(context.command)
        return Takeover(
            # In the foreground whoever ends this process, however, means what it waits for.
            command if context.detached else with_parent_death_signal(command, signal.SIGTERM),
            # Not the context's environment: what keys.env added to it is read again.
            {**os.environ, **({DETACHED: "1"} if context.detached else {})},
            self._parts.config.settings,
            self._backends,
            endpoints.proxy,
            endpoints.control,
            self._parts.lock,
        )
