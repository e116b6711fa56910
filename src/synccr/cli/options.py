"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The primary profile, in CCR's own format."),
]
FallbackConfig = Annotated[
    Path | None,
    typer.Option("--fallback-config", metavar="FILE", help="The fallback profile."),
]
Port = Annotated[
    int | None,
    typer.Option("--port", min=1, max=65535, help="The port that clients use."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Ask the provider again; do not use recent answers.")
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="For one model, retries included."),
]
