"""Homes in which the real CCR 3 has run, and databases such as it writes."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import zipfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from ccr3_capture import DATA, HOME, ORIGIN, PORT
from synccr.config.ccr3.database import DATABASE

_TABLES = """
CREATE TABLE app_config (
    key TEXT PRIMARY KEY, value_json TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL DEFAULT '', encrypted_key TEXT NOT NULL,
    encryption TEXT NOT NULL DEFAULT 'plain', created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL DEFAULT '', limits_json TEXT NOT NULL DEFAULT ''
);
CREATE TABLE legacy_storage_backups (
    id TEXT PRIMARY KEY, source_path TEXT NOT NULL, source_kind TEXT NOT NULL,
    sha256 TEXT NOT NULL, content BLOB NOT NULL, archived_at TEXT NOT NULL
);
"""
"""As 3.1.1 makes them."""
_KIND = "legacy-json-config"


def lay_out(home: Path, name: str, *, origin: str = ORIGIN, port: int = PORT) -> Path:
    """A home as the real CCR 3 left it; ``native`` or ``upgraded``.

    Args:
        origin: where its providers are.
        port: its public one.

    Returns:
        CCR's directory.
    """
    words = {ORIGIN: origin, str(PORT): str(port), HOME: str(home)}
    with zipfile.ZipFile(DATA / f"ccr3-{name}.zip") as archive:
        archive.extractall(home)
    for path in [home / ".claude", home / ".claude-code-router"]:
        for each in [path, *path.rglob("*")]:
            each.chmod(0o700 if each.is_dir() or each.parent.name == "bin" else 0o600)
            if each.is_file() and not each.name.startswith(DATABASE):
                each.write_text(_with(each.read_text(), words))
    own = home / ".claude-code-router"
    if (origin, port) != (ORIGIN, PORT):
        _rewrite(own, words)
    return own


def _rewrite(directory: Path, words: Mapping[str, str]) -> None:
    """Other words in the database, which stays as CCR 3 leaves it: nearly all in ``-wal``."""
    beside = directory.with_name("beside")
    beside.mkdir()
    parts = (DATABASE, f"{DATABASE}-wal")
    for part in parts:
        shutil.copyfile(directory / part, beside / part)
    with closing(sqlite3.connect(beside / DATABASE)) as database:
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.create_function("anew", 1, lambda found: _anew(found, words))
        database.execute("UPDATE app_config SET value_json = anew(value_json)")
        database.execute("UPDATE legacy_storage_backups SET content = anew(content)")
        database.commit()
        for part in parts:  # before the end, which would move everything into the file itself
            (directory / part).write_bytes((beside / part).read_bytes())
    shutil.rmtree(beside)


def _anew(found: str | bytes, words: Mapping[str, str]) -> str | bytes:
    return (
        _with(found.decode(), words).encode() if isinstance(found, bytes) else _with(found, words)
    )


def _with(text: str, words: Mapping[str, str]) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text


def write_database(
    directory: Path,
    document: object,
    *,
    keys: Mapping[str, str] | None = None,
    imported: tuple[bytes, ...] = (),
) -> sqlite3.Connection:
    """A database as CCR 3 writes it, open and with all of it in ``-wal``, as while it runs.

    Args:
        document: of ``app_config``.
        keys: of the port, by id.
        imported: each ``config.json`` that it took over, the oldest first.
    """
    directory.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(directory / DATABASE)
    database.execute("PRAGMA journal_mode = wal")
    database.executescript(_TABLES)
    text = document if isinstance(document, str) else json.dumps(document)
    database.execute("INSERT INTO app_config VALUES ('default', ?, '')", (text,))
    for key, value in (keys or {}).items():
        columns = "id, name, encrypted_key, created_at"
        row = (key, f"name of {key}", value)
        database.execute(f"INSERT INTO api_keys ({columns}) VALUES (?, ?, ?, '')", row)  # noqa: S608
    for number, content in enumerate(imported):
        backup = (str(number), "config.json", _KIND, str(number), content, str(number))
        database.execute("INSERT INTO legacy_storage_backups VALUES (?, ?, ?, ?, ?, ?)", backup)
    database.commit()
    return database


def checksums(directory: Path) -> dict[str, str]:
    """Of every file in it, and of what its directories are called."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "directory"
        for path in sorted(directory.rglob("*"))
    }
