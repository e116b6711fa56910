"""Writes what the policy learns of models into the preflight's record, for other commands."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from synccr.clock import utc_now
from synccr.config.profile import probe_targets
from synccr.models.report import ModelRef, Report
from synccr.policy.machine import PolicyState
from synccr.probe.recorded_preflight import record_of

_DELAY = 0.2
"""Seconds until news is written."""


class HealthStore:
    """Keeps the record in step with what is known from traffic and probes.

    Args:
        instance: the directory of the record.
        state: what the record knows already.
    """

    def __init__(self, instance: Path, state: PolicyState) -> None:
        self._instance = instance
        self._saved = _reports(state)
        self._latest = state
        self._timer: asyncio.TimerHandle | None = None

    def save_soon(self, state: PolicyState) -> None:
        """Have what is new written down soon: a decision waits for no disk, and a storm of
        errors is one write."""
        self._latest = state
        if self._timer is None and _reports(state) != self._saved:
            self._timer = asyncio.get_running_loop().call_later(_DELAY, self.save)

    def save(self) -> None:
        """Write down what is new. A record that cannot be written stops nothing."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        state = self._latest
        before, self._saved = self._saved, _reports(state)
        news = {ref for ref, report in self._saved.items() if before.get(ref) != report}
        if not news:
            return
        record = record_of(self._instance, state.settings)
        for provider, model in probe_targets(state.primary, state.fallback):
            ref = ModelRef(provider.name, model)
            if ref in news:
                record.update(provider, self._saved[ref])
        with contextlib.suppress(OSError, ValueError, OverflowError):
            record.save(utc_now())


def _reports(state: PolicyState) -> dict[ModelRef, Report]:
    return {ref: health.report for ref, health in state.health.items()}
