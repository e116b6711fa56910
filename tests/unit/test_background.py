"""Tasks that run beside the rest."""

from __future__ import annotations

import asyncio
import gc

import pytest

from synccr.background import Background

pytestmark = pytest.mark.timeout(20)


async def test_none_is_lost() -> None:
    """Also when nobody else holds them."""
    background, done = Background(), asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.01)
        done.set()

    background.spawn(work())
    gc.collect()
    await done.wait()


async def test_cancel_ends_all() -> None:
    """Each has ended when it returns, also one that fails as it ends."""
    background, ended = Background(), []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0)
            ended.append(name)
            if name == "b":
                raise ValueError

    for name in "abc":
        background.spawn(work(name))
    await asyncio.sleep(0)
    await background.cancel()
    assert sorted(ended) == ["a", "b", "c"]


async def test_finish_gives_them_time() -> None:
    """What ends by itself is not cancelled; what does not is."""
    background, ended = Background(), []

    async def work(seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            ended.append("whole")
        except asyncio.CancelledError:
            ended.append("cut")
            raise

    background.spawn(work(0.0))
    background.spawn(work(600))
    await background.finish(0.1)
    assert ended == ["whole", "cut"]
    await background.finish(None)
