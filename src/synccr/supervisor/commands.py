"""What is asked of a supervisor: over the control channel, on CCR's own page, by signals."""

from __future__ import annotations

import json
import os
import signal
from abc import ABC, abstractmethod
from typing import Any, cast

from synccr.config.profile import Role, interpolate
from synccr.errors import SynccrError, UsageError
from synccr.proxy import Request, Response, error
from synccr.supervisor.parts import Parts
from synccr.supervisor.public_port import page_refusal
from synccr.supervisor.status import starting

_UNKNOWN_DAY = "1970-01-01T00:00:00Z"
"""When a model was made; Anthropic's form has to have it."""


class TooEarly(SynccrError):
    """There is no CCR yet."""

    def __init__(self) -> None:
        super().__init__("synccr is still starting.", "Try again once it is: synccr status")


class Stage(ABC):
    """One stage of a supervisor's life, as those outside see it.

    What needs a CCR is refused as long as a stage does not say how it is done.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def answer(self, verb: str, args: dict[str, Any]) -> Any:
        """Carry out a verb of the control channel.

        Raises:
            UsageError: there is no such verb, or it cannot be asked like this.
            SynccrError: it could not be done.
        """
        match verb:
            case "status":
                return self.status()
            case "client":
                return {"status": self.status(), "token": self.filled_in(self.api_key)}
            case "trace":
                return self.parts.tracing.answer(args)
            case "stop":
                if not self.stop():
                    os.kill(os.getpid(), signal.SIGTERM)
                return {"pid": os.getpid()}
            case "swap":
                return await self.swap(_role(args))
            case "restart":
                return await self.restart()
        raise UsageError(f"The supervisor does not know {verb!r}.")

    async def restart_from_page(self, request: Request) -> Response:
        """CCR's page asks for a restart after saving: what was saved is applied by a swap."""
        if refused := self._refused(request):
            return refused
        try:
            self.renew_soon()
        except TooEarly as early:
            return error(503, early.what, retry_after=2)
        return Response(200, b'{"success": true, "message": "Service restart initiated"}')

    async def list_models(self, request: Request) -> Response:
        """A client asks what it can choose from: CCR 2 does not know, and CCR 3 names its own."""
        if refused := self._refused(request):
            return refused
        profiles = self.parts.config.profiles
        names = [
            *map(str, dict.fromkeys([*profiles.primary.models(), *profiles.fallback.models()]))
        ]
        rows = [
            {"type": "model", "id": name, "display_name": name, "created_at": _UNKNOWN_DAY}
            for name in names
        ]
        found = {"data": rows, "has_more": False, "first_id": names[0], "last_id": names[-1]}
        return Response(200, json.dumps(found).encode())

    def _refused(self, request: Request) -> Response | None:
        """How CCR would refuse it."""
        local = self.parts.config.profiles.local
        refusal = page_refusal(request.head, local.port, self.filled_in(local.api_key))
        return error(*refusal) if refusal else None

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """The contract's ``status --json``, and a little more."""

    @abstractmethod
    def stop(self) -> bool:
        """Begin to end; False when this stage can only be cancelled."""

    @property
    @abstractmethod
    def api_key(self) -> str | None:
        """What clients must show to CCR, as the profile has it; None when it takes anything."""

    async def swap(self, role: Role) -> dict[str, Any]:  # noqa: ARG002
        """Move to a profile.

        Returns:
            the status, whether a swap was done (``swapped``), and why one did not come up
            (``failure``).
        """
        raise TooEarly

    async def restart(self) -> dict[str, Any]:
        """Replace this supervisor by a fresh one; where that cannot be, CCR alone."""
        raise TooEarly

    def renew_soon(self) -> None:
        """Replace CCR by a fresh one, with what was saved."""
        raise TooEarly

    def forward(self, number: int) -> bool:  # noqa: ARG002
        """Whether a signal is for another supervisor; it is sent there."""
        return False

    def backend_lost(self) -> None:  # noqa: B027  # not every stage has one
        """The proxy has lost the CCR that serves."""

    def start_status(self) -> dict[str, Any]:
        """What can be told at once."""
        parts = self.parts
        supervisor = {"pid": os.getpid(), "started_at": parts.context.started_at}
        version = parts.packages(parts.config.settings).named
        return starting(parts.endpoint, version, supervisor)

    def origin_status(self) -> dict[str, Any]:
        """Where the configuration comes from, and the turns so far."""
        context, profiles = self.parts.context, self.parts.config.profiles
        local = profiles.local
        return {
            "options": {**context.given, "port": local.port, "log_level": local.log_level},
            "sources": {"primary": profiles.primary.source, "fallback": profiles.fallback.source},
            "turns": self.parts.tracing.log.document(),
        }

    def filled_in(self, key: str | None) -> str | None:
        """A key as CCR reads it, its variables replaced."""
        return interpolate(key, self.parts.context.environ) if key else None


def _role(args: dict[str, Any]) -> Role:
    role = args.get("profile")
    if role not in ("primary", "fallback"):
        raise UsageError("A swap goes to primary or to fallback.")
    return cast("Role", role)
