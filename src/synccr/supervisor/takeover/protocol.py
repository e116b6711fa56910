"""A supervisor replaced by a fresh one, and no client notices (POSIX).

The old one starts the new one with its own command line, and both talk over a pair of
sockets, one JSON object a line. A line may come with an open socket (``SCM_RIGHTS``), and
with as many bytes after it as its ``bytes`` says::

    old                                       new
    {"host", "port"} + the listening socket ->  reads settings and profiles, asks the models
                                            <-  {"turn"}   about to start its CCR
    swaps no more of its own      {"go"}    ->  starts its CCR beside the old one's
                                            <-  {"ready"}
    leaves the lock             {"yours"}   ->  takes lock and control socket, accepts clients
                                            <-  {"taken": its status}
    accepts none; each connection, once no
    answer is on its way:     {"bytes"} + it ->  serves it, beginning with what was read ahead
    ends when none is left: end of the channel

A message that could not be sent whole is the last one: the new one takes what it has of it for
the end, and the connections that are left end at the old one as when it is stopped.

On ``{"failed": ...}`` or the end of the channel before ``taken``, the old one goes on as if
nothing had been. Afterwards the end of the channel tells the old one to end at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import select
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from synccr.ccr.process import ProcessId, end_tree_now, identify
from synccr.errors import SynccrError

POSSIBLE = sys.platform != "win32"
"""Whether open sockets can be given to another process here."""

CHANNEL = "_SYNCCR_HANDOVER"
"""Environment variable: file descriptor of the new one's end."""

DETACHED = "_SYNCCR_DETACHED"
"""Environment variable: nobody waits for this process to end."""

_PATIENCE = 5.0
_PIECE = 256 * 1024
_GONE = "The supervisor that was to be replaced is gone."


class Channel:
    """One end of the pair of sockets."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        end.set_inheritable(False)
        self._end = end
        self._buffer = bytearray()
        self._sockets: deque[socket.socket] = deque()
        self._cut = False

    def send(
        self,
        message: dict[str, Any],
        with_socket: socket.socket | None = None,
        payload: bytes = b"",
    ) -> None:
        """Send a line at once, and a socket and bytes with it.

        Raises:
            OSError: the other end is gone, or has read nothing for ``_PATIENCE`` seconds, now
                or at an earlier message: what follows a part of one would be taken for its rest.
        """
        if sys.platform == "win32":
            raise NotImplementedError  # see POSSIBLE
        if with_socket is not None:
            message = {**message, "bytes": len(payload)}
        data = memoryview(json.dumps(message).encode() + b"\n" + payload)
        rights = [with_socket.fileno()] if with_socket else []
        if self._cut:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        try:
            while data:
                try:
                    sent = socket.send_fds(self._end, [data], rights)
                except BlockingIOError:
                    if not select.select([], [self._end], [], _PATIENCE)[1]:
                        raise TimeoutError("the other supervisor reads nothing") from None
                    continue
                data, rights = data[sent:], []
        except BaseException:
            self._cut = True
            self.finish()
            raise

    async def receive(self) -> tuple[dict[str, Any], socket.socket | None, bytes]:
        """The next line, and the socket and the bytes that came with it.

        Raises:
            EOFError: the other end is closed, maybe within a message, or sends no such thing.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            await self._more()
        message, size = _understood(bytes(self._buffer[:end]))
        if size is None:
            del self._buffer[: end + 1]
            return message, None, b""
        whole = end + 1 + size
        while len(self._buffer) < whole:
            await self._more()
        if not self._sockets:
            raise EOFError
        payload = bytes(self._buffer[end + 1 : whole])
        del self._buffer[:whole]
        return message, self._sockets.popleft(), payload

    async def _more(self) -> None:
        if sys.platform == "win32":
            raise NotImplementedError  # see POSSIBLE
        await self._readable()
        try:
            data, rights, flags, _ = socket.recv_fds(self._end, _PIECE, 8)
        except BlockingIOError:
            return
        except OSError:
            data, rights, flags = b"", [], 0
        self._sockets.extend(socket.socket(fileno=right) for right in rights)
        # Without a socket that this process may have no more of, the next ones would be taken
        # for it.
        if not data or flags & socket.MSG_CTRUNC:
            raise EOFError
        self._buffer += data

    async def ended(self) -> None:
        """Wait for the end of the channel; what comes before it is of no interest."""
        with contextlib.suppress(EOFError):
            while True:
                await self.receive()

    def finish(self) -> None:
        """Send nothing more; the other end sees the end of the channel."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_WR)

    def refuse(self) -> None:
        """Take nothing more: the other end can send no more, and what has come and was not
        asked for is closed."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RD)
        for unclaimed in self._sockets:
            unclaimed.close()
        self._sockets.clear()

    def close(self) -> None:
        """Close this end, and what has come and was not asked for."""
        self.refuse()
        self._end.close()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._end, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(self._end)


