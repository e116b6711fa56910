"""``synccr statusline``: one line for Claude Code's ``statusLine`` setting.

Run at every turn: it asks the supervisor, prints, and loads nothing else.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Mapping
from typing import Any

from synccr.control import request
from synccr.errors import SynccrError
from synccr.paths import Paths
from synccr.redact import printable

_PATIENCE = 1.0  # seconds for the supervisor
_INPUT_PATIENCE = 0.1  # seconds for the rest of Claude Code's JSON
_LARGEST_INPUT = 1024 * 1024


def run() -> None:
    """One line for Claude Code's statusLine setting: what serves, and why.

    Put it into ~/.claude/settings.json:
    "statusLine": {"type": "command", "command": "synccr statusline"}

    Reads Claude Code's JSON on standard input. Prints nothing when nothing runs.
    """
    try:
        status = request(Paths.from_environment().instance, "status", timeout=_PATIENCE)
        text = line(status, _session())
    except (SynccrError, OSError, KeyError, TypeError, AttributeError, ValueError):
        return
    sys.stdout.write(text + "\n")


def _session() -> Mapping[str, Any]:
    """Claude Code's JSON, as far as it has come; a writer that keeps the pipe open, or
    sends anything else, holds nothing up."""
    data = b""
    try:
        handle = sys.stdin.fileno()
        while len(data) < _LARGEST_INPUT and not os.isatty(handle):
            if not select.select([handle], [], [], _INPUT_PATIENCE)[0]:
                break
            chunk = os.read(handle, 65536)
            if not chunk:
                break
            data += chunk
        document = json.loads(data)
    except (OSError, ValueError, AttributeError, RecursionError):  # also: no select on pipes
        return {}
    return document if isinstance(document, dict) else {}


def line(status: Mapping[str, Any], session: Mapping[str, Any]) -> str:
    """Which model serves, why it is not the preferred one, what is left of the quota.

    Args:
        status: as ``status --json``.
        session: what Claude Code tells its status line; may be empty.
    """
    moved = {} if _asked_for(session) else _moved(status)
    serving = _asked_for(session) or moved.get("model") or status["routes"].get("default", "")
    parts = [f"synccr: {_short(serving) or '-'}"]
    if status["state"] != "running":
        parts.append(status["state"])
    if moved:
        parts.append(f"instead ({_short(moved['instead_of'])} {moved['verdict']})")
    elif cause := _cause(status):
        parts.append(cause)
    elif status["profile"] == "fallback":
        parts.append("fallback")
    parts += _quota(status.get("quota"))
    return printable(" | ".join(parts))


def _asked_for(session: Mapping[str, Any]) -> str:
    """The model a user chose in Claude Code, when it is one that CCR takes by name."""
    model = session.get("model")
    name = model.get("id") if isinstance(model, dict) else model
    return name if isinstance(name, str) and "," in name else ""


def _moved(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The latest turn of the default route, when the route's model failed it and another one
    served it; empty when not, or when the route leads elsewhere by now."""
    turn = ((status.get("turns") or {}).get("served") or {}).get("default") or {}
    default = status["routes"].get("default")
    return turn if default and turn.get("instead_of") == default else {}


def _cause(status: Mapping[str, Any]) -> str:
    """Why the preferred model is not the one that serves; empty when it is."""
    word = "fallback" if status["profile"] == "fallback" else "instead"
    preferred = (status.get("preferred") or {}).get("default", "")
    if status.get("pinned"):
        return f"{status['pinned']} by hand"
    if preferred and preferred == status["routes"].get("default"):
        return ""
    for row in status["models"]:
        if f"{row['provider']},{row['model']}" == preferred and row["status"] != "ok":
            return f"{word} ({_short(preferred)} {row['status']})"
    if word == "fallback" and (swap := status.get("last_swap")):
        why = f"{_short(swap.get('model') or '')} {swap['reason']}".strip()
        return f"{word} ({why})"
    return f"{word} of {_short(preferred)}" if preferred and word == "instead" else ""


def _quota(quota: Any) -> list[str]:
    rows = quota if isinstance(quota, list) else [quota]
    for row in rows:
        if isinstance(row, dict) and row.get("remaining") is not None and row.get("limit"):
            return [f"{row['remaining']:g}/{row['limit']:g} left"]
    return []


def _short(ref: str) -> str:
    """``provider,vendor/model`` as people call it: ``model``."""
    return ref.partition(",")[2].rpartition("/")[2]
