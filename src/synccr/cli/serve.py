"""``synccr start`` in the foreground, without the parser of the command line.

What a process has imported it keeps. A supervisor runs for weeks, and typer with what it
brings takes a quarter of its memory, so a plain ``start`` is read here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LOG_LEVELS = ("error", "warn", "info", "debug", "trace")
"""What ``--log-level`` takes; CCR's own words, without the one that hides errors."""
_LOUD = ("info", "debug", "trace")


@dataclass(frozen=True)
class Options:
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
        arguments: list[str] = []
        if self.config:
            arguments += ["--config", str(self.config.resolve())]
        if self.fallback_config:
            arguments += ["--fallback-config", str(self.fallback_config.resolve())]
        if self.port:
            arguments += ["--port", str(self.port)]
        if self.skip_preflight:
            arguments += ["--skip-preflight"]
        if self.log_level:
            arguments += ["--log-level", self.log_level]
        return arguments


def plain(arguments: Sequence[str]) -> Options | None:
    """Read the arguments after ``start``; None for whatever is not plain, help and mistakes
    included: those are for the real parser."""
    files: dict[str, Path | None] = {"--config": None, "--fallback-config": None}
    port, skip_preflight, log_level = None, False, None
    rest = iter(arguments)
    for name in rest:
        if name == "--skip-preflight":
            skip_preflight = True
            continue
        value = next(rest, "")
        if name in files and value and not value.startswith("-"):
            files[name] = Path(value)
        elif name == "--port" and value.isascii() and value.isdigit() and 0 < int(value) < 65536:
            port = int(value)
        elif name == "--log-level" and value in LOG_LEVELS:
            log_level = value
        else:
            return None
    return Options(files["--config"], files["--fallback-config"], port, skip_preflight, log_level)


def warning_of(level: str | None, logs: Path) -> str | None:
    """What a level of CCR's log means for a person; None when it keeps nothing but errors."""
    if level not in _LOUD:
        return None
    return (
        f"CCR's log keeps level {level}: every prompt is written to {logs}. Provider keys given "
        "as $NAME are not, because CCR has placeholders for them."
    )


def serve(options: Options) -> int:
    """Run a supervisor until it is stopped.

    Returns:
        the exit code: 0, or that of the supervisor that has replaced this one.

    Raises:
        SynccrError: it could not start.
    """
    import asyncio

    from synccr.cli.detach import own_log
    from synccr.cli.setup import Setup
    from synccr.cli.terminal import Terminal
    from synccr.supervisor.main import Supervisor
    from synccr.supervisor.takeover.new import channel_of
    from synccr.supervisor.takeover.protocol import DETACHED

    with channel_of(os.environ) as channel:
        setup = Setup.make()
        terminal = Terminal(own_log(setup.paths))
        if warning := warning_of(options.log_level, setup.paths.ccr_logs):
            terminal.tell("log_level", warning, "", False)
        supervisor = Supervisor(
            paths=setup.paths,
            settings=setup.settings,
            reload=lambda: Setup.make().settings,
            environ=setup.environ,
            load=lambda: setup.profiles(
                options.config, options.fallback_config, options.port, options.log_level
            ),
            tell=terminal.tell,
            on_probe=terminal.report,
            on_ready=terminal.ready,
            skip_preflight=options.skip_preflight,
            command=[sys.executable, "-P", "-m", "synccr", "start", *options.as_arguments()],
            channel=channel,
            given=options.files(),
            detached=os.environ.pop(DETACHED, None) is not None,
        )
        return asyncio.run(supervisor.run())
