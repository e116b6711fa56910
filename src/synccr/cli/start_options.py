"""What ``synccr start`` takes, read without the parser of the command line.

What a process has imported it keeps. A supervisor runs for weeks, and typer with what it
brings takes a quarter of its memory, so a plain ``start`` is read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from synccr.cli.profile_options import ProfileOptions

LOG_LEVELS = ("error", "warn", "info", "debug", "trace")
"""What ``--log-level`` takes; CCR's own words, without the one that hides errors."""
_LOUD = ("info", "debug", "trace")


class StartOptions(NamedTuple):
    """Of ``synccr start``; see there."""

    profiles: ProfileOptions = ProfileOptions()
    skip_preflight: bool = False

    def files(self) -> dict[str, str | None]:
        """The files that are named, as paths that count in every directory."""
        config, fallback_config, *_ = self.profiles.resolved()
        return {
            "config": str(config) if config else None,
            "fallback_config": str(fallback_config) if fallback_config else None,
        }

    def as_arguments(self) -> list[str]:
        """The same for a process that may run in another directory."""
        given = {k: str(v) for k, v in self.profiles.resolved()._asdict().items() if v}
        words = [word for k, v in given.items() for word in (f"--{k.replace('_', '-')}", v)]
        return [*words, *(["--skip-preflight"] if self.skip_preflight else [])]


def plain(arguments: Sequence[str]) -> StartOptions | None:
    """Read the arguments after ``start``; None for whatever is not plain, help and mistakes
    included: those are for the real parser."""
    named: dict[str, Any] = {}
    skip_preflight = False
    rest = iter(arguments)
    for name in rest:
        if name == "--skip-preflight":
            skip_preflight = True
            continue
        value = next(rest, "")
        if name in ("--config", "--fallback-config") and value and not value.startswith("-"):
            named[name[2:].replace("-", "_")] = Path(value)
        elif name == "--port" and value.isascii() and value.isdigit() and 0 < int(value) < 65536:
            named["port"] = int(value)
        elif name == "--log-level" and value in LOG_LEVELS:
            named["log_level"] = value
        else:
            return None
    return StartOptions(ProfileOptions(**named), skip_preflight)


def warning_of(level: str | None, logs: Path | None) -> str | None:
    """What a level of CCR's log means for a person; None when it keeps nothing but errors.

    Args:
        level: that was asked for.
        logs: where CCR writes; None for a CCR that writes no log.
    """
    if level and logs is None:
        return f"--log-level {level} changes nothing: this CCR writes no log."
    if level not in _LOUD:
        return None
    return (
        f"CCR's log keeps level {level}: every prompt is written to {logs}. Provider keys given "
        "as $NAME are not, because CCR has placeholders for them."
    )
