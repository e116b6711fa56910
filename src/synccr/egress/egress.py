"""The egress as a whole: its port, and what an attempt needs to know."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synccr.egress.attempt import Attempt
from synccr.egress.directory import Directory
from synccr.egress.patience import Patience
from synccr.egress.server import Connection
from synccr.judge.outcome import Failure
from synccr.models.report import ModelRef
from synccr.redact import Redactor
from synccr.transport import Transport
from synccr.turns.turn import Try, Turn, Turns

if TYPE_CHECKING:
    from synccr.turns.capture import Capture

Permit = Callable[[Try, Turn | None], Failure | None]
"""Whether a model is asked now; else why not."""

Fields = Sequence[tuple[bytes, bytes]]
Substitute = Callable[[str, Fields], tuple[str, Fields]]
Told = Callable[[Turn | None, Try], None]
"""Hears of each try that has ended."""


@dataclass
class Egress:
    """Listens on loopback for the CCR that holds the secret.

    Attributes:
        turns: the turns under way.
        transport: towards providers.
        patience: how long each model may be silent.
        directory: the providers that count now.
        substitute: puts keys in the place of placeholders in an address and header values.
        permit: the breaker's word on a try.
        told: hears of each try that has ended.
        redact: masks the keys that count now.
        capture: takes bodies while a person wants them.
        done_alone: whether a model's streams end with ``[DONE]`` and no finish.
        clock: monotonic seconds.
        most_unproven: connections that have not shown the secret.
        secret: opens this port, and CCR's own.
    """

    turns: Turns
    transport: Transport
    patience: Patience
    directory: Callable[[], Directory]
    substitute: Substitute
    permit: Permit
    told: Told
    redact: Callable[[], Redactor] = Redactor
    capture: Callable[[], Capture | None] = lambda: None
    done_alone: Callable[[ModelRef], bool] = lambda _ref: False
    clock: Callable[[], float] = time.monotonic
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    most_unproven: int = 256
    port: int = 0
    _connections: set[Connection] = field(default_factory=set, repr=False)
    _unproven: dict[Connection, None] = field(default_factory=dict, repr=False)
    _server: asyncio.Server | None = field(default=None, repr=False)

    async def start(self) -> None:
        """Listen on a port of 127.0.0.1.

        Raises:
            OSError: there is none.
        """
        secret = self.secret.encode()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(
                secret,
                self._connections,
                lambda c: Attempt(self, c),
                self._unproven,
                self.most_unproven,
            ),
            "127.0.0.1",
            self.port,
            backlog=1024,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, end every request."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.abort()
        await asyncio.sleep(0)
        await self.transport.close()

    @property
    def url(self) -> str:
        """Where CCR's requests are led."""
        return f"http://127.0.0.1:{self.port}"
