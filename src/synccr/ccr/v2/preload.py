"""How CCR is made to load the module that leads its provider requests to the egress. Pure.

The module is ``node_side/preload.cjs``; its configuration goes by the environment, from which
it takes it away. Node's ``--require`` is on our own command line; where npx runs CCR, it is in
``NODE_OPTIONS``. See https://nodejs.org/api/cli.html#node_optionsoptions
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from synccr.ccr.launch_context import EgressAddress
from synccr.ccr.package import Package

PRELOAD = Path(__file__).parent / "node_side" / "preload.cjs"
"""What runs in CCR's process."""


def led_command(package: Package, preload: Path = PRELOAD) -> tuple[str, ...]:
    """What to run; npx' own command stays as it is."""
    if package.entry is None:
        return package.command
    node, *rest = package.command
    return (node, "--require", str(preload), *rest)


def led_environ(
    package: Package,
    environ: Mapping[str, str],
    egress: EgressAddress,
    preload: Path = PRELOAD,
) -> dict[str, str]:
    """``environ`` with the module's configuration."""
    led = {
        **environ,
        "SYNCCR_EGRESS": egress.url,
        "SYNCCR_EGRESS_SECRET": egress.secret,
        "SYNCCR_ORIGINS": " ".join(egress.origins),
    }
    if package.entry is None:
        kept = environ.get("NODE_OPTIONS", "")
        led["NODE_OPTIONS"] = f"{kept} --require {_quoted(str(preload))}".lstrip()
    return led


def _quoted(word: str) -> str:
    """One word of ``NODE_OPTIONS``: within double quotes a backslash takes the next sign as is."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
