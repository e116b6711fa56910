"""``synccr start`` in the foreground: the supervisor in this process."""

from __future__ import annotations

import asyncio
import os
import sys

from synccr.ccr.package_source import configured_generation
from synccr.cli.context import CommandContext
from synccr.cli.detach import own_log
from synccr.cli.start_options import StartOptions, warning_of
from synccr.cli.terminal import Terminal
from synccr.supervisor.context import Context
from synccr.supervisor.main import run
from synccr.supervisor.takeover.incoming import channel_of
from synccr.supervisor.takeover.protocol import DETACHED


def serve(options: StartOptions) -> int:
    """Run a supervisor until it is stopped.

    Returns:
        the exit code: 0, or that of the supervisor that has replaced this one.

    Raises:
        SynccrError: it could not start.
    """
    with channel_of(os.environ) as channel:
        command = CommandContext.make().with_offered_keys(options.profiles.config)
        terminal = Terminal(own_log(command.paths))
        settings = command.settings
        generation = configured_generation(settings.ccr_version, settings.ccr_command)
        logs = command.paths.ccr_logs if generation.log else None
        if warning := warning_of(options.profiles.log_level, logs):
            terminal.tell("log_level", warning, "", False)
        detached = os.environ.pop(DETACHED, None) is not None
        context = Context(
            paths=command.paths,
            settings=command.settings,
            reload=lambda: CommandContext.make().settings,
            environ=command.environ,
            load=lambda: command.profiles(options.profiles),
            tell=terminal.tell,
            on_probe=terminal.report,
            on_ready=lambda status: terminal.ready(status, detached=detached),
            skip_preflight=options.skip_preflight,
            command=[sys.executable, "-P", "-m", "synccr", "start", *options.as_arguments()],
            channel=channel,
            given=options.files(),
            detached=detached,
        )
        return asyncio.run(run(context))
