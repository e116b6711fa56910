"""The record that other commands read says of a model what the policy says."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from policy_kit import BODIES, profiles, report, started

from synccr.clock import utc_now
from synccr.config.profile import probe_targets
from synccr.models.report import ModelRef, Report, Status
from synccr.policy import events as e
from synccr.policy.machine import decide
from synccr.probe.recorded_preflight import record_of
from synccr.settings import Settings
from synccr.supervisor.saved_health import HealthStore

MAIN = ModelRef("a", "main")
BEGIN = utc_now() - timedelta(seconds=370)


async def test_taken_away_by_traffic_and_brought_back_by_probes(tmp_path: Path) -> None:
    """A 402 in CCR's log makes the next preflight ask anew; two good probes make that needless;
    a probe that gets no answer does not leave the old good report."""
    settings = Settings()
    state = started(settings, *profiles())
    provider = {p.name: p for p, _ in probe_targets(state.primary, state.fallback)}["a"]
    record = record_of(tmp_path, settings)
    record.update(provider, report(MAIN, Status.OK, BEGIN, http_status=200))
    record.save(BEGIN)
    memory = HealthStore(tmp_path, state)
    at = BEGIN

    def happen(event: e.PolicyEvent) -> Report | None:
        nonlocal state
        state, _ = decide(state, event, e.Now((at - BEGIN).total_seconds(), at))
        memory.save_soon(state)
        memory.save()
        return record_of(tmp_path, settings).fresh(provider, "main", at)

    assert happen(e.BackendReady()) is not None
    at += timedelta(seconds=10)
    assert happen(e.ProviderFailed("a", "main", 402, BODIES["on-demand"], at)) is None
    at += timedelta(seconds=300)
    assert happen(e.Probed((report(MAIN, Status.OK, at, http_status=200),))) is None
    at += timedelta(seconds=30)
    back = report(MAIN, Status.OK, at, http_status=200)
    assert happen(e.Probed((back,))) == back
    at += timedelta(seconds=30)
    assert happen(e.Probed((report(MAIN, Status.TIMEOUT, at),))) is None


async def test_a_storm_of_errors_is_one_write(tmp_path: Path) -> None:
    """No decision waits for the disk, and a moment later it is written by itself."""
    settings = Settings()
    state = started(settings, *profiles())
    memory = HealthStore(tmp_path, state)
    at = utc_now()
    for number in range(50):
        at += timedelta(milliseconds=1)
        failed = e.ProviderFailed("a", "main", 402, BODIES["on-demand"], at)
        state, _ = decide(state, failed, e.Now(float(number), at))
        memory.save_soon(state)
    assert list(tmp_path.iterdir()) == []
    async with asyncio.timeout(10):
        while not list(tmp_path.glob("models.json")):
            await asyncio.sleep(0.01)
    provider = {p.name: p for p, _ in probe_targets(state.primary, state.fallback)}["a"]
    assert record_of(tmp_path, settings).fresh(provider, "main", at) is None
