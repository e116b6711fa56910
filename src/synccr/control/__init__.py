"""How other commands talk to a running supervisor.

One request a connection::

    client:  {"v": 1, "do": "status", "args": {}}\\n        at most 64 KiB
    server:  {"v": 1, "ok": true, "result": ...}\\n
             {"v": 1, "ok": false, "what": "...", "todo": "...", "exit_code": 1}\\n

On POSIX a Unix socket in a directory of mode 0700 that only this user can
enter; on Windows a loopback port with a random token, both in a file of mode
0600. Where the system tells who the peer
is, another user is turned away. A client that is slow, silent, does not read or
sends anything else is cut off after ``PATIENCE`` seconds; of more than
``MOST_CLIENTS`` that have sent nothing yet, the oldest goes first, so that a flood
of silent connections keeps nobody out.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synccr.errors import NoAnswer, NotRunning, SynccrError

VERSION = 1
LARGEST_REQUEST = 64 * 1024
LARGEST_ANSWER = 8 * 1024 * 1024
PATIENCE = 5.0
MOST_CLIENTS = 128
_LONGEST_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux, 104 on macOS


def new_socket_path(instance: Path) -> Path:
    """Where a socket is to be: in the instance directory, or when that path is too
    long for a socket, in a private directory below the temporary one."""
    path = instance / "control.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    import tempfile

    name = Path(f"synccr-{user_id()}", f"{instance.name}.sock")
    path = tempfile.gettempdir() / name
    return path if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH else Path("/tmp") / name  # noqa: S108  # the directory in it is checked to be ours


def socket_path(instance: Path) -> Path:
    """Where the socket of a running supervisor is.

    Raises:
        FileNotFoundError: it is not in the instance directory, and no note says where:
            the two ends need not agree on ``TMPDIR``.
    """
    path = instance / "control.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    return Path(str(_note(instance)["path"]))


def note_path(instance: Path) -> Path:
    """The note that says where the supervisor listens, when that is not in the socket's
    usual place."""
    return instance / "control.json"


def _note(instance: Path) -> dict[str, Any]:
    try:
        note = json.loads(note_path(instance).read_bytes())
    except ValueError:
        note = None
    if not isinstance(note, dict) or not note.keys() & {"path", "port"}:
        raise FileNotFoundError(f"{note_path(instance)} says no address")
    return note


def user_id() -> int:
    """Whose the socket's directory must be; Windows has no such number."""
    if sys.platform == "win32":
        return 0
    else:
        return os.getuid()


def request(instance: Path, verb: str, *, timeout: float = 10.0, **args: Any) -> Any:
    """Ask the supervisor and return its result. Plain sockets: this is what ``status`` waits for.

    Raises:
        NotRunning: nobody listens.
        NoAnswer: the supervisor did not answer in ``timeout`` seconds.
        SynccrError: it refused, or nobody may ask it.
    """
    try:
        with _connect(instance, timeout) as (connection, token):
            message = {"v": VERSION, "do": verb, "args": args, "token": token}
            connection.sendall(json.dumps(message).encode() + b"\n")
            answer = _read_line(connection)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise NotRunning() from error
    except PermissionError as error:
        raise SynccrError(
            f"{instance} cannot be entered, so it is not known whether synccr runs.",
            "Check who owns it and the directories above it, and what their modes are.",
        ) from error
    except OSError as error:
        raise NoAnswer(
            f"The supervisor does not answer ({error}).",
            "If it is suspended (Ctrl-Z), resume it; else end it: synccr stop",
        ) from error
    if answer.get("ok"):
        return answer.get("result")
    refusal = SynccrError(str(answer.get("what", "Refused.")), str(answer.get("todo", "")))
    refusal.exit_code = int(answer.get("exit_code", 1))  # type: ignore[misc]  # the server's word
    raise refusal


@contextlib.contextmanager
def _connect(instance: Path, timeout: float) -> Iterator[tuple[socket.socket, str]]:
    if sys.platform == "win32":
        address = _note(instance)
        connection = socket.create_connection(("127.0.0.1", int(address["port"])), timeout)
        token = str(address.get("token"))
    else:
        path, token = socket_path(instance), ""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            _reach(connection, path, time.monotonic() + timeout)
        except OSError:
            connection.close()
            raise
    with connection:
        yield connection, token


def _reach(connection: socket.socket, path: Path, deadline: float) -> None:
    """Connect; a full queue of a Unix socket answers "try again" instead of waiting."""
    while True:
        try:
            return connection.connect(str(path))
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError("its queue is full") from None
            time.sleep(0.02)


def _read_line(connection: socket.socket) -> dict[str, Any]:
    chunks, size = [], 0
    while size < LARGEST_ANSWER:
        chunk = connection.recv(65536)
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
        if chunk.endswith(b"\n"):
            break
    try:
        answer = json.loads(b"".join(chunks))
    except ValueError as error:
        raise ConnectionError("no whole answer") from error
    return answer if isinstance(answer, dict) else {}
