"""The first stage of a run: from the lock to the configuration of the first CCR."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from synccr.ccr.loss import Loss
from synccr.ccr.orphans import end_orphans
from synccr.ccr.package import Package
from synccr.clock import now
from synccr.config.store import keep_adopted
from synccr.errors import NoModelServes
from synccr.heal.advice import advice_on
from synccr.models.report import Report
from synccr.policy.choice import Choice, choose
from synccr.policy.machine import start
from synccr.supervisor.commands import Stage
from synccr.supervisor.endpoints import Endpoints
from synccr.supervisor.prober import Prober
from synccr.supervisor.running import Running


class Starting(Stage):
    """Asks the models while CCR is fetched, and chooses a configuration."""

    def status(self) -> dict[str, Any]:
        return self.start_status() | self.origin_status()

    def stop(self) -> bool:
        return False

    @property
    def api_key(self) -> str | None:
        return self.parts.config.profiles.local.api_key

    async def start(self, endpoints: Endpoints) -> tuple[Running, str]:
        """What comes next, and why with this configuration.

        Raises:
            SynccrError: there is no CCR, or no model serves.
        """
        parts, config = self.parts, self.parts.config
        instance = parts.context.paths.instance
        prober = Prober(config, instance, parts.quotas, endpoints.provider_side)
        package, reports = await self._package_and_preflight(prober)
        choice = self._choose(reports)
        if not parts.predecessor:
            await end_orphans(parts.context.paths)
        profiles = config.profiles
        keep_adopted(profiles)
        for note in profiles.notes:
            parts.tell("edited", note, "", False)
        self._report_changes(choice)
        self.report_losses(package, prober.losses())
        state = start(
            config.settings,
            profiles.primary,
            profiles.fallback,
            choice.healed,
            reports,
            profiles.local,
            now(),
        )
        parts.progress(f"starting Claude Code Router {package.version}")
        return Running(endpoints, prober, state), choice.why

    async def _package_and_preflight(self, prober: Prober) -> tuple[Package, tuple[Report, ...]]:
        """CCR is fetched, should it have to be, while the models are asked; but a version that
        cannot be run, or that npm may not have, is said before."""
        packages = self.parts.packages(self.parts.config.settings)
        await (packages.check() if packages.pinned else packages.now())
        package = asyncio.create_task(packages.now())
        preflight = asyncio.create_task(self._preflight(prober))
        try:
            return await asyncio.gather(package, preflight)
        finally:
            package.cancel()
            preflight.cancel()

    async def _preflight(self, prober: Prober) -> tuple[Report, ...]:
        parts, context = self.parts, self.parts.context
        if context.skip_preflight:
            return prober.unasked()
        parts.progress("asking the models")
        fresh = parts.predecessor is not None  # it may have learned from traffic since
        reports = await prober.preflight(context.on_probe, fresh=fresh)
        found = {str(report.ref): report.status.value for report in reports}
        parts.journal.write("preflight", models=found)
        return reports

    def _choose(self, reports: Sequence[Report]) -> Choice:
        known = {report.ref: report for report in reports}
        profiles = self.parts.config.profiles
        choice = choose(profiles.primary, profiles.fallback, known, profiles.local, None)
        if choice is None:
            found = "; ".join(f"{report.ref} {report.status}" for report in reports)
            raise NoModelServes(f"No model can serve: {found}.", advice_on(reports))
        return choice

    def report_losses(self, package: Package, losses: Sequence[Loss]) -> None:
        """Say in one line that CCR does not do all that the profiles have."""
        if losses:
            count = "1 thing" if len(losses) == 1 else f"{len(losses)} things"
            line = f"Claude Code Router {package.version} does {count} of the profiles otherwise."
            self.parts.tell("translation", line, "See: synccr doctor ccr.translation", False)

    def _report_changes(self, choice: Choice) -> None:
        healed = choice.healed
        changes = [
            {"path": c.path, "before": c.before, "after": c.after, "reason": c.reason}
            for c in healed.changes
        ]
        role = healed.profile.role
        self.parts.journal.write("healed", profile=role, changes=changes, why=choice.why)
        for change in healed.changes:
            if change.path.startswith("Router."):
                line = f"{change.path}: {change.before} -> {change.after} ({change.reason})"
                self.parts.tell("healed", line, "", False)
