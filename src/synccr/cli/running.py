"""What the supervisor that runs was started with, so that other commands speak of the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from synccr.control import request
from synccr.errors import NotRunning

_PATIENCE = 5.0


class Given(NamedTuple):
    """What a command line says of the profiles; None for what it does not name."""

    config: Path | None = None
    fallback_config: Path | None = None
    port: int | None = None
    log_level: str | None = None

    @classmethod
    def of(
        cls, config: Path | None, fallback_config: Path | None, port: int | None = None
    ) -> Given:
        """With paths that count in every directory."""
        return cls(
            config.resolve() if config else None,
            fallback_config.resolve() if fallback_config else None,
            port,
        )

    def or_else(self, other: Given) -> Given:
        """What is not named here is as in ``other``."""
        return Given(
            self.config or other.config,
            self.fallback_config or other.fallback_config,
            self.port or other.port,
            self.log_level or other.log_level,
        )


class Running(NamedTuple):
    """A supervisor.

    Attributes:
        pid: its process.
        given: what it was started with, and the port that it serves.
        sources: where its primary and its fallback profile come from.
    """

    pid: int
    given: Given
    sources: tuple[str, str]


def running(instance: Path) -> Running | None:
    """The supervisor that runs; None when none does.

    Raises:
        SynccrError: it does not answer.
    """
    try:
        status: dict[str, Any] = request(instance, "status", timeout=_PATIENCE)
    except NotRunning:
        return None
    options, sources = status["options"], status["sources"]
    config, fallback = (
        Path(options[name]) if options[name] else None for name in ("config", "fallback_config")
    )
    return Running(
        status["supervisor"]["pid"],
        Given(config, fallback, options["port"], options.get("log_level")),
        (sources["primary"], sources["fallback"]),
    )


def as_given(instance: Path, given: Given) -> Given:
    """A command line without a name means what runs.

    Raises:
        SynccrError: a supervisor runs and does not answer.
    """
    if any(given):
        return given
    found = running(instance)
    return found.given if found else given