def _understood(line: bytes) -> tuple[dict[str, Any], int | None]:
    """A message, and how many bytes come after it with a socket, if one comes."""
    try:
        message = json.loads(line)
        size = message.get("bytes")
    except (ValueError, AttributeError, RecursionError) as error:
        raise EOFError from error
    if size is not None and not (isinstance(size, int) and size >= 0):
        raise EOFError
    return message, size


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class NewProcess:
    """The new supervisor, seen from the old one.

    Raises:
        OSError: it cannot be started; nothing is left of it.
    """

    def __init__(self, command: Sequence[str], environ: dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        with contextlib.ExitStack() as failed, theirs:
            failed.callback(self.channel.close)
            # A session of its own: what a terminal sends to its foreground is for us to pass on.
            self._process = subprocess.Popen(
                command,
                env={**environ, CHANNEL: str(theirs.fileno())},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            failed.pop_all()
        self._identity = identify(self.pid)  # now, as its number may become a stranger's

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    async def expect(self, word: str, timeout: float | None = None) -> Any:
        """What it says next, which has to be this.

        Raises:
            SynccrError: it failed, in its own words; or it said nothing in time.
        """
        try:
            async with asyncio.timeout(timeout):
                message, _, _ = await self.channel.receive()
        except EOFError:
            code = await self.exit_code(_PATIENCE)
            raise SynccrError(
                f"The new supervisor ended at once (exit code {code}); the old one goes on.",
                "Look at: synccr logs",
            ) from None
        except TimeoutError:
            raise SynccrError(
                f"The new supervisor was not ready within {timeout:.0f} s; the old one goes on.",
                "Look at: synccr logs",
            ) from None
        if failed := message.get("failed"):
            error = SynccrError(failed["what"], failed["todo"])
            error.exit_code = failed["exit_code"]  # type: ignore[misc]  # its own
            raise error
        if word not in message:
            raise SynccrError("The new supervisor speaks another language; the old one goes on.")
        return message[word]

    def tell(self, message: dict[str, Any], with_socket: socket.socket | None = None) -> None:
        """Say something to it.

        Raises:
            SynccrError: it is gone.
        """
        try:
            self.channel.send(message, with_socket)
        except OSError as error:
            raise SynccrError(
                "The new supervisor is gone; the old one goes on.", "Look at: synccr logs"
            ) from error

    def take(self, connection: socket.socket, ahead: bytes) -> bool:
        """Give it a client's connection and what has been read from it; False when it is gone
        or reads nothing. Then it takes none any more."""
        try:
            self.channel.send({}, connection, ahead)
        except OSError:
            return False
        return True

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    async def exit_code(self, timeout: float | None = None) -> int | None:
        """Wait for its end; the code as a shell would say it, None when it still runs."""
        try:
            code = await asyncio.to_thread(self._process.wait, timeout)
        except subprocess.TimeoutExpired:
            return None
        return code if code >= 0 else 128 - code

    async def discard(self) -> None:
        """End it and everything it started, now."""
        identity = self._identity
        if identity is not None and self._process.poll() is None:
            end_tree_now(identity)
        await self.exit_code()
        self.channel.close()


@dataclass
class Predecessor:
    """What the old supervisor leaves to this one.

    Attributes:
        channel: to the old one.
        predecessor: the old one.
        address: host and port of the listener.
        listener: the public port, bound and listening.
    """

    channel: Channel
    predecessor: ProcessId | None
    address: tuple[str, int]
    listener: socket.socket

    @classmethod
    async def receive(cls, channel: Channel) -> Predecessor:
        """What the old supervisor says first.

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

    async def turn(self) -> None:
        """Wait until this supervisor may start its CCR, as the old one swaps no more.

        Raises:
            SynccrError: the old one is gone.
        """
        await self._ask({"turn": True}, "go")

    async def succeed(self) -> None:
        """Say that this supervisor could serve, and wait until the lock is free.

        Raises:
            SynccrError: the old one is gone.
        """
        await self._ask({"ready": True}, "yours")

    def taken(self, status: dict[str, Any]) -> None:
        """Say that this supervisor serves."""
        with contextlib.suppress(OSError):
            self.channel.send({"taken": status})

    async def adopt(self, relay_adopt: Callable[[socket.socket, bytes], Awaitable[None]]) -> None:
        """Serve the connections that the old supervisor passes over, until it has none left or
        one does not come whole."""
        try:
            while True:
                _, connection, ahead = await self.channel.receive()
                if connection is not None:
                    await relay_adopt(connection, ahead)
        except EOFError:
            self.channel.refuse()

    async def _ask(self, message: dict[str, Any], answer: str) -> None:
        try:
            self.channel.send(message)
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
            channel.send({"failed": words})
        raise
    finally:
        channel.close()
