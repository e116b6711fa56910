"""All that others connect to: the public port, the control channel and the egress."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
from typing import Any

from synccr.ccr.launch_context import LaunchContext
from synccr.ccr.launchers import Launchers
from synccr.ccr.orphans import Register
from synccr.ccr.package import Generation
from synccr.config.keys import read_keys
from synccr.control.server import ControlServer
from synccr.egress.silence_limits import SilenceLimits
from synccr.policy.retry_budget import RetryBudget
from synccr.proxy import Proxy, Request, Response
from synccr.proxy.framing import Head
from synccr.supervisor.commands import Stage
from synccr.supervisor.parts import Parts
from synccr.supervisor.provider_side import ProviderSide
from synccr.supervisor.public_port import (
    bind,
    browser_guard,
    closed_path,
    key_guard,
    most_clients,
)
from synccr.supervisor.traffic_rate import Traffic
from synccr.supervisor.turn_dispatcher import TurnDispatcher


class Endpoints:
    """Open from the first moment to the last.

    Attributes:
        parts: what the run has.
        stage: answers what comes in.
        address, listener: the public port; bound by ``open``.
        proxy: serves its clients.
        control: serves commands.
        provider_side: takes CCR's requests to providers.
        launcher: starts a CCR that is led there.
        traffic: the last minute's.
    """

    listener: socket.socket

    def __init__(self, parts: Parts, stage: Stage) -> None:
        self.parts, self.stage = parts, stage
        context, config = parts.context, parts.config
        profiles, settings = config.profiles, config.settings
        self.address = profiles.primary.host, profiles.local.port
        self.traffic = Traffic()
        self._dispatcher = TurnDispatcher(
            parts.journal,
            parts.tracing.log,
            secrets.token_urlsafe(24).encode(),
            budget=RetryBudget(settings.retry_budget),
        )
        self.provider_side = ProviderSide(
            self._dispatcher,
            profiles,
            context.environ,
            tuple(read_keys(context.paths.keys)),
            config.redactor,
            SilenceLimits(settings.silence_timeout, settings.silence_ceiling),
            parts.quotas.observe_headers,
        )
        self.launcher = Launchers(
            LaunchContext(
                context.paths,
                context.environ,
                self.provider_side.address,
                parts.tell,
                start_timeout=settings.start_timeout,
                redact=config.redactor,
                register=Register.of(context.paths),
            )
        )
        host, port = self.address
        self._browser_guard = browser_guard(port, host)
        self.lead_to(parts.packages(settings).generation)
        self.proxy = Proxy(
            hold_timeout=settings.hold_timeout,
            carry_limit=settings.carry_limit,
            most_clients=most_clients(),
            guard=self._refusal,
            handlers={
                (b"POST", b"/api/restart"): self._restart_from_page,
                (b"GET", b"/v1/models"): self._list_models,
            },
            observer=self.traffic.observe,
            turns=self._dispatcher,
            on_backend_lost=lambda _generation: self.stage.backend_lost(),
        )
        self.control = ControlServer(context.paths.instance, self._answer)

    def lead_to(self, generation: Generation) -> None:
        """A CCR of this generation gets the requests that begin from now on."""
        self._dispatcher.secret_opens = generation.apart

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open them for the block; a predecessor's are left to it until it gives them away.

        Raises:
            SynccrError: the public port cannot be used.
            OSError: there is no port for the egress.
        """
        predecessor = self.parts.predecessor
        if predecessor and predecessor.address == self.address:
            self.listener = predecessor.listener
        else:
            self.listener = bind(*self.address)
            if predecessor:  # left open here, it would take clients whom nobody serves
                predecessor.listener.close()
        try:
            await self.provider_side.start()
            if not predecessor:
                await self.accept()
            yield
        finally:
            await self.proxy.close(0.0)
            await self.provider_side.close()
            await self.control.close()
            self.listener.close()

    async def accept(self) -> None:
        """Let clients and commands in."""
        await self.proxy.start(self.listener)
        await self.control.start()

    def stop(self) -> bool:
        """Begin to end; False when the stage can only be cancelled."""
        return self.stage.stop()

    def forward(self, number: int) -> bool:
        """Whether a signal is for another supervisor; it is sent there."""
        return self.stage.forward(number)

    def _refusal(self, method: bytes, target: bytes, head: Head) -> Response | None:
        """How a request is refused before CCR has anything of it; None for one that may go on."""
        key = self.stage.filled_in(self.stage.api_key)
        guard = key_guard(key) if key else self._browser_guard
        if self._dispatcher.secret_opens:
            return closed_path(target) or guard(method, target, head)
        return None if key else guard(method, target, head)  # CCR asks for the key by itself

    async def _answer(self, verb: str, args: dict[str, Any]) -> Any:
        return await self.stage.answer(verb, args)

    async def _restart_from_page(self, request: Request) -> Response:
        return await self.stage.restart_from_page(request)

    async def _list_models(self, request: Request) -> Response:
        return await self.stage.list_models(request)
