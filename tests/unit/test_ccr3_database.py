"""CCR 3's database is read from a copy, whatever it holds and whoever writes it meanwhile."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ccr3_capture import NATIVE, UPGRADED
from ccr3_kit import checksums, lay_out, write_database
from synccr.config.ccr3 import database
from synccr.config.ccr3.database import DATABASE, Torn, Unreadable, read_database

SECRET = "key-that-nobody-sees-91c0"


@pytest.mark.parametrize(("name", "config"), [("native", NATIVE), ("upgraded", UPGRADED)])
def test_what_the_real_one_wrote(tmp_path: Path, name: str, config: dict[str, object]) -> None:
    """All of it is found, and nothing is changed, added or removed."""
    directory = lay_out(tmp_path, name)
    before = checksums(directory)
    stored = read_database(directory)
    assert stored
    assert {p["name"] for p in stored.document["Providers"]} >= {"acme", "anth"}
    assert stored.keys[0].value == config["APIKEY"]
    assert [key.id.partition(":")[0] for key in stored.keys] == ["key-1", "profile", "profile"]
    assert [json.loads(content) for content in stored.imported] == [config]
    assert checksums(directory) == before


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """It is read all the same."""
    directory = lay_out(tmp_path, "native")
    directory.chmod(0o500)
    try:
        assert read_database(directory)
    finally:
        directory.chmod(0o700)


def test_while_it_is_written(tmp_path: Path) -> None:
    """What was committed last is read while the writer goes on, and the writer sees nothing."""
    with closing(write_database(tmp_path, {"n": 0})) as writer:
        for number in range(1, 4):
            writer.execute("UPDATE app_config SET value_json = ?", (json.dumps({"n": number}),))
            writer.commit()
            before = checksums(tmp_path)
            stored = read_database(tmp_path)
            assert stored
            assert stored.document == {"n": number}
            assert checksums(tmp_path) == before
        assert (tmp_path / f"{DATABASE}-wal").stat().st_size > 0


def test_there_is_none(tmp_path: Path) -> None:
    assert read_database(tmp_path) is None
    (tmp_path / f"{DATABASE}-wal").write_bytes(b"x")
    assert read_database(tmp_path) is None
    assert read_database(tmp_path / "none") is None


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (name TEXT)")


def document(text: str) -> Callable[[Path], None]:
    return lambda path: write_database(path.parent, text).close()


def wal_is_gone(path: Path) -> None:
    lay_out(path.parent / "home", "native")
    path.write_bytes((path.parent / "home/.claude-code-router" / DATABASE).read_bytes())


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no database\n" * 1000),
        lambda path: path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000),
        lambda path: path.mkdir(),
        foreign,
        wal_is_gone,
        document("[]"),
        document(f'{{"api_key": "{SECRET}"'),
        document("[" * 100_000),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """One sentence says so; nothing of what it holds is shown."""
    make(tmp_path / DATABASE)
    with pytest.raises(Unreadable) as caught:
        read_database(tmp_path)
    assert str(tmp_path / DATABASE) in caught.value.what
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="no pipes with a name")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / DATABASE)
    with pytest.raises(Unreadable, match="it is no file"):
        read_database(tmp_path)


@pytest.mark.parametrize("part", ["", "-wal"])
def test_a_file_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    directory = lay_out(tmp_path, "native")
    size = (directory / f"{DATABASE}{part}").stat().st_size
    monkeypatch.setattr(database, "_LARGEST", size - 1)
    with pytest.raises(Unreadable, match="large"):
        read_database(directory)


@pytest.mark.parametrize("times", [0, 2, None])
def test_it_changes_while_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int | None
) -> None:
    """It is copied again, and what is read is whole; when that does not end, it is said."""
    read = database._content
    done = 0

    def reading(path: Path) -> bytes:
        nonlocal done
        content = read(path)
        if path.name == DATABASE and (times is None or done < times):
            done += 1
            writer.execute("UPDATE app_config SET value_json = ?", (json.dumps({"n": done}),))
            writer.commit()
        return content

    monkeypatch.setattr(database, "_content", reading)
    monkeypatch.setattr(database, "_PAUSE", 0)
    with closing(write_database(tmp_path, {"n": 0})) as writer:
        if times is None:
            with pytest.raises(Torn, match="CCR 3 is writing it"):
                read_database(tmp_path)
        else:
            stored = read_database(tmp_path)
            assert stored
            assert stored.document == {"n": times}


@pytest.mark.parametrize("after", [False, True])
def test_the_log_goes_away_while_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """SQLite removes it when the last writer ends; then all is in the file itself, and a copy of
    the log that was made before counts no more."""
    read = database._content
    writer = write_database(tmp_path, {"n": 1})

    def reading(path: Path) -> bytes:
        if path.name != DATABASE and not after:
            writer.close()
        content = read(path)
        if path.name != DATABASE:
            writer.execute("UPDATE app_config SET value_json = '{\"n\": 2}'")
            writer.commit()
            writer.close()
        return content

    monkeypatch.setattr(database, "_content", reading)
    stored = read_database(tmp_path)
    assert stored
    assert stored.document == {"n": 2 if after else 1}


def test_a_python_without_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = lay_out(tmp_path, "native")
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    with pytest.raises(Unreadable, match="this Python has no sqlite3"):
        read_database(directory)


def test_the_copy_is_for_nobody_else_and_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    read = database._read

    def looking(copy: Path, path: Path) -> database.Stored:
        seen.append((copy, copy.parent.stat().st_mode & 0o777))
        return read(copy, path)

    monkeypatch.setattr(database, "_read", looking)
    assert read_database(lay_out(tmp_path, "native"))
    ((copy, mode),) = seen
    assert tmp_path not in copy.parents
    assert os.name == "nt" or mode == 0o700
    assert not copy.parent.exists()


def test_a_key_that_is_stored_otherwise(tmp_path: Path) -> None:
    """Its value is nobody's; it is there."""
    with closing(write_database(tmp_path, {}, keys={"a": " one ", "b": "two"})) as writer:
        writer.execute("UPDATE api_keys SET encryption = 'safe' WHERE id = 'b'")
        writer.commit()
        stored = read_database(tmp_path)
    assert stored
    assert [(key.id, key.value) for key in stored.keys] == [("a", "one"), ("b", None)]
    assert "one" not in repr(stored)


def test_tables_of_an_earlier_version(tmp_path: Path) -> None:
    """Without those for keys and imports there is the document all the same."""
    with closing(sqlite3.connect(tmp_path / DATABASE)) as writer:
        writer.execute("CREATE TABLE app_config (key TEXT, value_json TEXT)")
        writer.execute("INSERT INTO app_config VALUES ('default', '{\"a\": 1}'), ('x', 'y')")
        writer.commit()
    stored = read_database(tmp_path)
    assert stored
    assert (stored.document, stored.keys, stored.imported) == ({"a": 1}, (), ())
