"""What people ask of a supervisor that runs: over the control channel, and on CCR's own page."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from synccr.ccr.process import with_parent_death_signal
from synccr.config.profile import interpolate
from synccr.errors import SynccrError, UsageError
from synccr.policy import events as e
from synccr.policy.machine import Phase, PolicyState
from synccr.proxy import Request, Response, error
from synccr.settings import Settings
from synccr.supervisor import trace
from synccr.supervisor.public_port import page_refusal
from synccr.supervisor.takeover.old import Takeover
from synccr.supervisor.takeover.protocol import DETACHED, POSSIBLE

if TYPE_CHECKING:
    from synccr.supervisor.main import Supervisor

_LOOK = 0.02


def _on_its_way(state: PolicyState) -> bool:
    """Whether a backend is being started at this moment."""
    starting = state.phase is Phase.RESTARTING and state.restart_at is None
    return starting or state.phase is Phase.SWAPPING


class Commands:
    """Orders to one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def answer(self, verb: str, args: dict[str, Any]) -> Any:
        """Carry out a verb of the control channel.

        Raises:
            UsageError: there is no such verb, or it cannot be asked like this.
            SynccrError: it could not be done.
        """
        supervisor = self._supervisor
        match verb:
            case "status":
                return supervisor.status()
            case "client":
                return {"status": supervisor.status(), "token": supervisor.token()}
            case "trace":
                return trace.answer(supervisor, args)
            case "stop":
                if not supervisor.stop():
                    os.kill(os.getpid(), signal.SIGTERM)
                return {"pid": os.getpid()}
            case "swap" | "restart" if not hasattr(supervisor, "loop"):
                raise SynccrError(
                    "synccr is still starting.", "Try again once it is: synccr status"
                )
            case "swap":
                return await self._swap(args)
            case "restart":
                return await self._restart()
        raise UsageError(f"The supervisor does not know {verb!r}.")

    async def restart_from_page(self, request: Request) -> Response:
        """CCR's page asks for a restart after saving: what was saved is applied by a swap."""
        supervisor = self._supervisor
        if not hasattr(supervisor, "loop"):
            return error(503, "synccr is still starting.", retry_after=2)
        local = supervisor.profiles.local
        key = interpolate(local.api_key or "", supervisor.environ)
        refusal = page_refusal(request.head, local.port, key)
        if refusal:
            return error(*refusal)
        if supervisor.reread():
            supervisor.spawn(self._renew_quietly())
        body = b'{"success": true, "message": "Service restart initiated"}'
        return Response(200, body)

    async def _swap(self, args: dict[str, Any]) -> dict[str, Any]:
        role = args.get("profile")
        if role not in ("primary", "fallback"):
            raise UsageError("A swap goes to primary or to fallback.")
        loop, clock = self._supervisor.loop, asyncio.get_running_loop().time
        before, loop.last_failure = loop.swaps, None
        loop.post(e.SwapAsked(role))
        deadline = clock() + 2 * self._supervisor.settings.preflight_timeout
        while clock() < deadline:
            await asyncio.sleep(_LOOK)
            if loop.state.asked is None and not _on_its_way(loop.state):
                break
        swapped = loop.swaps > before
        failure = None if swapped else loop.last_failure
        return self._supervisor.status() | {"swapped": swapped, "failure": failure}

    async def _restart(self) -> dict[str, Any]:
        """A fresh supervisor in place of this one; where that cannot be, a fresh CCR."""
        supervisor = self._supervisor
        if not (POSSIBLE and supervisor.command):
            settings = supervisor.reload()
            supervisor.load()  # what cannot be used is said here and now
            await self._apply(settings)
            return await self._renew() if supervisor.reread() else supervisor.status()
        command = tuple(supervisor.command)
        supervisor.succession = supervisor.succession or Takeover(
            # In the foreground whoever ends this process, however, means what it waits for.
            command if supervisor.detached else with_parent_death_signal(command, signal.SIGTERM),
            # Not supervisor.environ: what keys.env added to it is read again.
            {**os.environ, **({DETACHED: "1"} if supervisor.detached else {})},
            supervisor.settings,
            supervisor.backends,
            supervisor.proxy,
            supervisor.control,
            supervisor.lock,
        )
        status = await supervisor.succession.run(supervisor.address, supervisor.listener)
        successor = status["supervisor"]["pid"]
        supervisor.journal.write("restarted", supervisor=successor, asked=True)
        supervisor.loop.post(e.StopAsked())
        return status

    async def _apply(self, settings: Settings) -> None:
        """Go on with other settings."""
        supervisor = self._supervisor
        backends, proxy, loop = supervisor.backends, supervisor.proxy, supervisor.loop
        packages = supervisor.packages(settings)
        await packages.now()  # what cannot be had is said here and now
        backends.packages = packages
        supervisor.settings = backends.settings = settings
        proxy.set_limits(hold_timeout=settings.hold_timeout, carry_limit=settings.carry_limit)
        loop.state = replace(loop.state, settings=settings)

    async def _renew(self) -> dict[str, Any]:
        """A new CCR of the same configuration in place of the old one, unnoticed."""
        supervisor = self._supervisor
        if backend := await supervisor.backends.renew():
            supervisor.journal.write("restarted", pid=backend.pid, asked=True)
            if supervisor.loop.state.phase is not Phase.SWAPPING:
                supervisor.loop.post(e.BackendReady())
        return supervisor.status()

    async def _renew_quietly(self) -> None:
        with contextlib.suppress(SynccrError):
            await self._renew()
