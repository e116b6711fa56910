"""Starts a CCR whose requests to providers are led to the egress."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from synccr.ccr.backend import Backend
from synccr.ccr.package import Package
from synccr.ccr.process import ProcessId
from synccr.ccr.v2.launch import Launcher
from synccr.ccr.v2.preload import PRELOAD
from synccr.supervisor.context import Reporter
from synccr.supervisor.provider_side import ProviderSide

NOT_LED = (
    "CCR came up without synccr's module: its provider requests are not judged, and it has the "
    "provider keys itself."
)


@dataclass(frozen=True)
class LedLauncher:
    """Starts CCR for one supervisor.

    Attributes:
        launcher: starts a CCR that asks providers by itself.
        provider_side: where CCR is led to.
        tell: shows a line to a person.
    """

    launcher: Launcher
    provider_side: ProviderSide
    tell: Reporter

    async def launch(self, package: Package, *, ours: Collection[ProcessId] = ()) -> Backend:
        """Start a CCR that is led to the egress and holds no key; one that cannot be led gets
        the keys and asks providers by itself, and a person is told so.

        Raises:
            SynccrError: as `Launcher.launch`.
        """
        if not PRELOAD.is_file():
            return await self._launch_bare(package, ours)
        side = self.provider_side
        led = replace(self.launcher, environ=side.environ_for_ccr(), egress=side.address())
        backend = await led.launch(package, ours=ours)
        if backend.led:
            return backend
        await backend.stop(0)
        return await self._launch_bare(package, ours)

    async def _launch_bare(self, package: Package, ours: Collection[ProcessId]) -> Backend:
        self.tell("error_seen", NOT_LED, "See: synccr doctor", True)
        return await self.launcher.launch(package, ours=ours)
