"""``synccr init``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from synccr.cli.context import CommandContext
from synccr.cli.output import print_note
from synccr.cli.profile_options import ProfileOptions
from synccr.cli.result import Note, Result
from synccr.cli.survey import survey, survey_lines
from synccr.config.ccr_file import ConfigFile
from synccr.config.keys import with_keys, write_keys
from synccr.config.profile import variables
from synccr.config.store import (
    FILES,
    Profiles,
    Source,
    decline,
    is_declined,
    keep_adopted,
    load_profiles,
    read_written,
    source_in_ccr3,
)
from synccr.errors import ConfigError, NoModelServes, UsageError
from synccr.paths import Paths


def run(
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile", metavar="FILE", help="A CCR configuration to use as the primary profile."
        ),
    ] = None,
    key_from: Annotated[
        str | None,
        typer.Option(
            "--key-from",
            metavar="VARIABLE|-",
            help="Take the key from a variable, or from standard input (-); asks nothing.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Whether to ask the models afterwards.")
    ] = True,
) -> Result:
    """Ask for the provider's key once, keep it, and try your models.

    The key goes to keys.env in synccr's own configuration directory, mode 0600,
    and is never shown. A key that is set in the environment goes before it.
    What you configured in CCR 3 is offered as the primary profile, keys and all.
    """
    paths = Paths.from_environment()
    asking = key_from is None and bool(sys.stdin and sys.stdin.isatty())
    environ = with_keys(os.environ, paths.keys)
    ccr3 = None if profile else _from_ccr3(paths, environ, asking=asking)
    chosen = profile or (None if ccr3 else _asked_profile(paths, asking=asking))
    profiles = load_profiles(paths, environ, config=chosen, source=ccr3, keyless=True)
    taken = profiles.keys.get(paths.keys, {})
    names = [name for name in _key_names(profiles) if key_from or name not in taken]
    found = _keys_asked(names, environ) if key_from is None else _key_given(key_from, names)
    if ccr3:
        keep_adopted(profiles)
        print_note(" ".join(profiles.notes))
    elif chosen:
        print_note(f"The primary profile is now {_keep_profile(paths, chosen)}.")
    if found:
        write_keys(paths.keys, found)
        print_note(f"{', '.join(found)} is kept in {paths.keys}, for you alone.")
    start = Note("Start it: synccr start")
    if not check:
        return Result([start])
    context = CommandContext.make()
    asked = survey(context, context.profiles(ProfileOptions()), fresh=True)
    if asked.healed is None:
        return Result([*survey_lines(asked)], exit_code=NoModelServes.exit_code)
    return Result([*survey_lines(asked), start])


def _from_ccr3(paths: Paths, environ: Mapping[str, str], *, asking: bool) -> Source | None:
    """What a person configured in CCR 3, when there is no other profile and they want it;
    where nobody can be asked, when the next start would take it."""
    first_run = read_written(paths) is None
    if (paths.config / FILES["primary"]).exists() or (
        first_run and ConfigFile(paths).changed_by_others()
    ):
        return None
    try:
        found = source_in_ccr3(paths, environ)
    except ConfigError as error:
        print_note(str(error))
        return None
    if found is None or found.taken is None:
        return None
    if not asking:
        return found if first_run and not is_declined(paths) else None
    what = "CCR 3 is configured here"
    if found.taken.upgraded:
        what = "CCR 3 took over the config.json of CCR 2 here, and dropped its routes"
    print_note(f"{what} ({found.path}). {found.taken}")
    for line in found.taken.details():
        print_note(line)
    print_note("Is that to be synccr's primary profile? CCR 3 keeps its own as it is. [Y/n]")
    if input("> ").strip().lower() in ("", "y", "yes"):
        return found
    decline(paths)
    return None


def _asked_profile(paths: Paths, *, asking: bool) -> Path | None:
    """A file that a person names; None when there is a profile already, or nobody to ask."""
    if not asking:
        return None
    if (paths.config / FILES["primary"]).exists() or not load_profiles(
        paths, os.environ, keyless=True
    ).primary.shipped:
        return None
    print_note("Which CCR configuration? Enter takes the one for synthetic.new; or name a file.")
    answer = input("> ").strip()
    return Path(answer).expanduser() if answer else None


def _keep_profile(paths: Paths, source: Path) -> Path:
    """Copy a profile to where it is found; what it replaces leaves a dated copy."""
    own = paths.config / FILES["primary"]
    if own.exists() and own.samefile(source):
        return own
    read = load_profiles(paths, os.environ, config=source, keyless=True)
    keep_adopted(Profiles(read.primary, read.fallback, read.local, {own: source.read_bytes()}))
    return own


def _key_names(profiles: Profiles) -> list[str]:
    """Variables that the providers of both profiles take their keys from."""
    rows = [row for p in (profiles.primary, profiles.fallback) for row in p.raw["Providers"]]
    return list(dict.fromkeys(variables([row.get("api_key") for row in rows])))


def _key_given(source: str, names: list[str]) -> dict[str, str]:
    if source == "-":
        value = sys.stdin.read().strip() if sys.stdin else ""
        name = names[0] if names else ""
    else:
        value = os.environ.get(source, "")
        name = source if source in names or not names else names[0]
        if not value:
            raise UsageError(f"{source} is not set.", f"Write: export {source}=...")
    if not name:
        raise UsageError(
            "The profile takes no key from a variable.", "Leave --key-from out; nothing is to do."
        )
    if source not in (name, "-") and len(names) > 1:
        raise UsageError(
            f"The profile takes no key from {source}.", f"It takes them from: {', '.join(names)}."
        )
    return {name: value}


def _keys_asked(names: list[str], known: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name in names:
        if known.get(name):
            print_note(f"{name} is set already.")
            continue
        if not (sys.stdin and sys.stdin.isatty()):
            raise UsageError(
                f"{name} is not set, and there is no terminal to ask on.",
                "Write: synccr init --key-from VARIABLE, or pipe the key into: "
                "synccr init --key-from -",
            )
        value = getpass(f"{name} (your provider's key; what you type is not shown): ").strip()
        if value:
            found[name] = value
    if names and not found and not any(known.get(name) for name in names):
        raise UsageError("No key was given.", "Run synccr init again when you have one.")
    return found
