"""Which CCR a person's own command runs, by the package that the command belongs to."""

from __future__ import annotations

import json
from pathlib import Path

from synccr.ccr.npm import NAME


def package_root(program: Path) -> Path | None:
    """The directory of CCR's package that a command belongs to."""
    real = program.resolve()
    for place in (real, program):
        for parent in place.parents:
            if (parent.parent.name, parent.name) == tuple(NAME.split("/")):
                return parent
            beside = parent / "node_modules" / NAME  # Windows, where commands are scripts
            if parent == program.parent and beside.is_dir():
                return beside
    return None


def package_version(root: Path) -> str | None:
    """What its ``package.json`` says."""
    try:
        return str(json.loads((root / "package.json").read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
