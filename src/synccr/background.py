"""Tasks that run beside the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Background:
    """Tasks of one owner; none is lost (asyncio itself keeps weak references only), and none
    outlives a `cancel` or `finish`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it beside the rest."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel(self) -> None:
        """Cancel every task and wait for its end."""
        await self.finish(0.0)

    async def finish(self, timeout: float | None) -> None:
        """Give tasks ``timeout`` seconds to end by themselves, then cancel what is left."""
        tasks = tuple(self._tasks)
        if tasks and timeout != 0:
            await asyncio.wait(tasks, timeout=timeout)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
