"""Starts CCR as its generation wants it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from synccr.ccr.backend import Backend
from synccr.ccr.generations import V3
from synccr.ccr.launch_context import LaunchContext, Starter
from synccr.ccr.package import Package
from synccr.ccr.process import ProcessId


@dataclass(frozen=True)
class Launchers:
    """Starts whichever CCR a package is.

    Attributes:
        context: the surroundings.
    """

    context: LaunchContext

    async def launch(
        self, package: Package, config: Mapping[str, Any], *, ours: Collection[ProcessId] = ()
    ) -> Backend:
        """See `Starter.launch`."""
        return await self._starter(package).launch(package, config, ours=ours)

    def _starter(self, package: Package) -> Starter:
        # Imported where used: a supervisor runs one of them.
        if package.generation is V3:
            from synccr.ccr.v3.launch import Launcher3

            return Launcher3(self.context)
        from synccr.ccr.v2.led_launcher import LedLauncher

        return LedLauncher.of(self.context)
