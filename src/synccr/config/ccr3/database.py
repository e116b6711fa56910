"""CCR 3's ``config.sqlite``, read from a copy; CCR 3 may run meanwhile.

SQLite writes beside a database that it only reads, so it is never opened where it lies. The copy
has ``-wal``, too: nearly all is there, even after CCR 3 has ended.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synccr.errors import ConfigError

if TYPE_CHECKING:
    import sqlite3

DATABASE = "config.sqlite"
_PARTS = ("", "-wal")
_LARGEST = 64 * 1024 * 1024
"""Bytes of each file; 3.1.1's have some hundred thousand."""
_TRIES = 8
_PAUSE = 0.05
_PLAIN = "plain"
_IMPORTED = "legacy-json-config"
_MOST_IMPORTS = 20


class Unreadable(ConfigError):
    """It is there, and is nothing that synccr can read."""


class Torn(ConfigError):
    """It changed whenever it was read."""


@dataclass(frozen=True)
class StoredKey:
    """A key of CCR 3's port.

    Attributes:
        id: CCR 3's own keys for the programs that it configures begin with ``profile:``.
        name: for people.
        value: None when it is stored in a way that cannot be read.
    """

    id: str
    name: str
    value: str | None = field(repr=False)


@dataclass(frozen=True)
class Stored:
    """What CCR 3 keeps.

    Attributes:
        document: its configuration.
        keys: of its port, in their order.
        imported: each ``config.json`` that it took over, byte for byte, the newest first.
    """

    document: dict[str, Any] = field(repr=False)
    keys: tuple[StoredKey, ...] = ()
    imported: tuple[bytes, ...] = field(default=(), repr=False)


def read_database(directory: Path) -> Stored | None:
    """What CCR 3 keeps in this directory, which stays as it is; None when it keeps nothing there.

    Raises:
        Unreadable, Torn: it is there, and cannot be read.
    """
    path = directory / DATABASE
    with tempfile.TemporaryDirectory(prefix="synccr-") as private:
        copy = Path(private, DATABASE)
        try:
            if not _copy(path, copy):
                return None
        except OSError as error:
            raise Unreadable(
                f"{path} cannot be read: {error.strerror or error}.", "Check its mode."
            ) from error
        return _read(copy, path)


def _copy(path: Path, copy: Path) -> bool:
    """Copy it as it was at one moment; False when it is not there."""
    for _ in range(_TRIES):
        before = _state(path)
        if before[0] is None:
            return False
        with contextlib.suppress(FileNotFoundError):  # then its state has changed, too
            for part, found in zip(_PARTS, before, strict=True):
                target = copy.with_name(DATABASE + part)
                target.unlink(missing_ok=True)
                if found is not None:
                    target.write_bytes(_content(path.with_name(DATABASE + part)))
        if _state(path) == before:
            return True
        time.sleep(_PAUSE)
    raise Torn(
        f"{path} changed each time that it was read: CCR 3 is writing it.",
        "Try again, or name a profile: --config FILE",
    )


def _state(path: Path) -> tuple[tuple[int, ...] | None, ...]:
    """What changes with the content of each file; None for one that is not there."""
    return tuple(map(_stamp, (path.with_name(DATABASE + part) for part in _PARTS)))


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _content(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for without end
        raise OSError(errno.EINVAL, "it is no file", str(path))
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def _read(copy: Path, path: Path) -> Stored:
    try:
        import sqlite3
    except ImportError as error:  # Python can be built without it
        raise Unreadable(
            f"{path} cannot be read, because this Python has no sqlite3.",
            "Use a Python that has it, or name a profile: --config FILE",
        ) from error
    try:
        with contextlib.closing(sqlite3.connect(copy)) as database:
            return Stored(_document(database), tuple(_keys(database)), tuple(_imported(database)))
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
        raise Unreadable(
            f"{path} is no configuration of CCR 3 that synccr can read ({error}).",
            "If you do not need it, move it away.",
        ) from error


def _document(database: sqlite3.Connection) -> dict[str, Any]:
    rows = database.execute("SELECT value_json FROM app_config WHERE key = 'default'").fetchall()
    if not rows:
        return {}
    found = json.loads(rows[0][0])
    if not isinstance(found, dict):
        raise ValueError("its document is no object")
    return found


def _keys(database: sqlite3.Connection) -> Iterator[StoredKey]:
    if not _has(database, "api_keys"):
        return
    columns = "id, name, encrypted_key, encryption"
    for row in database.execute(f"SELECT {columns} FROM api_keys ORDER BY rowid"):  # noqa: S608
        key, name, value, how = (part if isinstance(part, str) else "" for part in row)
        yield StoredKey(key, name, value.strip() if how == _PLAIN else None)


def _imported(database: sqlite3.Connection) -> Iterator[bytes]:
    if not _has(database, "legacy_storage_backups"):
        return
    query = (
        "SELECT content FROM legacy_storage_backups WHERE source_kind = ? "
        "ORDER BY archived_at DESC LIMIT ?"
    )
    for (content,) in database.execute(query, (_IMPORTED, _MOST_IMPORTS)):
        if isinstance(content, bytes | str):
            yield content if isinstance(content, bytes) else content.encode()


def _has(database: sqlite3.Connection, table: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return database.execute(query, (table,)).fetchone() is not None
