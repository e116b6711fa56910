"""``synccr swap``."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from synccr.cli.result import Note, Result
from synccr.control import request
from synccr.errors import SynccrError, UsageError
from synccr.paths import Paths

_SWAP_PATIENCE = 180.0


def run(
    profile: Annotated[str, typer.Argument(metavar="primary|fallback", help="Where to go.")],
) -> Result:
    """Move the running CCR to a profile by hand.

    It stays there until you swap back or none of its models can serve.
    """
    if profile not in ("primary", "fallback"):
        raise UsageError(f"There is no profile {profile!r}.", "Write: synccr swap primary|fallback")
    begin = time.monotonic()
    status: dict[str, Any] = request(
        Paths.from_environment().instance, "swap", timeout=_SWAP_PATIENCE, profile=profile
    )
    if status["profile"] != profile:
        if status["failure"]:
            raise SynccrError(
                f"The {profile} profile did not come up: {status['failure']}. "
                f"{status['profile']} serves on.",
                "See: synccr logs",
            )
        raise SynccrError(
            f"The {profile} profile cannot serve now; {status['profile']} serves on.",
            "See why: synccr status",
        )
    if not status["ccr"]["pid"]:
        raise SynccrError(
            f"{profile} is chosen, but Claude Code Router does not come up with it.",
            "See what it says: synccr logs",
        )
    took = f" in {time.monotonic() - begin:.1f} s" if status["swapped"] else " already"
    return Result([Note(f"{profile} serves{took}: {status['routes']['default']}")])
