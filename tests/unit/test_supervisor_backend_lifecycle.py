"""Backends of a supervisor that is replaced by another one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from policy_kit import profiles, started

from synccr.errors import SynccrError
from synccr.journal import Journal
from synccr.paths import Paths
from synccr.policy import events as e
from synccr.settings import Settings
from synccr.supervisor.backend_lifecycle import Backends
from synccr.supervisor.loop import Loop


class Stage:
    """A loop and backends whose CCR could not be started; what was told of it."""

    def __init__(self, path: Path) -> None:
        self.touched: list[str] = []
        self.told: list[str] = []
        paths = Paths(path / "ccr", path / "config", path / "state", path / "cache", path / "log")
        paths.ccr.mkdir()
        paths.ccr_config.write_text("the new supervisor's")
        self.config = paths.ccr_config
        nothing = cast("Any", None)
        self.backends = Backends(
            paths,
            Settings(),
            nothing,
            nothing,
            nothing,
            on_died=self.touched.append,
            on_serving=nothing,
            before_writing=lambda: self.touched.append("written"),
        )
        self.journal = Journal(path / "journal.jsonl")
        self.loop = Loop(
            started(Settings(), *profiles()),
            self.backends,
            nothing,
            self.journal,
            lambda kind, *_: self.told.append(kind),
        )

    async def left_before_its_turn(self, work: Callable[[], Any]) -> object:
        """What becomes of *work* that waits while another supervisor takes over."""
        async with self.backends.no_starts():
            waiting = asyncio.ensure_future(work())
            await asyncio.sleep(0)
            self.backends.stop_for_takeover()
        async with asyncio.timeout(20):
            return await waiting


@pytest.mark.parametrize("action", ["swap", "restart"])
async def test_what_waited_is_dropped_without_a_word(action: str, tmp_path: Path) -> None:
    """Nothing is written, no failure is told, and the policy hears nothing either."""
    stage = Stage(tmp_path)
    healed = stage.loop.state.current
    swap = e.Swap(healed, "asked", None, "")
    work = {
        "swap": lambda: stage.loop._swap(swap),
        "restart": lambda: stage.loop._restart(healed),
    }
    await stage.left_before_its_turn(work[action])
    assert stage.touched == []
    assert stage.told == []
    assert stage.config.read_text() == "the new supervisor's"
    assert [
        entry["kind"] for entry in stage.journal.read() if entry["kind"] != "swap_started"
    ] == []
    assert stage.loop._queue.empty()
    assert stage.backends.restarts == stage.loop.swaps.count == 0


async def test_who_asks_for_a_fresh_one_is_sent_on(tmp_path: Path) -> None:
    """It is an error for a person, and nothing is written."""
    stage = Stage(tmp_path)
    stage.backends._healed = stage.loop.state.current
    with pytest.raises(SynccrError, match="Another supervisor serves"):
        await stage.left_before_its_turn(stage.backends.renew)
    assert stage.touched == []


async def test_who_waits_for_a_swap_is_answered(tmp_path: Path) -> None:
    """A wish that is not fulfilled any more has failed once the loop has stopped."""
    stage = Stage(tmp_path)
    loop = stage.loop
    loop.state = replace(loop.state, asked="fallback", pinned="fallback", suspects=frozenset())
    waiting = asyncio.create_task(loop.swap("fallback", 600))
    await asyncio.sleep(0)
    loop.post(e.StopAsked())
    async with asyncio.timeout(20):
        await loop.run()
        assert await waiting == (False, "this supervisor ends")
    assert stage.told == []


class SlowLauncher:
    """Its CCR is up once it is let to be."""

    def __init__(self) -> None:
        self.asked, self.may = asyncio.Event(), asyncio.Event()
        self.done: list[str] = []

    async def launch(self, _package: object, _config: object, **_ours: object) -> Any:
        self.asked.set()
        await self.may.wait()
        return SimpleNamespace(kill=lambda: self.done.append("kill"), stop=self._stop)

    async def _stop(self, _deadline: float) -> None:
        self.done.append("stop")


async def test_a_ccr_that_comes_up_after_the_end_does_not_stay(tmp_path: Path) -> None:
    """A fresh one was asked for a moment before everything ended: nobody else would end it."""
    stage = Stage(tmp_path)
    launcher = SlowLauncher()
    stage.backends.launcher = cast("Any", launcher)

    async def now() -> Any:
        return None

    stage.backends.packages = cast("Any", SimpleNamespace(now=now))
    stage.backends._healed = stage.loop.state.current
    async with asyncio.timeout(20):
        waiting = asyncio.create_task(stage.backends.renew())
        await launcher.asked.wait()
        await stage.backends.close(0)
        launcher.may.set()
        with pytest.raises(SynccrError, match="This supervisor ends"):
            await waiting
        assert launcher.done == ["kill", "stop"]
        assert stage.backends.current is None
        assert stage.config.read_text() == "the new supervisor's"
        launcher.asked.clear()
        with pytest.raises(SynccrError, match="This supervisor ends"):
            await stage.backends.renew()
        assert not launcher.asked.is_set()


class Agile:
    """A backend that goes over to any configuration, or fails to."""

    def __init__(self, *, fails: bool = False, applies: bool = True) -> None:
        self.served: list[object] = []
        self._fails, self._applies = fails, applies

    def applies(self, _config: object) -> bool:
        return self._applies

    def apply(self, config: object) -> None:
        if self._fails:
            raise SynccrError("The disk is full.", "Free it.")
        self.served.append(config)


async def test_a_backend_that_goes_over_as_it_runs(tmp_path: Path) -> None:
    """No second one is started; CCR's configuration, and what is recorded of it, is the new one."""
    stage = Stage(tmp_path)
    healed = stage.loop.state.current
    backend = Agile()
    stage.backends.current = cast("Any", backend)
    assert await stage.backends.start(healed) is cast("Any", backend)
    assert backend.served == [healed.config]
    assert stage.touched == ["written"]
    assert json.loads(stage.config.read_text()) == healed.config


async def test_a_backend_that_fails_to_go_over(tmp_path: Path) -> None:
    """What stood in CCR's configuration stands there again."""
    stage = Stage(tmp_path)
    before = stage.config.read_text()
    stage.backends.current = cast("Any", Agile(fails=True))
    with pytest.raises(SynccrError, match="disk is full"):
        await stage.backends.start(stage.loop.state.current)
    assert stage.config.read_text() == before
    assert stage.backends._healed is None
