"""Requests that are answered in the backend's place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from synccr.proxy.framing import RequestHead
from synccr.proxy.own_answers import Handler, Request, Response, error, path_of

BODY_LIMIT: Final = 1024 * 1024
"""Largest body in bytes of a request that a handler answers."""


class HandledRequest:
    """One request for a handler, collected whole before it is called.

    Args:
        handler: answers it.
        head: the request's head.
        answer: called with the answer, once at most.
    """

    __slots__ = ("_answer", "_collected", "_handler", "_head", "_task")

    def __init__(
        self, handler: Handler, head: RequestHead, answer: Callable[[Response], None]
    ) -> None:
        self._handler = handler
        self._head = head
        self._answer = answer
        self._collected = bytearray()
        self._task: asyncio.Task[None] | None = None

    def receive(self, piece: bytes, *, whole: bool) -> None:
        """Add the next bytes of the request; when it is *whole* the handler is called."""
        self._collected += piece
        if len(self._collected) - len(self._head.raw) > BODY_LIMIT:
            self._answer(error(413, f"The body is larger than {BODY_LIMIT} bytes."))
        elif whole:
            self._task = asyncio.get_running_loop().create_task(self._call())

    def close(self) -> None:
        """The request is answered or its client has gone."""
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _call(self) -> None:
        head = self._head
        body = bytes(memoryview(self._collected)[len(head.raw) :])
        request = Request(head.method, path_of(head.target), head, body)
        try:
            response = await self._handler(request)
        except Exception as problem:  # noqa: BLE001 - reported, and the client is answered
            asyncio.get_running_loop().call_exception_handler(
                {"message": "A handler of the proxy failed", "exception": problem}
            )
            response = error(500, "synccr could not answer this request.")
        self._answer(response)
