"""``synccr models``, as the parser of the command line reads it."""

from __future__ import annotations

from typing import Annotated

import typer

from synccr.cli.models_result import ModelsOptions, models
from synccr.cli.options import Config, FallbackConfig, Fresh, Json, Timeout
from synccr.cli.profile_options import ProfileOptions
from synccr.cli.result import Result


def run(
    json: Json = False,
    fresh: Fresh = False,
    config: Config = None,
    fallback_config: FallbackConfig = None,
    timeout: Timeout = None,
    changes: Annotated[
        bool,
        typer.Option("--changes", help="Ask afresh; also say what is new since the last time."),
    ] = False,
) -> Result:
    """Ask every configured model whether it can serve, and say what to use instead.

    Exit code 0: every route of the primary profile has a healthy model; 1: some
    route had to be moved; 5: no model can serve.
    """
    profiles = ProfileOptions(config, fallback_config)
    return models(ModelsOptions(profiles, json, fresh, changes, timeout))
