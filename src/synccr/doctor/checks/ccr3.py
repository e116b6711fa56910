"""CCR 3: its data in the directory that CCR 2 reads, and what it does not do of the profiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from synccr.ccr.loss import Loss
from synccr.ccr.package_source import configured_version
from synccr.ccr.v2.override_files import find_overrides
from synccr.config.ccr3.database import DATABASE, Torn, Unreadable
from synccr.config.ccr3.offer import offered
from synccr.doctor import lines
from synccr.doctor.context import Context
from synccr.doctor.result import Diagnosis, fail, ok, together, warn


def generation3(context: Context) -> Diagnosis:
    """CCR 3's data in the directory that CCR 2 reads, too: no fault, but it may hold routes that
    the person misses."""
    path = context.paths.ccr / DATABASE
    if not path.exists():
        return ok("no data of CCR 3 in the directory")
    primary = context.profiles.primary
    here = f"CCR 3 has its data here ({path})"
    if context.paths.ccr_config.exists():
        here += ", and neither reads nor removes the config.json beside it"
    if not (primary.shipped or context.is_in_ccr3(primary)):
        return ok(f"{here}; synccr leaves it as it is and has a profile ({primary.source})")
    try:
        taken = offered(context.paths, context.environ)
    except Torn as error:
        return warn(error.what, lines.synccr("doctor", "ccr.generation3"))
    except Unreadable as error:
        return warn(error.what, _aside(context.paths.ccr))
    if taken is None:
        return ok(f"{here}, and no provider yet")
    who = "synccr init" if primary.shipped else "the first synccr start"
    if taken.upgraded:
        return warn(
            f"CCR 3 took over the config.json of CCR 2 here and dropped its routes. {path} still "
            f"has it, and {who} takes it as the primary profile. {taken}",
            lines.synccr("init"),
        )
    return ok(f"{here}; {who} takes it as the primary profile")


def _aside(directory: Path) -> str:
    aside = directory / "ccr3"
    words = " ".join(map(lines.quote, sorted(directory.glob(f"{DATABASE}*"))))
    return f"mkdir -p {lines.quote(aside)} && mv -- {words} {lines.quote(aside)}"


def translation(context: Context) -> Diagnosis:
    """What the profiles have and this CCR does not do."""
    version = configured_version(context.settings)
    found = [*(_lost(context, loss) for loss in context.losses), *_presets(context, version)]
    if not found:
        return ok(f"Claude Code Router {version} does all that the profiles have")
    return together(found)


def _lost(context: Context, loss: Loss) -> Diagnosis:
    if not loss.unservable:
        return warn(str(loss), lines.edit(context.paths.settings))
    profiles = context.profiles
    for profile in (profiles.primary, profiles.fallback):
        leading = [name for name, ref in profile.routes.items() if ref in loss.models]
        if leading and Path(profile.source).is_file():  # else nobody wrote them
            routes = ", ".join(f"Router.{name}" for name in leading)
            lead = "leads" if len(leading) == 1 else "lead"
            return fail(f"{loss} {routes} of {profile.source} {lead} there.", context.edit(profile))
    return warn(str(loss), context.edit(profiles.primary))


def _presets(context: Context, version: str) -> Iterator[Diagnosis]:
    if context.generation is None or context.generation.presets:
        return
    for one in find_overrides(context.paths.ccr):
        if one.kind == "preset":
            what = f"CCR {version} has no presets: nothing answers at /preset/{one.name}."
            yield warn(f"{one.file}: {what}", lines.edit(context.paths.settings))
