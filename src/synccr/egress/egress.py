"""The egress's port: takes CCR's provider requests and has an attempt made of each."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field

from synccr.egress.attempt_runner import AttemptRunner, AttemptServices
from synccr.egress.server import CcrConnection


@dataclass
class Egress:
    """Listens on loopback for the CCR that holds the secret.

    Attributes:
        services: what attempts need.
        secret: opens this port, and CCR's own.
        most_unproven: connections that have not shown the secret.
        port: 0 lets the system choose.
    """

    services: AttemptServices
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    most_unproven: int = 256
    port: int = 0
    _connections: set[CcrConnection] = field(default_factory=set, repr=False)
    _unproven: dict[CcrConnection, None] = field(default_factory=dict, repr=False)
    _server: asyncio.Server | None = field(default=None, repr=False)

    async def start(self) -> None:
        """Listen on a port of 127.0.0.1.

        Raises:
            OSError: there is none.
        """
        secret = self.secret.encode()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: CcrConnection(
                secret,
                self._connections,
                lambda connection: AttemptRunner(self.services, connection),
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
        await self.services.transport.close()

    @property
    def url(self) -> str:
        """Where CCR's requests are led."""
        return f"http://127.0.0.1:{self.port}"
