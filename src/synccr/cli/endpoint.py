"""Where clients find the running router, and what leads them there."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from synccr.control import request
from synccr.paths import Paths

_NO_KEY = "synccr"  # clients insist on a token; CCR without APIKEY takes any


@dataclass(frozen=True)
class Endpoint:
    """Where clients go and what they must show.

    Attributes:
        url: base address.
        token: the local port's key, or a placeholder.
        status: the supervisor's, as ``status --json``.
    """

    url: str
    token: str = field(repr=False)
    status: dict[str, Any] = field(repr=False)


def endpoint() -> Endpoint:
    """The running router.

    Raises:
        NotRunning: there is none.
    """
    found = request(Paths.from_environment().instance, "client")
    status = found["status"]
    return Endpoint(status["endpoint"], found["token"] or _NO_KEY, status)


def client_environment(found: Endpoint) -> dict[str, str]:
    """What points an Anthropic client at the router."""
    host = "127.0.0.1,localhost"
    # Both names, because the one in lower case goes first in Claude Code and curl.
    present = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    exempt = present if "127.0.0.1" in present else f"{present},{host}".strip(",")
    return {
        "ANTHROPIC_BASE_URL": found.url,
        "ANTHROPIC_AUTH_TOKEN": found.token,
        "NO_PROXY": exempt,
        "no_proxy": exempt,
        # Its line of the system prompt hides subagents' tags from CCR, and differs from one
        # conversation to the next, so that providers find nothing in their prompt caches.
        "CLAUDE_CODE_ATTRIBUTION_HEADER": os.environ.get("CLAUDE_CODE_ATTRIBUTION_HEADER", "0"),
    }
