"""What the supervisor that runs was started with, so that other commands speak of the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from synccr.cli.profile_options import ProfileOptions
from synccr.control import request
from synccr.errors import NotRunning

PATIENCE = 5.0
"""Seconds in which a supervisor that is well answers."""


class RunningInstance(NamedTuple):
    """A supervisor.

    Attributes:
        pid: its process.
        options: what it was started with, and the port that it serves.
        sources: where its primary and its fallback profile come from.
    """

    pid: int
    options: ProfileOptions
    sources: tuple[str, str]


def running_instance(instance: Path) -> RunningInstance | None:
    """The supervisor that runs; None when none does.

    Raises:
        SynccrError: it does not answer.
    """
    try:
        status: dict[str, Any] = request(instance, "status", timeout=PATIENCE)
    except NotRunning:
        return None
    options, sources = status["options"], status["sources"]
    config, fallback = (
        Path(options[name]) if options[name] else None for name in ("config", "fallback_config")
    )
    return RunningInstance(
        status["supervisor"]["pid"],
        ProfileOptions(config, fallback, options["port"], options.get("log_level")),
        (sources["primary"], sources["fallback"]),
    )


def named_or_running(instance: Path, named: ProfileOptions) -> ProfileOptions:
    """A command line without a name means what runs.

    Raises:
        SynccrError: a supervisor runs and does not answer.
    """
    if any(named):
        return named
    found = running_instance(instance)
    return found.options if found else named
