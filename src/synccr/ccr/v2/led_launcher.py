"""Starts a CCR 2 whose requests to providers are led to the egress."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from synccr.ccr.backend import Backend
from synccr.ccr.launch_context import LaunchContext
from synccr.ccr.package import Package
from synccr.ccr.process import ProcessId
from synccr.ccr.v2.launch import Launcher
from synccr.ccr.v2.preload import PRELOAD

NOT_LED = (
    "CCR came up without synccr's module: its provider requests are not judged, and it has the "
    "provider keys itself."
)


@dataclass(frozen=True)
class LedLauncher:
    """Starts CCR 2 for one supervisor.

    Attributes:
        context: the surroundings.
        launcher: starts a CCR that asks providers by itself.
    """

    context: LaunchContext
    launcher: Launcher

    @classmethod
    def of(cls, context: LaunchContext) -> LedLauncher:
        """One for these surroundings."""
        bare = Launcher(
            context.paths,
            context.environ,
            start_timeout=context.start_timeout,
            redact=context.redact,
            register=context.register,
        )
        return cls(context, bare)

    async def launch(
        self,
        package: Package,
        config: Mapping[str, Any],  # noqa: ARG002  # CCR reads it where it stands
        *,
        ours: Collection[ProcessId] = (),
    ) -> Backend:
        """Start a CCR that is led to the egress and holds no key; one that cannot be led gets
        the keys and asks providers by itself, and a person is told so. See `Starter.launch`."""
        if not PRELOAD.is_file():
            return await self._launch_bare(package, ours)
        egress = self.context.egress()
        led = replace(self.launcher, environ=egress.environ, egress=egress)
        backend = await led.launch(package, ours=ours)
        if backend.led:
            return backend
        await backend.stop(0)
        return await self._launch_bare(package, ours)

    async def _launch_bare(self, package: Package, ours: Collection[ProcessId]) -> Backend:
        self.context.tell("error_seen", NOT_LED, "See: synccr doctor", True)
        return await self.launcher.launch(package, ours=ours)
