"""Asks models for one supervisor, with the settings and profiles that count now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synccr.ccr.loss import Loss, unservable
from synccr.ccr.package_source import losses_of
from synccr.clock import utc_now
from synccr.config.profile import probe_targets
from synccr.models.report import ModelRef, Report
from synccr.models.shape import Shape
from synccr.probe.model_probe import unservable_report
from synccr.probe.preflight_run import Pair, PreflightResult
from synccr.probe.recorded_preflight import ask_models
from synccr.supervisor.context import CurrentConfig
from synccr.supervisor.provider_side import ProviderSide
from synccr.supervisor.watchers.quota import QuotaWatcher


@dataclass
class Prober:
    """What is learned of allowances and of how models answer goes to those who use it.

    Attributes:
        config: what counts now.
        instance: directory of the record.
        quotas: hears of allowances.
        provider_side: hears how long models take, and tells how their traffic looks.
        first: what the preflight found; None when there was none.
    """

    config: CurrentConfig
    instance: Path
    quotas: QuotaWatcher
    provider_side: ProviderSide
    first: PreflightResult | None = None

    async def preflight(
        self, progress: Callable[[Report], None], *, fresh: bool
    ) -> tuple[Report, ...]:
        """Every model of both profiles before the first CCR.

        Args:
            progress: hears of each report.
            fresh: rely on no record.
        """
        self.first = await self._ask(self._targets(), fresh=fresh, progress=progress)
        return self._learn(self.first)

    async def probe(
        self, refs: Sequence[ModelRef], like: Mapping[ModelRef, Shape]
    ) -> tuple[Report, ...]:
        """Models that the policy asks for, by questions that resemble their traffic."""
        wanted = set(refs)
        pairs = [(p, m) for p, m in self._targets() if ModelRef(p.name, m) in wanted]
        return self._learn(await self._ask(pairs, like=self.provider_side.like(like)))

    async def check(self) -> PreflightResult:
        """Every model of both profiles afresh."""
        result = await self._ask(self._targets())
        self.quotas.observe(result.quotas)
        return result

    async def ask(self, refs: Sequence[ModelRef]) -> tuple[Report, ...]:
        """Models of the profiles' providers, whether a profile lists them or not."""
        providers = {provider.name: provider for provider in reversed(self.config.providers)}
        pairs = [(providers[ref.provider], ref.model) for ref in refs if ref.provider in providers]
        return tuple((await self._ask(pairs)).reports.values())

    def losses(self) -> tuple[Loss, ...]:
        """What of both profiles the CCR does not do that runs."""
        profiles = self.config.profiles
        return losses_of(self.config.settings, profiles.primary, profiles.fallback)

    def unasked(self) -> tuple[Report, ...]:
        """What is known of models without a question: those that CCR cannot ask."""
        reasons = unservable(self.losses())
        return tuple(
            unservable_report(provider, model, reasons[ref], utc_now())
            for provider, model in self._targets()
            if (ref := ModelRef(provider.name, model)) in reasons
        )

    def _learn(self, result: PreflightResult) -> tuple[Report, ...]:
        self.quotas.observe(result.quotas)
        self.provider_side.probed(result.reports.values())
        return tuple(result.reports.values())

    def _targets(self) -> Sequence[Pair]:
        profiles = self.config.profiles
        return probe_targets(profiles.primary, profiles.fallback)

    async def _ask(
        self,
        pairs: Sequence[Pair],
        *,
        fresh: bool = True,
        progress: Callable[[Report], None] | None = None,
        like: Mapping[ModelRef, Shape] | None = None,
    ) -> PreflightResult:
        return await ask_models(
            pairs,
            settings=self.config.settings,
            instance=self.instance,
            fresh=fresh,
            progress=progress,
            proxy=self.config.profiles.proxy,
            like=like,
            unservable=unservable(self.losses()),
        )
