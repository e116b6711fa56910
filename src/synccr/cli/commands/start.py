"""``synccr start``, as the parser of the command line reads it."""

from __future__ import annotations

from typing import Annotated

import typer

from synccr.cli.detach import start_detached
from synccr.cli.options import Config, FallbackConfig, LogLevel, Port
from synccr.cli.profile_options import ProfileOptions
from synccr.cli.result import Result
from synccr.cli.start_options import StartOptions


def run(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Go to the background once the endpoint answers.")
    ] = False,
    config: Config = None,
    fallback_config: FallbackConfig = None,
    port: Port = None,
    skip_preflight: Annotated[
        bool, typer.Option("--skip-preflight", help="Start without asking the models first.")
    ] = False,
    log_level: LogLevel = None,
) -> Result:
    """Check the models, heal the configuration, start CCR, watch it, recover.

    Runs until Ctrl-C or SIGTERM, which end CCR too. CCR's log keeps errors only, unless
    --log-level says otherwise; synccr restart keeps to that, and synccr logs shows it.
    """
    options = StartOptions(ProfileOptions(config, fallback_config, port, log_level), skip_preflight)
    if detach:
        return start_detached(options.as_arguments())
    from synccr.cli.serve import serve  # the supervisor, which --detach and --help do without

    return Result(exit_code=serve(options))
