"""The supervisor's end of the control channel; see :mod:`synccr.control`."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from synccr.control import (
    LARGEST_REQUEST,
    MOST_CLIENTS,
    PATIENCE,
    VERSION,
    socket_path,
)
from synccr.errors import SynccrError
from synccr.files import own_directory, write_atomic

Handler = Callable[[str, dict[str, Any]], Awaitable[Any]]


class ControlServer:
    """Answers requests with ``handler``, which may raise ``SynccrError``."""

    def __init__(self, instance: Path, handler: Handler) -> None:
        self._instance = instance
        self._handler = handler
        self._clients: set[asyncio.Task[None]] = set()
        self._token = ""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. The address is replaced in one step: who asks meanwhile asks the former
        server, so the caller holds the instance's lock, or is about to leave it."""
        own_directory(self._instance)
        if sys.platform == "win32":
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", 0, limit=LARGEST_REQUEST
            )
            self._token = secrets.token_hex(16)
            port = self._server.sockets[0].getsockname()[1]
            document = json.dumps({"port": port, "token": self._token})
            write_atomic(self._instance / "control.json", document.encode())
        else:
            path = socket_path(self._instance)
            own_directory(path.parent)
            fresh = path.with_suffix(".new")
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
            self._server = await asyncio.start_unix_server(
                self._serve, fresh, limit=LARGEST_REQUEST
            )
            fresh.chmod(0o600)
            fresh.replace(path)

    async def close(self) -> None:
        """Stop listening, remove the address, and leave what is being done for a client."""
        if self._server is not None:
            for path in (socket_path(self._instance), self._instance / "control.json"):
                with contextlib.suppress(OSError):
                    path.unlink()
        self.withdraw()
        for client in tuple(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def withdraw(self) -> None:
        """Stop listening; the address is somebody else's. Those who have come are answered."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # asyncio runs this in one
        self._clients.add(task)
        try:
            if len(self._clients) <= MOST_CLIENTS:
                async with asyncio.timeout(PATIENCE):
                    line = await reader.readuntil(b"\n")
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                async with asyncio.timeout(PATIENCE):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client's loss
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            verb, args = str(request["do"]), dict(request.get("args") or {})
            version, token = request.get("v"), str(request.get("token", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return _refusal("That was no request.", "")
        if version != VERSION:
            return _refusal(
                f"The supervisor speaks version {VERSION}, the command version {version}.",
                "Run: synccr restart",
            )
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return _refusal("Wrong token.", "")
        try:
            return {"v": VERSION, "ok": True, "result": await self._handler(verb, args)}
        except SynccrError as error:
            return _refusal(error.what, error.todo, error.exit_code)


def _refusal(what: str, todo: str, exit_code: int = 1) -> dict[str, Any]:
    return {"v": VERSION, "ok": False, "what": what, "todo": todo, "exit_code": exit_code}
