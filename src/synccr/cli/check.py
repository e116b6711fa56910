"""Commands that ask the providers: models, heal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from synccr.cli.options import Config, FallbackConfig, Fresh, Json, Port, Timeout
from synccr.cli.output import coloured, draw, put_json, quota_line, say
from synccr.errors import NoModelServes, Taken

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from synccr.cli.running import Running
    from synccr.cli.setup import Setup
    from synccr.config.store import Profiles
    from synccr.heal import Change, Healed
    from synccr.models.last_check import Changes
    from synccr.models.report import ModelRef, Report
    from synccr.probe.run import PreflightResult


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(models)
    app.command(name="heal")(heal_command)


@dataclass(frozen=True)
class Survey:
    """What preflight found of all models of both profiles.

    Attributes:
        profiles: what was asked for.
        result: what was found.
        healed: the primary, healed; None when none of its models can serve.
        alternatives: what to use instead of a model that cannot serve.
    """

    profiles: Profiles
    result: PreflightResult
    healed: Healed | None
    alternatives: dict[ModelRef, tuple[ModelRef, ...]] = field(default_factory=dict)

    @property
    def moved(self) -> tuple[Change, ...]:
        """Routes that had to leave their model."""
        changes = self.healed.changes if self.healed else ()
        return tuple(c for c in changes if c.path.startswith("Router.") and c.before)


def survey(setup: Setup, profiles: Profiles, *, fresh: bool) -> Survey:
    """Probe every model of both profiles, with progress on a terminal."""
    import asyncio

    from synccr.config.profile import owner_order, probe_targets
    from synccr.heal import heal
    from synccr.probe import alternatives
    from synccr.probe.ask import ask_models

    pairs = probe_targets(profiles.primary, profiles.fallback)
    with Progress(len(pairs)) as progress:
        result = asyncio.run(
            ask_models(
                pairs,
                settings=setup.settings,
                instance=setup.paths.instance,
                fresh=fresh,
                progress=progress,
                proxy=profiles.proxy,
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
    return Survey(profiles, result, healed, instead)


class Progress:
    """A bar on a terminal; elsewhere silence, for what is done within seconds."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if coloured(sys.stderr):
            from rich import progress as rich

            from synccr.cli.output import console

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


def models(
    json: Json = False,
    fresh: Fresh = False,
    config: Config = None,
    fallback_config: FallbackConfig = None,
    timeout: Timeout = None,
    changes: Annotated[
        bool,
        typer.Option("--changes", help="Ask afresh; also say what is new since the last time."),
    ] = False,
) -> None:
    """Ask every configured model whether it can serve, and say what to use instead.

    Exit code 0: every route of the primary profile has a healthy model; 1: some
    route had to be moved; 5: no model can serve.
    """
    from synccr.cli.running import Given, as_given
    from synccr.cli.setup import Setup

    setup = Setup.make(preflight_timeout=timeout)
    profiles = setup.profiles(*as_given(setup.paths.instance, Given.of(config, fallback_config)))
    found = survey(setup, profiles, fresh=fresh or changes)
    quotas = quota_rows(setup, found)
    news = changes_since(setup, found) if changes else None
    if json:
        put_json(models_document(found, quotas, news))
    else:
        show_models(found)
        for row in quotas:
            say(quota_line(row))
        if news is not None:
            show_news(news)
    if found.healed is None:
        raise typer.Exit(NoModelServes.exit_code)
    raise typer.Exit(1 if found.moved else 0)


def quota_rows(setup: Setup, found: Survey) -> list[dict[str, Any]]:
    """What is left of each allowance, the tightest first."""
    from synccr.journal import utc_now
    from synccr.supervisor.watchers.quota import status_of

    return status_of(setup.paths.instance / "quota.json", found.result.quotas, utc_now())


def changes_since(setup: Setup, found: Survey) -> Changes:
    """What is different since the last full check, which this one becomes."""
    from synccr.journal import utc_now
    from synccr.models import last_check

    path, result = setup.paths.instance / "inventory.json", found.result
    before = last_check.load(path)
    offered = {name: [row.id for row in rows] for name, rows in result.offered.items()}
    after = last_check.take(before, result.reports.values(), offered, utc_now())
    last_check.save(path, after)
    return last_check.compare(before, after)


def show_news(news: Changes) -> None:
    """Changes since the last full check, for a person."""
    from synccr.models.last_check import lines

    if news.since is None:
        say("First full check: the next one says what has changed.")
        return
    for line in lines(news) or ["Nothing changed."]:
        say(f"Since {news.since:%Y-%m-%d}: {line}")


