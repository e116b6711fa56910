"""What a supervisor watches beside its main job: CCR's log, edits, allowances, overrides, and
once a week everything."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any

from synccr.config.store import Profiles
from synccr.policy import events as e
from synccr.probe.preflight_run import PreflightResult
from synccr.supervisor.loop import Loop
from synccr.supervisor.parts import Parts
from synccr.supervisor.prober import Prober
from synccr.supervisor.watchers.ccr import CcrWatcher
from synccr.supervisor.watchers.config import ConfigWatcher
from synccr.supervisor.watchers.files import watch_files
from synccr.supervisor.watchers.overrides import OverrideWatcher
from synccr.supervisor.watchers.weekly_check import CheckResult, WeeklyCheck


class Watchers:
    """All of these for one loop.

    Attributes:
        config: edits of the profiles.
        weekly: the weekly check.
        overrides: CCR's project, session and preset files.
        ccr: its log, and its silence.
    """

    def __init__(self, parts: Parts, prober: Prober, loop: Loop) -> None:
        paths, config, journal, tell = parts.context.paths, parts.config, parts.journal, parts.tell
        self._parts, self._prober, self._loop = parts, prober, loop
        self.config = ConfigWatcher(
            paths, parts.context.load, lambda: loop.state, self._use, journal, tell
        )
        self.weekly = WeeklyCheck(
            paths.instance / "inventory.json",
            self._check_everything,
            config.settings.weekly_check,
            journal,
            tell,
        )
        self.overrides = OverrideWatcher(
            paths.ccr,
            lambda: loop.state,
            prober.ask,
            config.settings.recovery_interval_max,
            journal,
            tell,
            lambda text: config.redactor.line(text, 400),
        )
        self.ccr = CcrWatcher(config, loop.post, self.overrides.on_error, parts.background)

    def tasks(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What runs from now on, until it is cancelled."""
        parts, backends = self._parts, self._loop.backends
        yield watch_files(parts.config.profiles.watch, parts.seen_files, self.config.reload)
        yield self.ccr.watch_silence(backends.oldest_unanswered)
        first, self._prober.first = self._prober.first, None
        self.weekly.on_start(_found(first) if first else None)
        yield parts.quotas.run()
        yield self.weekly.run()
        yield self.overrides.run()

    def status(self) -> dict[str, Any]:
        """More for ``status --json``."""
        names = {provider.name for provider in self._parts.config.providers}
        return {"quota": self._parts.quotas.status(names), "overrides": self.overrides.status()}

    def _use(self, profiles: Profiles) -> None:
        self._parts.config.use(profiles)
        self._prober.provider_side.use(profiles)
        self._loop.post(e.ProfilesRead(profiles.primary, profiles.fallback, profiles.local))

    async def _check_everything(self) -> CheckResult:
        """The policy hears of it as of any probe."""
        result = await self._prober.check()
        self._loop.post(e.Probed(tuple(result.reports.values())))
        self.overrides.reports.clear()
        return _found(result)


def _found(result: PreflightResult) -> CheckResult:
    offered = {name: [row.id for row in rows] for name, rows in result.offered.items()}
    return tuple(result.reports.values()), offered
