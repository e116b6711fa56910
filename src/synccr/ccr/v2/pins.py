"""The versions of CCR 1.x and 2.x that are known. Each is one script that loads nothing else,
measured by tracing; 1.0.73 names 180 packages all the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from synccr.ccr.installation import Pin
from synccr.ccr.npm import NAME


def _bundle(version: str, program: str, page: str) -> Pin:
    entry = f"{NAME}/dist/cli.js"
    files = {
        entry: program,
        f"{NAME}/dist/tiktoken_bg.wasm": (
            "dedd9a7b5d8d98b44448bedb371ade1c5327f7bb5dd9effe159da816473a415f"
        ),
        f"{NAME}/dist/index.html": page,
    }
    return Pin(Path(__file__).parent / "pinned" / version, entry, files)


PINS: Mapping[str, Pin] = {
    "2.0.0": _bundle(
        "2.0.0",
        "e84ad34983150bf97c0470299acc56ec97dd0e07343fe19d4d383bded9a1eb56",
        "b8e1126f1ffbee77759aaf4560f6b30ffa034bdc261e586eb7da16f0d9624b92",
    ),
    "1.0.73": _bundle(
        "1.0.73",
        "8fb0beb3364884b118008bf489179a3594bd5e6adcf932229f7df93890f6e16f",
        "2e1f9d9090e60bdbf95ff8f1d90dfbf5b4ee393e750f011eb4dc13e867ee765a",
    ),
}
