"""The old supervisor's part in a handover; see :mod:`.handover`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synccr.control.server import ControlServer
from synccr.errors import SynccrError, out_of_order
from synccr.proxy import Proxy
from synccr.settings import Settings
from synccr.supervisor.backends import Backends
from synccr.supervisor.lock import Lock
from synccr.supervisor.takeover.protocol import NewProcess

TAKING = 15.0
"""Seconds for the new supervisor to take lock and control socket: two moves without a wait."""


@dataclass
class Takeover:
    """Puts a fresh supervisor in the place of this one.

    Attributes:
        command: starts it.
        environ: for it.
        settings: timeouts.
        fleet, relay, control, lock: what this one holds.
        successor: the one that serves now; None while this one does.
    """

    command: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)
    settings: Settings
    backends: Backends
    proxy: Proxy
    control: ControlServer
    lock: Lock
    successor: NewProcess | None = None
    _under_way: asyncio.Task[Any] | None = None

    async def carry_out(self, address: tuple[str, int], listener: socket.socket) -> dict[str, Any]:
        """Start the new one and hand over to it.

        Args:
            address: host and port as configured.
            listener: the public port.

        Returns:
            the new one's status.

        Raises:
            SynccrError: it did not come up, in its own words; this one goes on.
        """
        if self._under_way or self.successor:
            raise SynccrError("A restart is under way already.", "See: synccr status")
        self._under_way = asyncio.current_task()
        try:
            successor = self._begin()
            try:
                host, port = address
                successor.tell({"host": host, "port": port}, listener)
                await successor.expect("turn")
                status = await self._give_way(successor)
            except BaseException:
                await successor.discard()
                raise
        finally:
            self._under_way = None
        self.successor = successor
        return status

    async def abandon(self) -> None:
        """This one is to end: a new one that does not serve yet ends with it."""
        if self._under_way:
            self._under_way.cancel()
            await asyncio.wait({self._under_way})

    def _begin(self) -> NewProcess:
        try:
            return NewProcess(self.command, dict(self.environ))
        except OSError as error:
            what = out_of_order(error).what.rstrip(".")
            raise SynccrError(
                f"The new supervisor cannot be started ({what}); the old one goes on.",
                "See that memory, processes and open files are left (ulimit -a) and that synccr is "
                "still installed, then: synccr restart",
            ) from error

    async def _give_way(self, successor: NewProcess) -> dict[str, Any]:
        async with self.backends.standing_still():
            successor.tell({"go": True})
            await successor.expect("ready", 5 * self.settings.start_timeout)
            self.lock.release()
            try:
                successor.tell({"yours": True})
                status: dict[str, Any] = await successor.expect("taken", TAKING)
            except BaseException:
                await successor.discard()  # it may hold them
                self.lock.acquire(TAKING)
                self.control.withdraw()
                await self.control.start()
                raise
            self.control.withdraw()
            self.proxy.hand_over(successor.take)
            self.backends.leave()
        return status

    async def fade(self, adopting: asyncio.Task[None] | None, grace: float) -> None:
        """Finish what has begun, pass every connection over, end every CCR that is ours.

        At most ``drain_timeout``; when the new one ends, within about ``grace`` seconds.

        Args:
            adopting: brings connections of this one's own predecessor.
            grace: seconds for requests in flight.
        """
        assert self.successor is not None  # noqa: S101  # there is something to fade for
        gone = asyncio.create_task(self.successor.channel.ended())
        passed = asyncio.create_task(self._pass_all(adopting))
        try:
            await asyncio.wait(
                {gone, passed},
                timeout=self.settings.drain_timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            await self.proxy.close(grace if gone.done() else 0.0)
        finally:
            gone.cancel()
            passed.cancel()
            await asyncio.gather(gone, passed, return_exceptions=True)
            await self.backends.close(grace)
            self.successor.channel.close()  # the new one waits for this when it ends

    async def _pass_all(self, adopting: asyncio.Task[None] | None) -> None:
        if adopting is not None:
            await asyncio.wait({adopting})
        await self.proxy.emptied()
