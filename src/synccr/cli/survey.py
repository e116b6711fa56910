"""What the providers answer now: the models of both profiles asked, and what is shown of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from synccr.ccr.loss import Loss, unservable
from synccr.ccr.package_source import losses_of
from synccr.cli.context import CommandContext
from synccr.cli.output import console, takes_colour
from synccr.cli.result import Note
from synccr.config.profile import owner_order, probe_targets
from synccr.config.store import Profiles
from synccr.errors import NoModelServes
from synccr.heal import Change, Healed, heal
from synccr.heal.advice import advice_lines
from synccr.models.report import ModelRef, Report
from synccr.probe import alternatives
from synccr.probe.preflight_run import PreflightResult
from synccr.probe.recorded_preflight import ask_models

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Survey:
    """What preflight found of all models of both profiles.

    Attributes:
        profiles: what was asked for.
        result: what was found.
        healed: the primary, healed; None when none of its models can serve.
        alternatives: what to use instead of a model that cannot serve.
        losses: what of the profiles CCR does not do.
    """

    profiles: Profiles
    result: PreflightResult
    healed: Healed | None
    alternatives: dict[ModelRef, tuple[ModelRef, ...]]
    losses: tuple[Loss, ...] = ()

    @property
    def moved(self) -> tuple[Change, ...]:
        """Routes that had to leave their model."""
        changes = self.healed.changes if self.healed else ()
        return tuple(c for c in changes if c.path.startswith("Router.") and c.before)


def survey(context: CommandContext, profiles: Profiles, *, fresh: bool) -> Survey:
    """Probe every model of both profiles, with progress on a terminal."""
    pairs = probe_targets(profiles.primary, profiles.fallback)
    losses = losses_of(context.settings, profiles.primary, profiles.fallback)
    with Progress(len(pairs)) as progress:
        result = asyncio.run(
            ask_models(
                pairs,
                settings=context.settings,
                instance=context.paths.instance,
                fresh=fresh,
                progress=progress,
                proxy=profiles.proxy,
                unservable=unservable(losses),
            )
        )
    order = owner_order(profiles.primary, profiles.fallback)
    instead = {
        ref: tuple(alternatives(ref, order, result.reports, result.offered))
        for ref, report in result.reports.items()
        if not report.serves
    }
    try:
        healed = heal(profiles.primary, result.reports, profiles.local)
    except NoModelServes:
        healed = None
    return Survey(profiles, result, healed, instead, losses)


class Progress:
    """A bar on a terminal; elsewhere silence, for what is done within seconds."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if takes_colour(sys.stderr):
            from rich import progress as rich

            self._bar = rich.Progress(
                rich.SpinnerColumn(),
                rich.TextColumn("{task.description}"),
                rich.BarColumn(bar_width=20),
                rich.MofNCompleteColumn(),
                rich.TimeElapsedColumn(),
                console=console(sys.stderr),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("asking the models", total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, report: Report) -> None:
        if self._bar:
            self._bar.update(self._task, advance=1, description=f"{report.model}: {report.status}")


def survey_lines(found: Survey) -> Iterator[Note | Table]:
    """The table and what to do."""
    yield _table(found)
    for profile in (found.profiles.primary, found.profiles.fallback):
        yield from (Note(f"{profile.source}: {warning}") for warning in profile.warnings)
    if found.healed is None:
        yield Note("No model can serve.", "red")
        yield from (Note(f"  {line}") for line in advice_lines(found.result.reports.values()))
    for change in found.moved:
        text = f"{change.path}: {change.before} -> {change.after} ({change.reason})"
        yield Note(text, "yellow")


def _table(found: Survey) -> Table:
    from rich.table import Table
    from rich.text import Text

    alone = len({ref.provider for ref in found.result.reports}) == 1

    def name(ref: ModelRef) -> str:
        return ref.model if alone else str(ref)  # one provider need not be said each time

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("model", "state", "time", "tools", "use instead"):
        table.add_column(title, overflow="fold")
    for ref, report in found.result.reports.items():
        colour = "green" if report.serves else "red"
        state = report.status.value + (f" ({report.http_status})" if report.http_status else "")
        note = report.detail if report.status.value not in ("ok",) else ""
        instead = "\n".join(name(r) for r in found.alternatives.get(ref, ())[:2])
        table.add_row(
            Text(name(ref)),
            Text(state, style=colour) + (Text(f"\n{note}", style="dim") if note else Text()),
            Text(f"{report.latency_ms} ms" if report.latency_ms is not None else "-"),
            Text({True: "yes", False: "no", None: "?"}[report.tools]),
            Text(instead or ("-" if report.serves else "nothing serves")),
        )
    return table
