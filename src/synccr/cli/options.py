"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synccr.cli.start_options import LOG_LEVELS
from synccr.errors import UsageError


def _level(word: str) -> str:
    if word not in LOG_LEVELS:
        raise UsageError(
            f"There is no log level {word!r}.", f"It is one of: {', '.join(LOG_LEVELS)}."
        )
    return word


# Whether a file can be read is found out by who reads it, for all commands in the same words.
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        readable=False,
        help="The primary profile, in the form of CCR 2's config.json.",
    ),
]
FallbackConfig = Annotated[
    Path | None,
    typer.Option("--fallback-config", metavar="FILE", readable=False, help="The fallback profile."),
]
Port = Annotated[
    int | None,
    typer.Option("--port", min=1, max=65535, help="The port that clients use."),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="|".join(LOG_LEVELS),
        parser=_level,
        help="What CCR keeps in its log. From info on that includes every prompt.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Ask the provider again; do not use recent answers.")
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="For one model, retries included."),
]
