"""A profile that CCR dies of: a module that Node loads before any CCR ends it as it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from home import MAIN, Home

LIVES = ""
DIES = """
const { readFileSync } = require('node:fs');
const ccr = (process.env.SYNCCR_HOME || process.env.HOME) + '/.claude-code-router';
if (/cli\\.js$/.test(process.argv[1]) && readFileSync(ccr + '/config.json').includes('Fragile'))
  process.exit(3);
"""


def with_fault(home: Home, text: str) -> Path:
    """The module, with what it does from now on; for what is started in this home later."""
    module = home.write("fault.cjs", text)
    home.env["NODE_OPTIONS"] = f"--require {module}"
    return module


def fragile(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The profile as one that CCR dies of while the module says so."""
    return sampled(document, 0.5) | {"Fragile": True} | changes


def sampled(document: dict[str, Any], temperature: float) -> dict[str, Any]:
    """The profile with another temperature for its main model: every CCR has to be started anew
    for that."""
    first, *others = document["Providers"]
    sampling = {"use": [["sampling", {"temperature": temperature}]]}
    return document | {"Providers": [first | {"transformer": {MAIN: sampling}}, *others]}
