"""``synccr start`` in the foreground: the supervisor in this process."""

from __future__ import annotations

import asyncio
import os
import sys

from synccr.cli.context import CommandContext
from synccr.cli.detach import own_log
from synccr.cli.start_options import StartOptions, warning_of
from synccr.cli.terminal import Terminal
from synccr.supervisor.main import Supervisor
from synccr.supervisor.takeover.new import channel_of
from synccr.supervisor.takeover.protocol import DETACHED


def serve(options: StartOptions) -> int:
    """Run a supervisor until it is stopped.

    Returns:
        the exit code: 0, or that of the supervisor that has replaced this one.

    Raises:
        SynccrError: it could not start.
    """
    with channel_of(os.environ) as channel:
        context = CommandContext.make()
        terminal = Terminal(own_log(context.paths))
        if warning := warning_of(options.profiles.log_level, context.paths.ccr_logs):
            terminal.tell("log_level", warning, "", False)
        supervisor = Supervisor(
            paths=context.paths,
            settings=context.settings,
            reload=lambda: CommandContext.make().settings,
            environ=context.environ,
            load=lambda: context.profiles(options.profiles),
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