def models_document(
    found: Survey, quotas: list[dict[str, Any]], news: Changes | None
) -> dict[str, Any]:
    """The contract's ``models --json``, and a little more."""
    from synccr.journal import stamp

    rows = [
        report_row(report)
        | {
            "tools": report.tools,
            "context_length": report.context_length,
            "alternatives": [str(ref) for ref in found.alternatives.get(ref, ())],
        }
        for ref, report in found.result.reports.items()
    ]
    document = {"models": rows, "quota": quotas[0] if quotas else None, "quotas": quotas}
    if news is not None:
        document["changes"] = {
            "since": stamp(news.since) if news.since else None,
            "new": news.new,
            "gone": news.gone,
            "states": [
                {"model": model, "before": before, "after": after}
                for model, before, after in news.states
            ],
        }
    return document


def report_row(report: Report) -> dict[str, Any]:
    """One model, as the contract has it everywhere."""
    from synccr.journal import stamp

    return {
        "provider": report.provider,
        "model": report.model,
        "status": report.status.value,
        "http_status": report.http_status,
        "latency_ms": report.latency_ms,
        "checked_at": stamp(report.checked_at),
        "detail": report.detail,
    }


def show_models(found: Survey) -> None:
    """The table and what to do."""
    draw(_table(found))
    for profile in (found.profiles.primary, found.profiles.fallback):
        for warning in profile.warnings:
            say(f"{profile.source}: {warning}")
    if found.healed is None:
        from synccr.heal.advice import advice_lines

        say("No model can serve.", "red")
        for line in advice_lines(found.result.reports.values()):
            say(f"  {line}")
        return
    for change in found.moved:
        say(f"{change.path}: {change.before} -> {change.after} ({change.reason})", "yellow")


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


def heal_command(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; show the changes.")
    ] = False,
    json: Json = False,
    fresh: Fresh = False,
    config: Config = None,
    fallback_config: FallbackConfig = None,
    port: Port = None,
) -> None:
    """Check the models and write the healed configuration, without starting anything.

    While synccr runs it keeps the configuration healed itself: then the changes are
    shown, and nothing is written.
    """
    from synccr.cli.running import Given, running
    from synccr.cli.setup import Setup
    from synccr.heal import heal

    setup = Setup.make()
    named = Given.of(config, fallback_config, port)
    runs = running(setup.paths.instance)
    given = named.or_else(runs.given) if runs and not (dry_run and any(named)) else named
    profiles = setup.profiles(*given)
    if runs and any(named) and not dry_run:
        _refuse_others(profiles, runs)
    found = survey(setup, profiles, fresh=fresh)
    healed = heal(profiles.primary, found.result.reports, profiles.local)
    writes = not (dry_run or runs)
    backup = _write(setup, profiles, healed) if writes else None
    if json:
        put_json(
            {
                "profile": healed.profile.role,
                "changes": [_change_row(change) for change in healed.changes],
                "written": writes,
                "backup": str(backup) if backup else None,
            }
        )
    else:
        show_changes(healed.changes)
        where = setup.paths.ccr_config
        if writes:
            say(f"Written: {where}")
        elif dry_run or not runs:
            say(f"Nothing written (--dry-run): {where}")
        else:
            say(f"Nothing written: synccr runs (pid {runs.pid}) and keeps {where} healed.")
        if backup:
            say(f"What was there before: {backup}")


def _refuse_others(profiles: Profiles, runs: Running) -> None:
    """What runs is not to find a configuration that was made from other wishes."""
    asked = (profiles.primary.source, profiles.fallback.source)
    if (asked, profiles.local.port) != (runs.sources, runs.given.port):
        raise Taken(
            f"synccr runs (pid {runs.pid}) on {runs.sources[0]} at port {runs.given.port}, and "
            "CCR has one configuration only.",
            "Add --dry-run to see the changes, or end it first: synccr stop",
        )


def _write(setup: Setup, profiles: Profiles, healed: Healed) -> Path | None:
    """Write it, unless a supervisor has come up meanwhile; returns what was there before."""
    from synccr.ccr.config_file import ConfigFile
    from synccr.config.store import keep_adopted, recorded
    from synccr.supervisor.lock import Lock, released

    with released(Lock(setup.paths.instance)) as lock:
        lock.acquire()
        keep_adopted(profiles)
        with recorded(setup.paths, healed.profile.role, healed.config, healed.profile.source):
            return ConfigFile(setup.paths).write(healed.config)


def _change_row(change: Change) -> dict[str, Any]:
    return {
        "path": change.path,
        "before": change.before,
        "after": change.after,
        "reason": change.reason,
    }


def show_changes(changes: Sequence[Change]) -> None:
    """Each change as a person reads a difference: minus, plus, why."""
    import json

    from synccr.cli.output import paint, put

    if not changes:
        put("Nothing to change: every route leads to a model that can serve.")
    for change in changes:
        put(f"{paint(change.path, 'bold', sys.stdout)}  ({change.reason})")
        if change.before is not None:
            put(paint(f"  - {json.dumps(change.before)}", "red", sys.stdout))
        if change.after is not None:
            put(paint(f"  + {json.dumps(change.after)}", "green", sys.stdout))
