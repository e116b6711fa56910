"""Watching CCR's project, session and preset files: what they lead to, and when that is
nowhere. They are never written: CCR's own in-flight ``fallback`` lists catch what fails,
and the person who wrote them is told which line to change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synccr.ccr.v2.override_files import Override, Trouble, find_overrides, override_files, troubles
from synccr.clock import now
from synccr.errors import SynccrError
from synccr.journal import Journal
from synccr.models.report import TRANSIENT, ModelRef, Report
from synccr.policy.machine import PolicyState
from synccr.supervisor.context import Reporter
from synccr.supervisor.watchers.files import signature

INTERVAL = 5.0
"""Seconds between two looks for files."""
_PROBE_INTERVAL = 60.0
"""Seconds between probes of one model that only an override names."""

Key = tuple[str, str, str]
"""File, route and what is wrong with it."""
Ask = Callable[[Sequence[ModelRef]], Awaitable[Sequence[Report]]]


@dataclass
class OverrideWatcher:
    """What overrides lead to, judged by what the policy knows.

    Attributes:
        ccr: CCR's directory.
        state: the policy's state now.
        ask: asks models that no profile has.
        again: seconds until such a model that is away is asked again.
        journal, tell: hear of trouble and of its end.
        line: makes text from outside fit to be shown.
    """

    ccr: Path
    state: Callable[[], PolicyState]
    ask: Ask
    again: float
    journal: Journal
    tell: Reporter
    line: Callable[[str], str] = str
    found: tuple[Override, ...] = ()
    reports: dict[ModelRef, Report] = field(default_factory=dict)
    _asked: dict[ModelRef, float] = field(default_factory=dict)
    _reported: dict[Key, str] = field(default_factory=dict)
    _seen: tuple[object, ...] = ()
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def status(self) -> list[dict[str, Any]]:
        """For ``status --json``."""
        return [
            {
                "file": str(override.file),
                "kind": override.kind,
                "name": override.name,
                "routes": {self.line(k): self.line(v) for k, v in override.routes.items()},
                "problem": override.problem or None,
                "trouble": [
                    {
                        "route": self.line(trouble.route),
                        "target": self.line(trouble.target),
                        "text": self.line(trouble.text),
                    }
                    for trouble in self._troubles(override)
                ],
            }
            for override in self.found
        ]

    async def run(self) -> None:
        """Look at the files, and at what they name, for ever."""
        while True:
            with suppress(OSError):  # a directory that may not be read; as before then
                self._find_files()
            with suppress(SynccrError):  # the environment's proxy, for one
                await self._probe_due()
            self.report_changes()
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await self._wake.wait()

    def _find_files(self) -> None:
        files = sorted(file for file, _, _ in override_files(self.ccr))
        there = (*signature(files), *map(str, files))
        if there != self._seen:
            self._seen = there
            self.found = find_overrides(self.ccr)

    def on_error(self, provider: str, model: str | None) -> None:
        """CCR logged an error of this model; when no profile has it, it is ours to ask."""
        for ref in self._own():
            report = self.reports.get(ref)
            concerned = ref.provider == provider and model in (None, ref.model)
            if concerned and (report is None or report.serves):
                self.reports.pop(ref, None)
                self._wake.set()

    def report_changes(self) -> None:
        """Tell what is new since the last time: once for each trouble, once for its end."""
        current: dict[Key, str] = {}
        advice: dict[Key, str] = {}
        for override in self.found:
            where = str(override.file)
            if override.problem:
                current[where, "", ""] = f"{where} {override.problem}."
            for trouble in self._troubles(override):
                name, _, why = trouble.text.partition(" (")
                line = f"{where}: Router.{trouble.route} leads to {trouble.target}, which {name}"
                key = where, trouble.route, name
                current[key] = line + (f" ({why}." if why else ".")
                if override.kind != "preset":
                    serves = self.state().current.scenario(trouble.route)
                    advice[key] = f"Name one that serves there, such as {serves}."
        for key in current.keys() - self._reported.keys():
            self._report(key[0], current[key], advice.get(key, "Mend it, or move it away."))
        for file, route, _ in self._reported.keys() - current.keys():
            if not any(key[:2] == (file, route) for key in current):
                what = f"Router.{route}" if route else "the file"
                self.journal.write("override", file=file, text=f"{file}: {what} is in order again.")
        self._reported = current

    def _report(self, file: str, text: str, todo: str) -> None:
        text = self.line(text)  # a preset may be anybody's
        self.journal.write("override", file=file, text=text, todo=todo)
        self.tell("override", text, todo, True)

    def _troubles(self, override: Override) -> tuple[Trouble, ...]:
        state = self.state()
        return troubles(override, self._providers(), {**self.reports, **state.reports()})

    def _providers(self) -> set[str]:
        """Names that the running CCR knows: both profiles'."""
        state = self.state()
        return {p.name for profile in (state.primary, state.fallback) for p in profile.providers}

    def _own(self) -> list[ModelRef]:
        """Models that only overrides name, of providers that the profiles have."""
        state = self.state()
        names = self._providers()
        named = (ref for o in self.found if o.kind != "preset" for ref in o.models())
        return [r for r in dict.fromkeys(named) if r.provider in names and r not in state.models]

    async def _probe_due(self) -> None:
        own, moment = self._own(), now().mono
        self.reports = {ref: report for ref, report in self.reports.items() if ref in own}
        due = []
        for ref in own:
            report, asked = self.reports.get(ref), self._asked.get(ref)
            pause = self.again if report else _PROBE_INTERVAL
            if (report is None or not report.serves) and (asked is None or moment - asked >= pause):
                due.append(ref)
        if not due:
            return
        self._asked |= dict.fromkeys(due, moment)
        for report in await self.ask(due):
            if report.status not in TRANSIENT:  # what passes by itself is asked about again
                self.reports[report.ref] = report
