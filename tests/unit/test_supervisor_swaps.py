"""Who asks for a swap is answered when the policy's state shows what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from policy_kit import profiles, started

from synccr.errors import SynccrError
from synccr.heal import Healed
from synccr.journal import Journal
from synccr.models.report import ModelRef
from synccr.policy import events as e
from synccr.policy.machine import Phase
from synccr.settings import Settings
from synccr.supervisor.loop import Loop

pytestmark = pytest.mark.timeout(20)
LONG = 600.0


class Backends:
    """Brings a configuration once it is let to, or fails."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.failure = ""
        self.brought: list[str] = []

    async def start(self, healed: Healed) -> object:
        await self.may.wait()
        if self.failure:
            raise SynccrError(self.failure)
        self.brought.append(healed.profile.role)
        return SimpleNamespace(pid=1)

    replace_dead = start

    def take_counters(self) -> dict[str, int]:
        return {}


class Stage:
    """A loop that decides, around backends that are played."""

    def __init__(self, path: Path) -> None:
        self.backends = Backends()
        self.told: list[str] = []

        async def probe(refs: Sequence[ModelRef], _like: object) -> tuple[Any, ...]:
            await asyncio.sleep(LONG)
            return ()

        self.loop = Loop(
            started(Settings(), *profiles()),
            cast("Any", self.backends),
            probe,
            Journal(path / "journal.jsonl"),
            lambda kind, *_: self.told.append(kind),
        )

    def ask(self, role: str, patience: float = LONG) -> asyncio.Task[Any]:
        return asyncio.create_task(self.loop.swap(cast("Any", role), patience))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """On the primary, which serves."""
    async with running(Stage(tmp_path)) as found:
        yield found


@asynccontextmanager
async def running(found: Stage) -> AsyncIterator[Stage]:
    found.loop.post(e.BackendReady())
    task = asyncio.create_task(found.loop.run())
    await until_idle()
    try:
        yield found
    finally:
        found.loop.post(e.StopAsked())
        await task


async def until_idle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_swap_that_comes_up(stage: Stage) -> None:
    """The answer waits for it, and comes without a pause."""
    asked = stage.ask("fallback")
    await until_idle()
    assert not asked.done()
    stage.backends.may.set()
    await until_idle()
    assert asked.result() == (True, None)
    assert stage.loop.state.phase is Phase.SERVING
    assert stage.loop.swaps.count == 1
    assert stage.loop.swaps.last
    assert (stage.loop.swaps.last["to"], stage.loop.swaps.last["reason"]) == ("fallback", "asked")


async def test_a_swap_that_does_not_come_up(stage: Stage) -> None:
    """The answer says why; the next one does not repeat it."""
    stage.backends.failure = "the port is taken."
    stage.backends.may.set()
    assert await stage.ask("fallback") == (False, "the port is taken")
    assert (stage.loop.swaps.count, stage.loop.swaps.last) == (0, None)
    assert await stage.ask("primary") == (False, None)


async def test_what_serves_already(stage: Stage) -> None:
    """Nothing is swapped, and nobody waits."""
    asked = stage.ask("primary")
    await until_idle()
    assert asked.result() == (False, None)


async def test_what_was_decided_before_is_no_answer(stage: Stage) -> None:
    """Events that stand before the wish answer nobody."""
    for _ in range(5):
        stage.loop.post(e.WokeUp())
    asked = stage.ask("fallback")
    await until_idle()
    assert not asked.done()
    stage.backends.may.set()
    assert await asked == (True, None)


async def test_another_swap_under_way_is_waited_for(stage: Stage) -> None:
    """Two wishes: both are answered when nothing is on its way any more."""
    first = stage.ask("fallback")
    await until_idle()
    second = stage.ask("primary")
    await until_idle()
    assert not first.done()
    assert not second.done()
    stage.backends.may.set()
    assert await first == (True, None)
    assert await second == (True, None)
    assert stage.backends.brought == ["fallback", "primary"]
    assert stage.loop.swaps.count == 2


async def test_patience(stage: Stage) -> None:
    """What is known by then is the answer; who has gone is forgotten."""
    assert await stage.ask("fallback", 0.01) == (False, None)
    assert stage.loop.swaps._requests == []
    stage.backends.may.set()
    await until_idle()
    assert stage.loop.swaps.count == 1


async def test_who_stops_waiting_is_forgotten(stage: Stage) -> None:
    """A client that hangs up costs nothing."""
    asked = stage.ask("fallback")
    await until_idle()
    asked.cancel()
    await until_idle()
    assert stage.loop.swaps._requests == []


async def test_the_end_answers_everybody(tmp_path: Path) -> None:
    """Who is waited for, who was not heard any more, and who asks afterwards."""
    async with running(Stage(tmp_path)) as stage:
        under_way = stage.ask("fallback")
        await until_idle()
        stage.loop.post(e.StopAsked())
        unheard = stage.ask("primary")
        await until_idle()
        assert (under_way.result(), unheard.result()) == ((False, None), (False, None))
        assert await stage.ask("fallback") == (False, None)


async def test_a_wish_that_waits_for_answers_of_models_fails_at_the_end(tmp_path: Path) -> None:
    """It was not looked at yet, and is not any more."""
    stage = Stage(tmp_path)
    away = replace(stage.loop.state, suspects=frozenset({ModelRef("a", "spare")}))
    stage.loop.state = away
    async with running(stage):
        asked = stage.ask("fallback")
        await until_idle()
        assert not asked.done()
        stage.loop.post(e.StopAsked())
        assert await asked == (False, "this supervisor ends")


async def test_settings_reach_the_policy_as_an_event(stage: Stage) -> None:
    """Nothing else is touched by them."""
    before = stage.loop.state
    stage.loop.post(e.SettingsChanged(Settings(swap_cooldown=1)))
    await until_idle()
    after = stage.loop.state
    assert after.settings.swap_cooldown == 1
    assert replace(after, settings=before.settings) == before
