"""The versions of CCR 3.x that are known.

What is checked before each start is every package that code is loaded from, whole: CCR itself,
which is bundled; better-sqlite3 with the binaries of all platforms, which it carries from version
13 on; undici, which is loaded where the system has a proxy. By tracing, nothing else is opened
below ``node_modules``. The whole package, because Node prefers files that need not be there, such
as ``better-sqlite3/build/Release/better_sqlite3.node``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from synccr.ccr.installation import Pin
from synccr.ccr.npm import NAME

PINS: Mapping[str, Pin] = {
    "3.1.1": Pin(
        Path(__file__).parent / "pinned" / "3.1.1",
        f"{NAME}/dist/main/cli.js",
        {
            NAME: "959fa41826ce6d8e2af0101d752aabbf8ce5c66890928527c6fc3e3623c6efd8",
            "better-sqlite3": "b59e099c043280a66554ddc5fe92ba3fd4c6134b6e29ce79197b7cd0461ad671",
            "undici": "79e18025f8bd6974fe276704cdf17a8ec00d8b1a1f469c70c93186436be52da8",
        },
    ),
}

OVERRIDES: Mapping[str, str] = {
    "better-sqlite3": "13.2.0",  # the older ones have to be compiled, or fetched by a script
    # The gateway is in CCR's own bundle, which looks there first; the bot bridge is not used.
    "@the-next-ai/ai-gateway": "npm:node-addon-api@8.9.2",
    "@the-next-ai/bot-gateway-sdk": "npm:node-addon-api@8.9.2",
}
"""npm's, for a version that is not pinned. An alias counts where the registry answers that it does
not have the package; it is one that is there anyway, since better-sqlite3 names it."""

HEAP_LIMIT: Final = 3072
"""MiB of JavaScript objects in each process of CCR (``--max-old-space-size`` in ``NODE_OPTIONS``).

It is for the largest requests, which the gateway holds several times over; it dies when they do
not fit. Of twenty requests of 30 MB at once all are served with 3072 (it takes 3.8 GB then), and it
dies with 256, 1024 and 2048. Small requests do not fill it: 479 MB after 8 thousand of 20 clients,
484 after 16 thousand, and as much with 2048 and 4096; 670 after 50 of 2 MB, with each of the three.
"""
