"""The loop between the edges and the policy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from policy_kit import profiles, started

from synccr.journal import Journal
from synccr.models.report import ModelRef, Report
from synccr.models.shape import Shape
from synccr.policy import events as e
from synccr.settings import Settings
from synccr.supervisor.loop import Loop


async def test_models_that_cannot_be_asked_are_told_of(tmp_path: Path) -> None:
    """A probe that breaks is in the journal and on the terminal; the policy gets no answer,
    and asks again when its time has come."""

    async def broken(_refs: Sequence[ModelRef], _like: object) -> tuple[Report, ...]:
        raise OSError("no such certificate")

    told: list[str] = []
    journal = Journal(tmp_path / "journal.jsonl")
    nothing = cast("Any", None)
    loop = Loop(nothing, nothing, broken, journal, lambda _kind, text, *_: told.append(text))
    await loop._probe([ModelRef("acme", "m")], {})
    assert told == ["The models could not be asked (no such certificate)."]
    assert [entry["models"] for entry in journal.read()] == [["acme,m"]]
    assert loop._queue.empty()


async def test_a_probe_is_told_what_it_is_to_resemble(tmp_path: Path) -> None:
    """What the policy says goes to who asks, and the answer comes back."""
    asked: list[object] = []

    async def probe(*told: object) -> tuple[Report, ...]:
        asked.append(told)
        return ()

    nothing = cast("Any", None)
    loop = Loop(nothing, nothing, probe, Journal(tmp_path / "j"), lambda *_: None)
    ref, like = ModelRef("acme", "m"), {ModelRef("acme", "m"): Shape(stream=True)}
    loop._carry_out(e.Probe((ref,), "trouble", like))
    assert await loop._queue.get() == e.Probed(())
    assert asked == [((ref,), like)]


async def test_nothing_goes_on_after_a_loop_that_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A swap that was under way would start a CCR that nobody ends any more."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def probe(*_told: object) -> tuple[Report, ...]:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ()

    nothing = cast("Any", None)
    state = started(Settings(), *profiles())
    loop = Loop(state, nothing, probe, Journal(tmp_path / "j"), lambda *_: None)
    loop._carry_out(e.Probe((ModelRef("a", "main"),), "trouble", {}))
    loop._carry_out(e.WakeAt(0.0))
    alarm = loop._alarm
    assert alarm
    monkeypatch.setattr("synccr.supervisor.loop.decide", lambda *_: 1 / 0)
    async with asyncio.timeout(20):
        await began.wait()
        loop.post(e.WokeUp())
        with pytest.raises(ZeroDivisionError):
            await loop.run()
    assert ended.is_set()
    assert alarm.cancelled()
