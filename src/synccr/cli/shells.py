"""Shells that a person may use."""

from __future__ import annotations

import os

COMPLETE = "_SYNCCR_COMPLETE"
"""The variable by which a shell asks for completions."""

SHELLS = {
    "bash": "sh",
    "zsh": "sh",
    "sh": "sh",
    "fish": "fish",
    "pwsh": "powershell",
    "powershell": "powershell",
}
"""The family of each."""


def shell_name(given: str | None, usual: str = "") -> str:
    """The shell that is ``given``, else the person's own, else the ``usual`` one."""
    name = given or os.path.basename(os.environ.get("SHELL", usual))  # noqa: PTH119  # a name
    return name.removesuffix(".exe")
