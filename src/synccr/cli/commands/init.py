"""``synccr init``."""

from __future__ import annotations

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from synccr.cli.context import CommandContext
from synccr.cli.output import print_note
from synccr.cli.profile_options import ProfileOptions
from synccr.cli.result import Note, Result
from synccr.cli.survey import survey, survey_lines
from synccr.config.keys import read_keys, write_keys
from synccr.config.profile import variables
from synccr.config.store import FILES, Profiles, keep_adopted, load_profiles
from synccr.errors import NoModelServes, UsageError
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
    """
    paths = Paths.from_environment()
    chosen = profile or _asked_profile(paths, asking=key_from is None)
    profiles = load_profiles(paths, os.environ, config=chosen, keyless=True)
    names = _key_names(profiles)
    if key_from is not None:
        found = _key_given(key_from, names)
    else:
        found = _keys_asked(names, {**read_keys(paths.keys), **os.environ})
    if chosen:
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


def _asked_profile(paths: Paths, *, asking: bool) -> Path | None:
    """A file that a person names; None when there is a profile already, or nobody to ask."""
    if not (asking and sys.stdin and sys.stdin.isatty()):
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


def _keys_asked(names: list[str], known: dict[str, str]) -> dict[str, str]:
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
