"""Watching quotas: samples on an interval, a warning before one runs out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from synccr.clock import utc_now
from synccr.errors import SynccrError
from synccr.files import write_atomic
from synccr.journal import Journal
from synccr.models.quota_record import (
    TrackedQuota,
    key_of,
    load,
    part_left,
    status_row,
    update,
    warning,
)
from synccr.models.report import Quota
from synccr.probe.quotas import quotas_in_headers
from synccr.supervisor.context import Reporter

_KEEP = 14 * 86400.0
"""Seconds for which a quota that no answer names any more is remembered."""

_SHOWN = 86400.0
"""Seconds for which ``status`` shows it."""

_HEADER_INTERVAL = 10.0
"""Seconds between two answers of a provider whose headers are read: each costs a write."""


@dataclass
class QuotaWatcher:
    """Asks for quotas, remembers them and warns.

    Attributes:
        path: the file in which they outlive the supervisor.
        ask: what is left now; free of charge.
        interval: seconds between two questions; 0 is never.
        journal, tell: get the warnings.
        clock: the wall clock.
    """

    path: Path
    ask: Callable[[], Awaitable[tuple[Quota, ...]]]
    interval: float
    journal: Journal
    tell: Reporter
    clock: Callable[[], datetime] = utc_now
    _known: dict[str, TrackedQuota] = field(default_factory=dict)
    _headers_read: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = load(self.path)

    def status(self, providers: Collection[str]) -> list[dict[str, Any]]:
        """What is known of these providers since yesterday, the tightest quota first."""
        now = self.clock()
        current = (
            tracked
            for tracked in self._known.values()
            if tracked.quota.provider in providers
            and abs((now - tracked.at).total_seconds()) < _SHOWN
        )
        return [status_row(tracked) for tracked in sorted(current, key=part_left)]

    def observe(self, quotas: Iterable[Quota]) -> None:
        """Record quotas as a provider states them now, and warn when one is due."""
        now = self.clock()
        for quota in quotas:
            key = key_of(quota)
            self._known[key], due = update(self._known.get(key), quota, now)
            if due:
                self._warn(self._known[key], now)
        self._known = {
            key: tracked
            for key, tracked in self._known.items()
            if abs((now - tracked.at).total_seconds()) < _KEEP
        }
        with contextlib.suppress(OSError):
            write_atomic(self.path, msgspec.json.encode(self._known))

    def observe_headers(self, provider: str, headers: Mapping[str, str]) -> None:
        """Record rate limits from the headers of an answer to a client (lower-case names)."""
        now = self.clock()
        last = self._headers_read.get(provider)
        if last is not None and abs((now - last).total_seconds()) < _HEADER_INTERVAL:
            return
        if quotas := quotas_in_headers(provider, headers, now):
            self._headers_read[provider] = now
            self.observe(quotas)

    def _warn(self, tracked: TrackedQuota, now: datetime) -> None:
        text = warning(tracked.quota, tracked.samples, now)
        todo = "Slow down or top up, or the fallback takes over."
        self.journal.write("quota", text=text, todo=todo, **status_row(tracked))
        self.tell("quota", text, todo, True)

    async def run(self) -> None:
        """Ask on the interval, for ever; a failure is followed by the next question."""
        while self.interval:
            await asyncio.sleep(self.interval)
            with contextlib.suppress(SynccrError):  # the environment's proxy, for one
                if quotas := await self.ask():
                    self.observe(quotas)
