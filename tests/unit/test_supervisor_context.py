"""What a supervisor is started with."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any, cast

import pytest
from policy_kit import started

from synccr.config.reader import understand
from synccr.paths import Paths
from synccr.policy import events as e
from synccr.settings import Settings
from synccr.supervisor.context import Context

KEY = "sk-canary-0123456789abcdef"


def context(path: Path) -> Context:
    return Context(
        paths=Paths(path / "ccr", path / "config", path / "state", path / "cache", path / "log"),
        settings=Settings(),
        reload=Settings,
        environ={"ACME_API_KEY": KEY},
        load=cast("Any", None),
        tell=lambda *_: None,
        given={"config": "acme.json"},
    )


def test_no_key_is_shown(tmp_path: Path) -> None:
    """The environment holds keys, so it is in no ``repr``; the rest is."""
    shown = repr(context(tmp_path))
    assert KEY not in shown
    assert "environ" not in shown
    assert "acme.json" in shown


def test_no_key_of_a_profile_is_shown() -> None:
    """Not where the policy keeps it, either: an address can carry one, too."""
    entry = {
        "name": "acme",
        "api_base_url": f"https://me:{KEY}@acme.example/v1?key={KEY}",
        "api_key": KEY,
        "models": ["m"],
        "transformer": {"use": [["x", {"key": KEY}]]},
    }
    document = {"Providers": [entry], "Router": {"default": "acme,m"}}
    both = [understand(document, role, role, {}) for role in ("primary", "fallback")]
    state = started(Settings(), both[0], both[1])
    assert KEY in str(state.current.config)
    shown = repr([both, state, e.Swap(state.current, "asked", None, "")])
    assert KEY not in shown
    assert "acme" in shown


def test_it_does_not_change(tmp_path: Path) -> None:
    """What may be read again is elsewhere."""
    with pytest.raises(FrozenInstanceError):
        context(tmp_path).settings = Settings(hold_timeout=1)  # type: ignore[misc]
