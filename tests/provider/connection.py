"""A connection on which a reply can go wrong: late, slow, cut, stalled, reset or never there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from enum import Enum

import msgspec

from synccr.demo.server import LAST_CHUNK, HttpConnection, HttpReply, framed

_LINGER_OFF = struct.pack("ii", 1, 0)


class Ending(Enum):
    """How the exchange ends."""

    COMPLETE = "complete"
    CUT = "cut"
    """Closed after half of the body, or after the last piece without the end mark."""
    STALL = "stall"
    """As much as of a cut, and then neither a byte nor a close."""
    RESET = "reset"
    """Reset before the first byte."""
    SILENT = "silent"
    """No byte ever."""


class TroubledReply(HttpReply, frozen=True, kw_only=True):
    """A reply that may take its time or go wrong.

    Attributes:
        delay: seconds before the first byte.
        chunk_delay: seconds between pieces.
        left: called when the client closes the connection before it has all, or while nothing
            more comes.
    """

    delay: float = 0.0
    chunk_delay: float = 0.0
    ending: Ending = Ending.COMPLETE
    left: Callable[[], None] | None = None

    @property
    def phrase(self) -> str:
        return "Site is overloaded" if self.status == 529 else super().phrase


def _frames(reply: TroubledReply, method: str, *, keep_alive: bool) -> list[bytes]:
    """The bytes of a reply, in the parts between which ``chunk_delay`` passes."""
    if reply.ending in (Ending.RESET, Ending.SILENT):
        return []
    head, parts = framed(reply, method, keep_alive=keep_alive)
    if parts and reply.ending in (Ending.CUT, Ending.STALL):
        whole = parts[-1]
        parts[-1] = whole[: len(whole) // 2] if reply.pieces is None else whole[: -len(LAST_CHUNK)]
    return [head + b"".join(parts[:1]), *parts[1:]]


class TroubledConnection(HttpConnection):
    """One client connection that plays a ``TroubledReply`` as it says."""

    _playing: asyncio.Task[None] | None = None
    _hurried: asyncio.Event
    _silent = False
    _current: TroubledReply | None = None

    @property
    def is_busy(self) -> bool:
        return self._silent or self._playing is not None

    def send(self, reply: HttpReply, method: str, *, keep_alive: bool) -> None:
        if not isinstance(reply, TroubledReply):
            reply = TroubledReply(**msgspec.structs.asdict(reply))
        self._current = reply
        frames = _frames(reply, method, keep_alive=keep_alive)
        if reply.delay or (reply.chunk_delay and len(frames) > 1):
            self._hurried = asyncio.Event()
            self._playing = asyncio.create_task(self._play(reply, frames, keep_alive=keep_alive))
        else:
            self.transport.write(b"".join(frames))
            self._finish(reply.ending, keep_alive=keep_alive)

    def hurry(self) -> None:
        """Play what is being played without the pauses that are left."""
        if self._playing:
            self._hurried.set()

    def abort(self) -> None:
        self._current = None
        super().abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._playing:
            self._playing.cancel()
        if self._current and self._current.left:
            self._current.left()

    def on_headers_complete(self) -> None:
        """The parser's callback."""
        if self.headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _play(self, reply: TroubledReply, frames: list[bytes], *, keep_alive: bool) -> None:
        await self._pause(reply.delay)
        for position, frame in enumerate(frames):
            if position:
                await self._pause(reply.chunk_delay)
            self.transport.write(frame)
        self._playing = None
        self._finish(reply.ending, keep_alive=keep_alive)
        self.answer_waiting()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurried.wait()

    def _finish(self, ending: Ending, *, keep_alive: bool) -> None:
        if ending in (Ending.SILENT, Ending.STALL):
            self._silent = True
            return
        self._current = None
        if ending is Ending.RESET:
            # Without lingering, closing sends RST rather than FIN.
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF
            )
            self.transport.abort()
        elif ending is Ending.CUT or not keep_alive:
            self.transport.close()
