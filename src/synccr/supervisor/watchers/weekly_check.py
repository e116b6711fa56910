"""The weekly check: the full preflight on a schedule, and what changed since the last one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from synccr.clock import utc_now
from synccr.errors import SynccrError
from synccr.journal import Journal
from synccr.models import last_check
from synccr.models.last_check import LastCheck
from synccr.models.report import Report
from synccr.supervisor.context import Reporter

_LONGEST_SLEEP = 60.0
"""Seconds; a timer of the loop does not count the time a machine sleeps."""

CheckResult = tuple[Iterable[Report], Mapping[str, Sequence[str]]]
"""Reports, and the names in each provider's list of models."""


@dataclass
class WeeklyCheck:
    """When the last check was, and the next one.

    Attributes:
        path: where the last check's inventory outlives the supervisor, so that a restart
            neither repeats a check nor forgets one.
        check: asks every model afresh; its reports have gone to the policy.
        interval: seconds between checks; 0 is never.
        journal, tell: hear of what changed.
        clock: the wall clock.
    """

    path: Path
    check: Callable[[], Awaitable[CheckResult]]
    interval: float
    journal: Journal
    tell: Reporter
    clock: Callable[[], datetime] = utc_now
    last: LastCheck | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.last = last_check.load(self.path)

    def on_start(self, found: CheckResult | None) -> None:
        """The start's preflight is the first inventory there is, and counts when one is due."""
        if self.last is None:
            reports, offered = found or ((), {})
            self._save(last_check.take(None, reports, offered, self.clock()))
        elif found is not None and self.interval and self.due_in() <= 0:
            self._report(found)

    def due_in(self) -> float:
        """Seconds until the next check; a clock that went back does not put it off for ever."""
        if self.last is None:
            return 0.0
        passed = (self.clock() - self.last.at).total_seconds()
        return max(0.0, self.interval - passed) if passed >= 0 else self.interval

    async def run(self) -> None:
        """Check whenever it is time, for ever."""
        while self.interval:
            wait = self.due_in()
            if wait > 0:
                await asyncio.sleep(min(wait, _LONGEST_SLEEP))
                continue
            try:
                self._report(await self.check())
            except SynccrError as error:  # the environment's proxy, for one
                self.journal.write("checked", text=f"The weekly check failed: {error}")
                await asyncio.sleep(_LONGEST_SLEEP)

    def _report(self, found: CheckResult) -> None:
        reports, offered = found
        last = last_check.load(self.path) or self.last  # ``models --changes`` writes it too
        after = last_check.take(last, reports, offered, self.clock())
        changes = last_check.compare(last, after)
        self._save(after)
        said = last_check.lines(changes)
        text = "Weekly check: " + ("; ".join(said) if said else "nothing changed") + "."
        self.journal.write(
            "checked",
            text=text,
            new=changes.new,
            gone=changes.gone,
            states=[list(state) for state in changes.states],
        )
        todo = "Look at them: synccr models" if said else ""
        self.tell("checked", text, todo, bool(said))

    def _save(self, found: LastCheck) -> None:
        self.last = found
        last_check.save(self.path, found)
