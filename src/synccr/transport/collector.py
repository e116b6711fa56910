"""An answer that is read whole, or up to a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from synccr.transport.http_types import Answer, Broken, CannotReach, Headers

Enough = Callable[[bytes], bool]
"""Takes the pieces of a body; whether what follows is of no use."""


class Collector:
    """A receiver that keeps an answer, up to a limit.

    Args:
        limit: bytes of the body that are kept.
        enough: is given each piece; the body ends with one for which it is true.

    Attributes:
        done: the answer, or why there is none.
    """

    def __init__(self, limit: int, enough: Enough | None = None) -> None:
        self.done: asyncio.Future[Answer | CannotReach | Broken]
        self.done = asyncio.get_running_loop().create_future()
        self._limit = limit
        self._enough = enough
        self._status = 0
        self._headers: Headers = ()
        self._body = bytearray()

    def head(self, status: int, headers: Headers) -> None:
        self._status, self._headers = status, headers

    def body(self, data: bytes) -> None:
        if self.done.done():
            return
        self._body += data
        if len(self._body) >= self._limit or (self._enough and self._enough(data)):
            self.end()

    def end(self) -> None:
        body = bytes(self._body[: self._limit])
        self._settle(Answer(self._status, tuple(self._headers), body))

    def cut(self, failure: CannotReach | Broken) -> None:
        self._settle(failure)

    def _settle(self, result: Answer | CannotReach | Broken) -> None:
        if not self.done.done():
            self.done.set_result(result)
