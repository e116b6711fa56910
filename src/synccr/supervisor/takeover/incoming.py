"""The new supervisor's part in a takeover; see `protocol` for the sequence."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from synccr.ccr.process import ProcessId, identify
from synccr.errors import SynccrError
from synccr.supervisor.takeover.protocol import (
    CHANNEL,
    COMMIT,
    FAILED,
    PREPARED,
    PROCEED,
    READY,
    SERVING,
    Channel,
)

_GONE = "The supervisor that was to be replaced is gone."


@dataclass
class Predecessor:
    """The old supervisor, seen from this one, and what it passes on.

    Attributes:
        channel: to the old one.
        process: the old one.
        address: host and port of the listener.
        listener: the public port, bound and listening.
    """

    channel: Channel
    process: ProcessId | None
    address: tuple[str, int]
    listener: socket.socket

    @classmethod
    async def receive(cls, channel: Channel) -> Predecessor:
        """The first message, which brings the listener.

        Raises:
            SynccrError: it is gone.
        """
        try:
            message, listener, _ = await channel.receive()
        except EOFError as error:
            raise SynccrError(_GONE) from error
        assert listener is not None  # noqa: S101  # it comes with the port
        address = (message["host"], message["port"])
        return cls(channel, identify(os.getppid()), address, listener)

    async def wait_to_proceed(self) -> None:
        """Ask to start a CCR; returns once the old supervisor starts none any more.

        Raises:
            SynccrError: the old one is gone.
        """
        await self._ask(PREPARED, PROCEED)

    async def wait_for_commit(self) -> None:
        """Say that this supervisor could serve; returns once the lock is free.

        Raises:
            SynccrError: the old one is gone.
        """
        await self._ask(READY, COMMIT)

    def announce(self, status: dict[str, Any]) -> None:
        """Say that this supervisor serves."""
        with contextlib.suppress(OSError):
            self.channel.send({SERVING: status})

    async def receive_connections(
        self, adopt: Callable[[socket.socket, bytes], Awaitable[None]]
    ) -> None:
        """Have ``adopt`` serve the connections that the old supervisor passes on, with the bytes
        read ahead, until it has none left or one does not come whole."""
        try:
            while True:
                _, connection, ahead = await self.channel.receive()
                if connection is not None:
                    await adopt(connection, ahead)
        except EOFError:
            self.channel.refuse()

    async def _ask(self, word: str, answer: str) -> None:
        try:
            self.channel.send({word: True})
            received, _, _ = await self.channel.receive()
        except (EOFError, OSError) as error:
            raise SynccrError(_GONE) from error
        if answer not in received:
            raise SynccrError("The supervisor that was to be replaced speaks another language.")


@contextlib.contextmanager
def channel_of(environ: MutableMapping[str, str]) -> Iterator[Channel | None]:
    """The channel to the supervisor that this one is to replace, if there is one.

    An error of the block is told there, so that ``synccr restart`` can show it.
    """
    number = environ.pop(CHANNEL, None)
    if number is None:
        yield None
        return
    channel = Channel(socket.socket(fileno=int(number)))
    try:
        yield channel
    except SynccrError as error:
        words = {"what": error.what, "todo": error.todo, "exit_code": error.exit_code}
        with contextlib.suppress(OSError):
            channel.send({FAILED: words})
        raise
    finally:
        channel.close()
