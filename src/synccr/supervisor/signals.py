"""The signals that end a supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_ONE_SIGNAL = 0.5
"""Seconds in which a second signal is the first once more: one that a group got and that was
passed on as well arrives twice."""


@contextlib.asynccontextmanager
async def stoppable(
    stop: Callable[[], bool], forward: Callable[[int], bool]
) -> AsyncIterator[None]:
    """The first SIGINT or SIGTERM ends the block in order, the second at once.

    Args:
        stop: begins to end; returns False when it cannot, and the block is cancelled.
        forward: takes a signal that is for somebody else; returns False when it is not.

    Raises:
        KeyboardInterrupt: the block was cancelled.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101  # we run in one
    asked: float | None = None

    def received(number: int) -> None:
        nonlocal asked
        if forward(number):
            return
        if asked is None and stop():
            asked = loop.time()
        elif asked is None or loop.time() - asked > _ONE_SIGNAL:
            task.cancel()

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    for number in numbers:
        try:
            loop.add_signal_handler(number, received, number)
        except NotImplementedError:  # Windows: the loop knows no signals
            signal.signal(number, lambda n, _: loop.call_soon_threadsafe(received, n))
    try:
        yield
    except asyncio.CancelledError:
        task.uncancel()
        raise KeyboardInterrupt from None
    finally:
        for number in numbers:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
