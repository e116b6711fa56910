"""``synccr heal``."""

from __future__ import annotations

import json as codec
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from synccr.ccr.loss import Loss
from synccr.ccr.package_source import configured_version, known_generation
from synccr.cli.context import CommandContext
from synccr.cli.options import Config, FallbackConfig, Fresh, Json, Port
from synccr.cli.output import style
from synccr.cli.profile_options import ProfileOptions
from synccr.cli.result import Note, Result
from synccr.cli.running_instance import RunningInstance, running_instance
from synccr.cli.survey import survey
from synccr.config.ccr_file import ConfigFile
from synccr.config.store import Profiles, keep_adopted, recorded
from synccr.errors import Taken
from synccr.heal import Change, Healed, heal
from synccr.supervisor.lock import Lock, released


def run(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; show the changes.")
    ] = False,
    json: Json = False,
    fresh: Fresh = False,
    config: Config = None,
    fallback_config: FallbackConfig = None,
    port: Port = None,
) -> Result:
    """Check the models and write the healed configuration, without starting anything.

    While synccr runs it keeps the configuration healed itself: then the changes are
    shown, and nothing is written.
    """
    context = CommandContext.make()
    named = ProfileOptions(config, fallback_config, port).resolved()
    runs = running_instance(context.paths.instance)
    options = named.or_else(runs.options) if runs and not (dry_run and any(named)) else named
    profiles = context.profiles(options)
    if runs and any(named) and not dry_run:
        _refuse_others(profiles, runs)
    found = survey(context, profiles, fresh=fresh)
    generation = known_generation(context.settings)
    healed = heal(
        profiles.primary,
        found.result.reports,
        profiles.local,
        read=generation is None or not generation.apart,
    )
    writes = not (dry_run or runs)
    backup = _write(context, profiles, healed) if writes else None
    if json:
        return Result(
            document={
                "profile": healed.profile.role,
                "changes": [_change_row(change) for change in healed.changes],
                "written": writes,
                "backup": str(backup) if backup else None,
                "losses": [_loss_row(loss) for loss in found.losses],
            }
        )
    where = context.paths.ccr_config
    if writes:
        outcome = f"Written: {where}"
    elif dry_run or not runs:
        outcome = f"Nothing written (--dry-run): {where}"
    else:
        outcome = f"Nothing written: synccr runs (pid {runs.pid}) and keeps {where} healed."
    notes = [outcome, *([f"What was there before: {backup}"] if backup else [])]
    version = configured_version(context.settings)
    lost = [f"On Claude Code Router {version}, {loss}" for loss in found.losses]
    notes = [*lost, *notes]
    return Result([*_change_lines(healed.changes), *map(Note, notes)])


def _refuse_others(profiles: Profiles, runs: RunningInstance) -> None:
    """What runs is not to find a configuration that was made from other wishes."""
    asked = (profiles.primary.source, profiles.fallback.source)
    if (asked, profiles.local.port) != (runs.sources, runs.options.port):
        raise Taken(
            f"synccr runs (pid {runs.pid}) on {runs.sources[0]} at port {runs.options.port}, and "
            "CCR has one configuration only.",
            "Add --dry-run to see the changes, or end it first: synccr stop",
        )


def _write(context: CommandContext, profiles: Profiles, healed: Healed) -> Path | None:
    """Write it, unless a supervisor has come up meanwhile; returns what was there before."""
    with released(Lock(context.paths.instance)) as lock:
        lock.acquire()
        keep_adopted(profiles)
        with recorded(context.paths, healed.profile.role, healed.config, healed.profile.source):
            return ConfigFile(context.paths).write(healed.config)


def _change_row(change: Change) -> dict[str, Any]:
    return {
        "path": change.path,
        "before": change.before,
        "after": change.after,
        "reason": change.reason,
    }


def _loss_row(loss: Loss) -> dict[str, Any]:
    return {
        "place": loss.place,
        "what": loss.what,
        "consequence": loss.consequence,
        "models": [str(ref) for ref in loss.models],
        "unservable": loss.unservable,
    }


def _change_lines(changes: Sequence[Change]) -> Iterator[str]:
    """Each change as a person reads a difference: minus, plus, why."""
    if not changes:
        yield "Nothing to change: every route leads to a model that can serve."
    for change in changes:
        yield f"{style(change.path, 'bold', sys.stdout)}  ({change.reason})"
        if change.before is not None:
            yield style(f"  - {codec.dumps(change.before)}", "red", sys.stdout)
        if change.after is not None:
            yield style(f"  + {codec.dumps(change.after)}", "green", sys.stdout)
