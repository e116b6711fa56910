"""``synccr service``: install, uninstall, status."""

from __future__ import annotations

import contextlib
import os
import sys

import typer

from synccr.cli.commands import COMMANDS
from synccr.cli.options import Json
from synccr.cli.output import style
from synccr.cli.result import Note, Result
from synccr.config.keys import read_keys, with_keys
from synccr.config.store import load_profiles
from synccr.control import request
from synccr.errors import ConfigError, NotRunning, SynccrError, Taken
from synccr.paths import Paths
from synccr.service import manage, service_for
from synccr.service.definition import Service, Surroundings

_NOT_INSTALLED = 3

app = typer.Typer(
    help=COMMANDS["service"], no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


def _service() -> tuple[Paths, Surroundings, Service]:
    paths = Paths.from_environment()
    around = manage.surroundings(paths, with_keys(os.environ, paths.keys))
    return paths, around, service_for(sys.platform, around)


@app.command("install")
def install() -> Result:
    """Start synccr now and at every login. Again, it changes nothing."""
    paths, around, service = _service()
    _service_sees_keys(paths)
    _nobody_else_runs(paths, service)
    manage.install(service, around)
    return Result(
        [
            Note(f"synccr starts at every login: {service.file.path}"),
            Note(f"What it says: {service.log}"),
        ]
    )


def _service_sees_keys(paths: Paths) -> None:
    """The service has none of this shell's variables."""
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
    try:
        status = request(paths.instance, "status")
    except NotRunning:
        return
    if not manage.state(service).active:
        raise Taken(
            f"synccr runs already, not as a service (pid {status['supervisor']['pid']}).",
            "End it first: synccr stop",
        )


@app.command("uninstall")
def uninstall() -> Result:
    """End the service and remove what install wrote. Keys and profiles stay."""
    paths, around, service = _service()
    if sys.platform == "win32":  # a task is ended by force, which CCR would outlive
        with contextlib.suppress(SynccrError):
            request(paths.instance, "stop")
    gone = manage.uninstall(service, around)
    return Result([Note(f"Removed: {service.file.path}" if gone else "No service was installed.")])


@app.command("status")
def status(json: Json = False) -> Result:
    """Say whether the service is installed and runs.

    Exit code 0: it runs; 1: it is installed and does not run; 3: it is not installed.
    """
    _, _, service = _service()
    found = manage.state(service)
    code = _NOT_INSTALLED if not found.installed else 0 if found.active else 1
    if json:
        return Result(
            document={
                "installed": found.installed,
                "current": found.current,
                "active": found.active,
                "file": str(service.file.path),
            },
            exit_code=code,
        )
    if not found.installed:
        lines = ["The service is not installed. Run: synccr service install"]
    else:
        word = {True: "runs", False: "does not run", None: "cannot be asked for here"}[found.active]
        lines = [f"The service {style(word, 'bold', sys.stdout)}: {service.file.path}"]
        if not found.current:
            lines.append("It was written by another synccr. Run: synccr service install")
        lines.append(f"What it says: {service.log}")
    return Result(lines, exit_code=code)
