"""The loop between the edges and the policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from synccr.journal import Journal
from synccr.models.report import ModelRef, Report
from synccr.models.shape import Shape
from synccr.policy import events as e
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
