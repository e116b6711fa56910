"""What ``synccr start`` takes, read without the parser of the command line.

What a process has imported it keeps. A supervisor runs for weeks, and typer with what it
brings takes a quarter of its memory, so a plain ``start`` is read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LOG_LEVELS = ("error", "warn", "info", "debug", "trace")
"""What ``--log-level`` takes; CCR's own words, without the one that hides errors."""
_LOUD = ("info", "debug", "trace")


@dataclass(frozen=True)
class StartOptions:
    """Of ``synccr start``; see there."""

    config: Path | None = None
    fallback_config: Path | None = None
    port: int | None = None
    skip_preflight: bool = False
    log_level: str | None = None

    def files(self) -> dict[str, str | None]:
        """The files that are named, as paths that count in every directory."""
        named = {"config": self.config, "fallback_config": self.fallback_config}
        return {name: str(path.resolve()) if path else None for name, path in named.items()}

    def as_arguments(self) -> list[str]:
        """The same for a process that may run in another directory."""
        named = {**self.files(), "port": self.port, "log_level": self.log_level}
        given = [(name.replace("_", "-"), str(value)) for name, value in named.items() if value]
        words = [word for name, value in given for word in (f"--{name}", value)]
        return [*words, *(["--skip-preflight"] if self.skip_preflight else [])]


def plain(arguments: Sequence[str]) -> StartOptions | None:
    """Read the arguments after ``start``; None for whatever is not plain, help and mistakes
    included: those are for the real parser."""
    files: dict[str, Path] = {}
    port, skip_preflight, log_level = None, False, None
    rest = iter(arguments)
    for name in rest:
        if name == "--skip-preflight":
            skip_preflight = True
            continue
        value = next(rest, "")
        if name in ("--config", "--fallback-config") and value and not value.startswith("-"):
            files[name] = Path(value)
        elif name == "--port" and value.isascii() and value.isdigit() and 0 < int(value) < 65536:
            port = int(value)
        elif name == "--log-level" and value in LOG_LEVELS:
            log_level = value
        else:
            return None
    config, fallback_config = files.get("--config"), files.get("--fallback-config")
    return StartOptions(config, fallback_config, port, skip_preflight, log_level)


def warning_of(level: str | None, logs: Path) -> str | None:
    """What a level of CCR's log means for a person; None when it keeps nothing but errors."""
    if level not in _LOUD:
        return None
    return (
        f"CCR's log keeps level {level}: every prompt is written to {logs}. Provider keys given "
        "as $NAME are not, because CCR has placeholders for them."
    )
