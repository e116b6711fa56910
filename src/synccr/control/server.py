"""The supervisor's end of the control channel; see :mod:`synccr.control`."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from synccr.control import (
    LARGEST_REQUEST,
    MOST_CLIENTS,
    PATIENCE,
    VERSION,
    new_socket_path,
    note_path,
    user_id,
)
from synccr.errors import SynccrError
from synccr.files import own_directory, write_atomic

_LAST_MOMENT = 1.0
_ALWAYS = frozenset({"restart", "stop"})
"""What commands of every version may ask for: it is how another version takes over."""

Handler = Callable[[str, dict[str, Any]], Awaitable[Any]]


class ControlServer:
    """Answers requests with ``handler``, which may raise ``SynccrError``."""

    def __init__(self, instance: Path, handler: Handler) -> None:
        self._instance = instance
        self._handler = handler
        self._silent: dict[asyncio.StreamWriter, None] = {}  # in the order of their coming
        self._serving: set[asyncio.Task[Any]] = set()
        self._busy = 0
        self._token = ""
        self._server: asyncio.Server | None = None
        self._files: list[Path] = []

    async def start(self) -> None:
        """Listen. The address is replaced in one step: who asks meanwhile asks the former
        server, so the caller holds the instance's lock, or is about to leave it."""
        own_directory(self._instance)
        note = note_path(self._instance)
        if sys.platform == "win32":
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", 0, limit=LARGEST_REQUEST
            )
            self._token = secrets.token_hex(16)
            port = self._server.sockets[0].getsockname()[1]
            write_atomic(note, json.dumps({"port": port, "token": self._token}).encode())
            self._files = [note]
        else:
            path = new_socket_path(self._instance)
            own_directory(path.parent)
            fresh = path.with_suffix(".new")
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
            self._server = await asyncio.start_unix_server(
                self._serve, fresh, limit=LARGEST_REQUEST, backlog=MOST_CLIENTS // 2
            )
            fresh.chmod(0o600)
            fresh.replace(path)
            self._files = [path]
            if path.parent != self._instance:
                write_atomic(note, json.dumps({"path": str(path)}).encode())
                self._files.append(note)

    async def close(self) -> None:
        """Stop listening, remove the address; answers under way get a moment."""
        if self._server is not None:
            for path in self._files:
                with contextlib.suppress(OSError):
                    path.unlink()
        self.withdraw()
        for writer in tuple(self._silent):
            writer.transport.abort()
        if self._serving:
            _, late = await asyncio.wait(self._serving, timeout=_LAST_MOMENT)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def withdraw(self) -> None:
        """Stop listening; the address is somebody else's. Those who have come are answered."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # we run in one
        self._serving.add(task)
        try:
            if not _is_ours(writer.get_extra_info("socket")):
                return
            line = await self._request(reader, writer)
            writer.transport.set_write_buffer_limits(high=0)  # drained: all is in the kernel
            writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
            async with asyncio.timeout(PATIENCE):
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client's loss
        except asyncio.CancelledError:
            pass  # by close, and nobody waits for this task but close
        finally:
            self._serving.discard(task)
            # Closing would wait for a peer that never reads.
            writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """One line, within ``PATIENCE``; the client that has been silent longest makes room."""
        self._silent[writer] = None
        if len(self._silent) > MOST_CLIENTS:
            oldest = next(iter(self._silent))
            del self._silent[oldest]
            oldest.transport.abort()
        try:
            async with asyncio.timeout(PATIENCE):
                return await reader.readuntil(b"\n")
        finally:
            self._silent.pop(writer, None)

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            verb, args = str(request["do"]), dict(request.get("args") or {})
            version, token = request.get("v"), str(request.get("token", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return _refusal("That was no request.", "")
        if version != VERSION and verb not in _ALWAYS:
            return _refusal(
                f"The supervisor speaks version {VERSION}, the command version {version}.",
                "Run: synccr restart",
            )
        if not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._token.encode()):
            return _refusal("Wrong token.", "")
        if self._busy >= MOST_CLIENTS:
            return _refusal("The supervisor has too much to do at once.", "Try again.")
        self._busy += 1
        try:
            return {"v": VERSION, "ok": True, "result": await self._handler(verb, args)}
        except SynccrError as error:
            return _refusal(error.what, error.todo, error.exit_code)
        except Exception as error:  # noqa: BLE001  # a request must not go without an answer
            return _refusal(
                f"The supervisor could not do it ({type(error).__name__}: {error}).",
                "See: synccr events",
            )
        finally:
            self._busy -= 1


def _refusal(what: str, todo: str, exit_code: int = 1) -> dict[str, Any]:
    return {"v": VERSION, "ok": False, "what": what, "todo": todo, "exit_code": exit_code}


def _is_ours(connection: socket.socket) -> bool:
    """Whether the peer is this user, where the system tells; else the directory's mode and
    the token must do."""
    try:
        if sys.platform == "linux":  # struct ucred: pid, uid, gid
            size = struct.calcsize("3i")
            found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            return int(struct.unpack("3i", found)[1]) == user_id()
        if sys.platform == "darwin":  # LOCAL_PEERCRED of SOL_LOCAL, struct xucred: version, uid
            return int(struct.unpack("2I", connection.getsockopt(0, 1, 76)[:8])[1]) == user_id()
    except (OSError, struct.error):
        return False
    return True
