"""What a supervisor is started with."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any, cast

import pytest
from policy_kit import started

from synccr.config.profile import Local
from synccr.config.reader import understand
from synccr.config.store import Profiles
from synccr.paths import Paths
from synccr.policy import events as e
from synccr.redact import MASK
from synccr.settings import Settings
from synccr.supervisor.context import Context
from synccr.supervisor.parts import Parts

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


async def test_a_key_that_an_edit_brings_is_not_written_down(tmp_path: Path) -> None:
    """Nor is one that an edit takes away: a CCR that drains may still repeat it."""
    keys = ["the-first-of-acme", "the-next-of-acme"]

    def having(key: str) -> Profiles:
        entry = {"name": "acme", "api_base_url": "https://acme.example/v1", "models": ["m"]}
        document = {"Providers": [entry | {"api_key": key}], "Router": {"default": "acme,m"}}
        profile = understand(document, "primary", "primary", {})
        return Profiles(profile, profile, Local(3456))

    found = replace(context(tmp_path), load=lambda: having(keys[0]))
    found.paths.instance.mkdir(parents=True)
    parts = Parts(found, cast("Any", None), None)
    parts.tracing.answer({"capture": 60})
    capture = parts.tracing.log.capture
    assert capture is not None
    parts.config.use(having(keys[1]))
    said = f"CCR said {keys[0]} and {keys[1]}."
    parts.journal.write("swap_failed", text=said)
    capture.write(1, 1, "answer", said.encode())
    parts.tracing.answer({"capture": 0})
    masked = f"CCR said {MASK} and {MASK}."
    assert [one["text"] for one in parts.journal.read() if one["kind"] == "swap_failed"] == [masked]
    lines = capture.path.read_text().splitlines()
    assert "".join(json.loads(line)["text"] for line in lines) == masked
    assert parts.notifier.redact(said) == masked


def test_it_does_not_change(tmp_path: Path) -> None:
    """What may be read again is elsewhere."""
    with pytest.raises(FrozenInstanceError):
        context(tmp_path).settings = Settings(hold_timeout=1)  # type: ignore[misc]
