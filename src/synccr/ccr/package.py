"""Claude Code Router as something that can be started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """CCR, ready to be started.

    Attributes:
        version: exact; what a person's own command runs may be unknown.
        command: what to run.
        entry: the script that Node runs; None for a person's own command, which may be a
            tree of processes.
        generation: how it is started, as `Generation` names it.
    """

    version: str
    command: tuple[str, ...]
    entry: Path | None
    generation: str = "2"
