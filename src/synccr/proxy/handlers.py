"""Requests that are answered in the backend's place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from synccr.proxy.framing import RequestHead
from synccr.proxy.messages import Interceptor, Request, error, path_of

if TYPE_CHECKING:
    from synccr.proxy.connection import Client

BODY_LIMIT: Final = 1024 * 1024
"""Largest body in bytes of a request that an interceptor answers."""


class Interception:
    """One request for an interceptor, collected whole before it is called."""

    __slots__ = ("_client", "_collected", "_head", "_interceptor", "_task")

    def __init__(self, client: Client, interceptor: Interceptor, head: RequestHead) -> None:
        self._client = client
        self._interceptor = interceptor
        self._head = head
        self._collected = bytearray()
        self._task: asyncio.Task[None] | None = None

    def append(self, piece: bytes) -> None:
        """Add the next bytes of the request; the last ones call the interceptor."""
        self._collected += piece
        if len(self._collected) - len(self._head.raw) > BODY_LIMIT:
            self._client.answer(error(413, f"The body is larger than {BODY_LIMIT} bytes."))
        elif self._client.uploaded:
            self._task = asyncio.get_running_loop().create_task(self._call())

    def release(self) -> None:
        """The request is answered or its client has gone."""
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _call(self) -> None:
        head = self._head
        body = bytes(memoryview(self._collected)[len(head.raw) :])
        request = Request(head.method, path_of(head.target), head, body)
        try:
            response = await self._interceptor(request)
        except Exception as problem:  # noqa: BLE001 - reported, and the client is answered
            asyncio.get_running_loop().call_exception_handler(
                {"message": "A relay interceptor failed", "exception": problem}
            )
            response = error(500, "synccr could not answer this request.")
        self._client.answer(response)
