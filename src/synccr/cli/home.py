"""Commands that settle synccr on a machine: init, service."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synccr.cli.options import Json
from synccr.cli.output import paint, put, put_json, say
from synccr.errors import ConfigError, NoModelServes, NotRunning, SynccrError, Taken, UsageError

if TYPE_CHECKING:
    from synccr.config.store import Profiles
    from synccr.paths import Paths
    from synccr.service.definition import Service, Surroundings

_NOT_INSTALLED = 3


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(init)
    group = typer.Typer(
        help="Start synccr at login: systemd, launchd or a Windows scheduled task.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command(name="install")(service_install)
    group.command(name="uninstall")(service_uninstall)
    group.command(name="status")(service_status)
    app.add_typer(group, name="service")


# ----------------------------------------------------------------------- init


def init(
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
) -> None:
    """Ask for the provider's key once, keep it, and try your models.

    The key goes to keys.env in synccr's own configuration directory, mode 0600,
    and is never shown. A key that is set in the environment goes before it.
    """
    from synccr.config.keys import read_keys, write_keys
    from synccr.config.store import load_profiles
    from synccr.paths import Paths

    paths = Paths.from_environment()
    chosen = profile or _asked_profile(paths, asking=key_from is None)
    profiles = load_profiles(paths, os.environ, config=chosen, keyless=True)
    names = _key_names(profiles)
    if key_from is not None:
        found = _key_given(key_from, names)
    else:
        found = _keys_asked(names, {**read_keys(paths.keys), **os.environ})
    if chosen:
        say(f"The primary profile is now {_keep_profile(paths, chosen)}.")
    if found:
        write_keys(paths.keys, found)
        say(f"{', '.join(found)} is kept in {paths.keys}, for you alone.")
    if check:
        _try()
    say("Start it: synccr start")


def _asked_profile(paths: Paths, *, asking: bool) -> Path | None:
    """A file that a person names; None when there is a profile already, or nobody to ask."""
    from synccr.config.store import FILES, load_profiles

    if not (asking and sys.stdin and sys.stdin.isatty()):
        return None
    if (paths.config / FILES["primary"]).exists() or not load_profiles(
        paths, os.environ, keyless=True
    ).primary.shipped:
        return None
    say("Which CCR configuration? Enter takes the one for synthetic.new; or name a file.")
    answer = input("> ").strip()
    return Path(answer).expanduser() if answer else None


def _keep_profile(paths: Paths, source: Path) -> Path:
    """Copy a profile to where it is found; what it replaces leaves a dated copy."""
    from synccr.config.store import FILES, Profiles, keep_adopted, load_profiles

    own = paths.config / FILES["primary"]
    if own.exists() and own.samefile(source):
        return own
    read = load_profiles(paths, os.environ, config=source, keyless=True)
    keep_adopted(Profiles(read.primary, read.fallback, read.local, {own: source.read_bytes()}))
    return own


def _key_names(profiles: Profiles) -> list[str]:
    """Variables that the providers of both profiles take their keys from."""
    from synccr.config.profile import variables

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
    from getpass import getpass

    found = {}
    for name in names:
        if known.get(name):
            say(f"{name} is set already.")
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


def _try() -> None:
    from synccr.cli.check import show_models, survey
    from synccr.cli.setup import Setup

    setup = Setup.make()
    found = survey(setup, setup.profiles(), fresh=True)
    show_models(found)
    if found.healed is None:
        raise typer.Exit(NoModelServes.exit_code)


# -------------------------------------------------------------------- service


def _service() -> tuple[Paths, Surroundings, Service]:
    from synccr.config.keys import with_keys
    from synccr.paths import Paths
    from synccr.service import service_for
    from synccr.service.manage import surroundings

    paths = Paths.from_environment()
    around = surroundings(paths, with_keys(os.environ, paths.keys))
    return paths, around, service_for(sys.platform, around)


def service_install() -> None:
    """Start synccr now and at every login. Again, it changes nothing."""
    from synccr.service.manage import install

    paths, around, service = _service()
    _service_sees_keys(paths)
    _nobody_else_runs(paths, service)
    install(service, around)
    say(f"synccr starts at every login: {service.file.path}")
    say(f"What it says: {service.log}")


def _service_sees_keys(paths: Paths) -> None:
    """The service has none of this shell's variables."""
    from synccr.config.keys import read_keys, with_keys
    from synccr.config.store import load_profiles

    load_profiles(paths, with_keys(os.environ, paths.keys))
    alone = load_profiles(paths, read_keys(paths.keys), keyless=True)
    unset = [name for p in (alone.primary, alone.fallback) for r in p.providers for name in r.unset]
    for name in unset:
        if os.environ.get(name):
            raise ConfigError(
                f"{name} is set in this shell only, where the service does not see it.",
                f"Run: synccr init --key-from {name}",
            )


def _nobody_else_runs(paths: Paths, service: Service) -> None:
    from synccr.control import request
    from synccr.service.manage import state

    try:
        status = request(paths.instance, "status")
    except NotRunning:
        return
    if not state(service).active:
        raise Taken(
            f"synccr runs already, not as a service (pid {status['supervisor']['pid']}).",
            "End it first: synccr stop",
        )


def service_uninstall() -> None:
    """End the service and remove what install wrote. Keys and profiles stay."""
    from synccr.service.manage import uninstall

    paths, around, service = _service()
    if sys.platform == "win32":  # a task is ended by force, which CCR would outlive
        from synccr.control import request

        with contextlib.suppress(SynccrError):
            request(paths.instance, "stop")
    gone = uninstall(service, around)
    say(f"Removed: {service.file.path}" if gone else "No service was installed.")


def service_status(json: Json = False) -> None:
    """Say whether the service is installed and runs.

    Exit code 0: it runs; 1: it is installed and does not run; 3: it is not installed.
    """
    from synccr.service.manage import state

    _, _, service = _service()
    found = state(service)
    code = _NOT_INSTALLED if not found.installed else 0 if found.active else 1
    if json:
        put_json(
            {
                "installed": found.installed,
                "current": found.current,
                "active": found.active,
                "file": str(service.file.path),
            }
        )
        raise typer.Exit(code)
    if not found.installed:
        put("The service is not installed. Run: synccr service install")
    else:
        word = {True: "runs", False: "does not run", None: "cannot be asked for here"}[found.active]
        put(f"The service {paint(word, 'bold', sys.stdout)}: {service.file.path}")
        if not found.current:
            put("It was written by another synccr. Run: synccr service install")
        put(f"What it says: {service.log}")
    raise typer.Exit(code)
