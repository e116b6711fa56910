"""The takeover: a supervisor is replaced by a fresh one, and no client notices (POSIX).

`old` is the part of the supervisor that is replaced, `new` the part of the one that replaces
it; here is what both say. The old one starts the new one with its own command line, and they
talk over a pair of sockets, one JSON object a line. A line may come with an open socket
(``SCM_RIGHTS``), and with as many bytes after it as its ``bytes`` says.

The sequence is a two-phase commit. After each step, *files* says who writes CCR's
configuration and pid file, *lock* who holds the instance, *clients* who accepts them:

====  ====  =====================  ==============================  =====  ====  =======
step  says  message                upon which the other            files  lock  clients
====  ====  =====================  ==============================  =====  ====  =======
1     old   address and listener   reads settings and profiles,    old    old   old
                                   asks the models
2     new   `PREPARED`             ends a swap under way, starts   new    old   old
                                   no CCR any more
3     old   `PROCEED`              starts its CCR beside the       new    old   old
                                   old one's
4     new   `READY`                releases the lock               new    none  old
5     old   `COMMIT`               takes lock and control socket,  new    new   both
                                   accepts clients
6     new   `SERVING`: its status  accepts none, drains its CCRs   new    new   new
7     old   each connection, once  serves it, beginning with what  new    new   new
            no answer is under     was read ahead
            way on it
8     old   end of the channel     takes no more                   new    new   new
====  ====  =====================  ==============================  =====  ====  =======

When one of them dies, the other sees the end of the channel:

========  ===============================  ============================================
when      the old one dies                 the new one dies
========  ===============================  ============================================
before 5  the new one ends, and its CCR    the old one kills what is left of it, writes
                                           the files again and goes on
before 6  the new one takes the lock and   the same, after it has taken lock and control
          serves                           socket back
after 6   the new one serves; answers      the old one ends, with a short grace for
          under way at the old one break   requests in flight: to stop the new one is to
                                           stop both
========  ===============================  ============================================

`FAILED` in place of any message of the new one is its death with its reason. So is a timeout:
``5 x start_timeout`` for `READY`, `COMMIT_TIMEOUT` for `SERVING`.

A message that could not be sent whole is the last one: the new one takes what it has of it for
the end, and the connections that are left end at the old one as when it is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import select
import socket
import sys
from collections import deque
from typing import Any

POSSIBLE = sys.platform != "win32"
"""Whether open sockets can be given to another process here."""

CHANNEL = "_SYNCCR_HANDOVER"
"""Environment variable: file descriptor of the new one's end."""

DETACHED = "_SYNCCR_DETACHED"
"""Environment variable: nobody waits for this process to end."""

# The words on the wire. The two ends may be of different versions: a restart after an upgrade.
PREPARED = "turn"
PROCEED = "go"
READY = "ready"
COMMIT = "yours"
SERVING = "taken"
FAILED = "failed"

COMMIT_TIMEOUT = 15.0
"""Seconds for the new one to take lock and control socket: two moves without a wait."""
SEND_TIMEOUT = 5.0
"""Seconds for which a message waits for an end that does not read."""
_PIECE = 256 * 1024
"""Bytes that are read at once."""


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
            OSError: the other end is gone, or has read nothing for ``SEND_TIMEOUT`` seconds, now
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
                    if not select.select([], [self._end], [], SEND_TIMEOUT)[1]:
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
            await self._receive_more()
        message, size = _parsed(bytes(self._buffer[:end]))
        if size is None:
            del self._buffer[: end + 1]
            return message, None, b""
        whole = end + 1 + size
        while len(self._buffer) < whole:
            await self._receive_more()
        if not self._sockets:
            raise EOFError
        payload = bytes(self._buffer[end + 1 : whole])
        del self._buffer[:whole]
        return message, self._sockets.popleft(), payload

    async def _receive_more(self) -> None:
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


def _parsed(line: bytes) -> tuple[dict[str, Any], int | None]:
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
