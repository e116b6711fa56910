"""What the supervisor that runs was started with, so that other commands speak of the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from synccr.control import request
from synccr.errors import NotRunning

PATIENCE = 5.0
"""Seconds in which a supervisor that is well answers."""


class ProfileOptions(NamedTuple):
    """What a command line says of the profiles; None for what it does not name."""

    config: Path | None = None
    fallback_config: Path | None = None
    port: int | None = None
    log_level: str | None = None

    @classmethod
    def of(
        cls, config: Path | None, fallback_config: Path | None, port: int | None = None
    ) -> ProfileOptions:
        """With paths that count in every directory."""
        return cls(
            config.resolve() if config else None,
            fallback_config.resolve() if fallback_config else None,
            port,
        )

    def or_else(self, other: ProfileOptions) -> ProfileOptions:
        """What is not named here is as in ``other``."""
        return ProfileOptions(
            self.config or other.config,
            self.fallback_config or other.fallback_config,
            self.port or other.port,
            self.log_level or other.log_level,
        )


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
