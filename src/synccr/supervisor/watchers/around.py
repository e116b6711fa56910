"""What a supervisor does beside its main job: it tells people, looks at allowances, checks
everything once a week, and takes what a person edits."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from synccr.config.profile import Provider, probe_targets
from synccr.config.store import Profiles
from synccr.models.report import ModelRef, Quota, Report
from synccr.policy import events as e
from synccr.probe.ask import ask_models
from synccr.probe.run import Pair, PreflightResult, ask_quotas
from synccr.supervisor.notifier import Notifier
from synccr.supervisor.watchers.config import ConfigWatcher
from synccr.supervisor.watchers.overrides import OverrideWatcher
from synccr.supervisor.watchers.quota import QuotaWatcher
from synccr.supervisor.watchers.weekly import CheckResult, WeeklyCheck

if TYPE_CHECKING:
    from synccr.supervisor.main import Supervisor


class Watchers:
    """All of these, around one supervisor; made before its first preflight.

    Attributes:
        notices: messages to a person who does not look.
        quota: what is left of each allowance.
        schedule: the weekly check.
        overrides: CCR's project, session and preset files.
        drift: edits of the profiles.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._found: CheckResult | None = None
        instance, settings = supervisor.paths.instance, supervisor.settings
        journal = supervisor.journal
        self.notices = Notifier.from_setting(
            settings.notify,
            journal,
            lambda: supervisor.profiles.redactor,
            supervisor.environ,
            unseen=supervisor.unseen,
        )
        if self.notices.unusable:
            text = f"Messages will not arrive: {self.notices.unusable}."
            journal.write("notified", delivered=False, text=text)
            supervisor.tell("notified", text, "Try it: synccr notify", False)
        supervisor.tell = tell = self.notices.with_notifications(supervisor.tell)
        self.drift = ConfigWatcher(
            supervisor.paths,
            supervisor.load,
            lambda: supervisor.loop.state,
            self._use,
            journal,
            tell,
        )
        self.quota = QuotaWatcher(
            instance / "quota.json", self._ask_quotas, settings.quota_interval, journal, tell
        )
        self.schedule = WeeklyCheck(
            instance / "inventory.json",
            self._check_everything,
            settings.weekly_check,
            journal,
            tell,
        )
        self.overrides = OverrideWatcher(
            supervisor.paths.ccr,
            lambda: supervisor.loop.state,
            self._ask_of_overrides,
            settings.recovery_interval_max,
            journal,
            tell,
            lambda text: supervisor.profiles.redactor.line(text, 400),
        )

    def _use(self, profiles: Profiles) -> None:
        self._supervisor.profiles = profiles
        self._supervisor.loop.post(
            e.ProfilesRead(profiles.primary, profiles.fallback, profiles.local)
        )

    def first(self, result: PreflightResult) -> None:
        """What the start's preflight found."""
        self.quota.observe(result.quotas)
        self._found = _found(result)

    def at_work(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What runs from now on, until it is cancelled."""
        self.schedule.on_start(self._found)
        self._found = None
        yield self.quota.run()
        yield self.schedule.run()
        yield self.overrides.run()

    def status(self) -> dict[str, Any]:
        """More for ``status --json``."""
        names = {provider.name for provider in self._providers()}
        return {"quota": self.quota.status(names), "overrides": self.overrides.status()}

    # --------------------------------------------------------- asking

    def _providers(self) -> tuple[Provider, ...]:
        profiles = self._supervisor.profiles
        return (*profiles.primary.providers, *profiles.fallback.providers)

    async def _ask_quotas(self) -> tuple[Quota, ...]:
        return await ask_quotas(self._providers(), proxy=self._supervisor.profiles.proxy)

    async def _check_everything(self) -> CheckResult:
        """Every model of both profiles afresh; the policy hears of it as of any probe."""
        profiles = self._supervisor.profiles
        result = await self._ask(probe_targets(profiles.primary, profiles.fallback))
        self.quota.observe(result.quotas)
        self._supervisor.loop.post(e.Probed(tuple(result.reports.values())))
        self.overrides.reports.clear()
        return _found(result)

    async def _ask_of_overrides(self, refs: Sequence[ModelRef]) -> tuple[Report, ...]:
        providers = {provider.name: provider for provider in reversed(self._providers())}
        pairs = [(providers[ref.provider], ref.model) for ref in refs if ref.provider in providers]
        return tuple((await self._ask(pairs)).reports.values())

    async def _ask(self, pairs: Sequence[Pair]) -> PreflightResult:
        supervisor = self._supervisor
        return await ask_models(
            pairs,
            settings=supervisor.settings,
            instance=supervisor.paths.instance,
            fresh=True,
            proxy=supervisor.profiles.proxy,
        )


def _found(result: PreflightResult) -> CheckResult:
    offered = {name: [row.id for row in rows] for name, rows in result.offered.items()}
    return tuple(result.reports.values()), offered
