"""``synccr start``: preflight, heal, launch, watch, decide, swap, until stopped."""

from __future__ import annotations

import asyncio

from synccr.supervisor.context import Context
from synccr.supervisor.endpoints import Endpoints
from synccr.supervisor.lock import Lock, released
from synccr.supervisor.parts import Parts
from synccr.supervisor.public_port import exhaustion_told
from synccr.supervisor.signals import stoppable
from synccr.supervisor.starting import Starting
from synccr.supervisor.takeover.incoming import Predecessor


async def run(context: Context) -> int:
    """Serve until stopped.

    Returns:
        the exit code: 0, or that of the supervisor that has replaced this one.

    Raises:
        SynccrError: it could not start; nothing is left running or changed.
    """
    with released(Lock(context.paths.instance)) as lock:
        predecessor = await _predecessor_or_lock(context, lock)
        asyncio.get_running_loop().set_exception_handler(exhaustion_told(context.tell))
        parts = Parts(context, lock, predecessor)
        starting = Starting(parts)
        endpoints = Endpoints(parts, starting)
        async with stoppable(endpoints.stop, endpoints.forward):
            try:
                async with endpoints.open():
                    running, why = await starting.start(endpoints)
                    await running.serve(why)
            finally:
                await parts.notifier.close()
            return await running.exit_code()


async def _predecessor_or_lock(context: Context, lock: Lock) -> Predecessor | None:
    """What is to be replaced has the lock, and leaves it when it is told to."""
    if context.channel:
        return await Predecessor.receive(context.channel)
    lock.acquire()
    return None
