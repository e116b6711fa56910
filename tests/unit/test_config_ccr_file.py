"""Writing CCR's configuration: whole or not at all, and nobody's words are lost."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ccr_kit import make_paths
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synccr.config import ccr_file as module
from synccr.config.ccr_file import ConfigFile
from synccr.errors import SynccrError
from synccr.files import write_atomic
from synccr.paths import Paths

THEN = datetime(2026, 11, 24, 4, 30, tzinfo=UTC)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = make_paths(tmp_path)
    paths.ccr_config.unlink()
    return paths


@pytest.fixture
def config(paths: Paths) -> ConfigFile:
    return ConfigFile(paths, lambda: THEN)


def copies(paths: Paths) -> list[Path]:
    return sorted(paths.ccr.glob("*.saved"))


def test_first_write(config: ConfigFile) -> None:
    """Where nothing was, the file is written with mode 0600 and there is nothing to keep."""
    assert config.read() is None
    assert not config.changed_by_others()
    assert config.write({"A": "ü"}) is None
    assert config.path.read_text(encoding="utf-8") == '{\n  "A": "ü"\n}\n'
    assert config.path.stat().st_mode & 0o777 == 0o600
    assert not config.changed_by_others()


def test_a_persons_file_is_kept(config: ConfigFile, paths: Paths) -> None:
    """What a person wrote is copied, dated and 0600, under a name that CCR does not prune."""
    paths.ccr_config.write_text("// mine\n{}")
    assert config.changed_by_others()
    backup = config.write({})
    assert backup is not None
    assert backup.read_text() == "// mine\n{}"
    assert backup.name.startswith("config.json.20261124T043000Z.")
    assert not backup.name.endswith(".bak")
    assert backup.stat().st_mode & 0o777 == 0o600


def test_our_own_words_are_not_kept(config: ConfigFile, paths: Paths) -> None:
    """Writing over what we wrote ourselves, now or before, makes no copy."""
    config.write({"A": 1})
    first = config.path.read_bytes()
    assert config.write({"A": 2}) is None
    config.path.write_bytes(first)
    assert not config.changed_by_others()
    assert config.write({"A": 3}) is None
    assert copies(paths) == []


def test_same_content_writes_nothing(config: ConfigFile, paths: Paths) -> None:
    """The same configuration again touches nothing, except that a mode too wide is narrowed."""
    config.write({"A": 1})
    config.path.chmod(0o644)
    before = config.path.stat()
    assert config.write({"A": 1}) is None
    after = config.path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert after.st_mode & 0o777 == 0o600


def test_every_distinct_edit_is_kept_once(config: ConfigFile, paths: Paths) -> None:
    """All different edits of others survive, however many; the same one is kept once."""
    for number in (*range(6), 3, 3, 0):
        paths.ccr_config.write_text(f"edit {number}")
        config.write({})
    assert sorted(p.read_text() for p in copies(paths)) == [f"edit {n}" for n in range(6)]


def test_edit_equal_to_what_we_write(config: ConfigFile, paths: Paths) -> None:
    """A person who writes exactly what we would write has lost nothing."""
    paths.ccr_config.write_text('{\n  "A": 1\n}\n')
    assert config.write({"A": 1}) is None
    assert not config.changed_by_others()
    assert copies(paths) == []


def test_lost_record_makes_everything_foreign(config: ConfigFile, paths: Paths) -> None:
    """Without the record of what we wrote, the file counts as somebody's: a copy too many."""
    config.write({"A": 1})
    for content in ("", "{}", '["x", 1]', None):
        record = paths.instance / "config-written.json"
        record.unlink() if content is None else record.write_text(content)
        assert config.changed_by_others()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_transaction_restores(config: ConfigFile, paths: Paths, error: type[BaseException]) -> None:
    """Any exception, Ctrl-C included, brings the former content and mode back."""
    paths.ccr_config.write_text("mine")
    paths.ccr_config.chmod(0o640)
    with pytest.raises(error), config.transaction({"A": 1}) as backup:  # noqa: PT012
        assert json.loads(paths.ccr_config.read_text()) == {"A": 1}
        assert backup is not None
        raise error
    assert paths.ccr_config.read_text() == "mine"
    assert paths.ccr_config.stat().st_mode & 0o777 == 0o640
    assert config.changed_by_others()


def test_transaction_keeps(config: ConfigFile, paths: Paths) -> None:
    """A transaction that goes well leaves the new configuration."""
    paths.ccr_config.write_text("mine")
    with config.transaction({"A": 1}):
        pass
    assert json.loads(paths.ccr_config.read_text()) == {"A": 1}


def test_transaction_from_nothing(config: ConfigFile, paths: Paths) -> None:
    """Where there was no file, a failure leaves none."""
    with pytest.raises(RuntimeError), config.transaction({"A": 1}):
        raise RuntimeError
    assert not paths.ccr_config.exists()


def test_transaction_spares_an_edit_in_between(config: ConfigFile, paths: Paths) -> None:
    """What somebody wrote while the transaction ran is not overwritten by the way back."""
    config.write({"A": 1})
    with pytest.raises(RuntimeError), config.transaction({"A": 2}):  # noqa: PT012
        paths.ccr_config.write_text("theirs")
        raise RuntimeError
    assert paths.ccr_config.read_text() == "theirs"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("failing", range(3))
def test_disk_trouble_leaves_the_old_file(
    config: ConfigFile, paths: Paths, monkeypatch: pytest.MonkeyPatch, number: int, failing: int
) -> None:
    """A full or read-only disk at any of the writes is one sentence, and the old file stands."""
    paths.ccr_config.write_text("mine")
    real, calls = write_atomic, iter(range(10))

    def full(path: Path, data: bytes, *, mode: int = 0o600, follow: bool = False) -> None:
        if next(calls) == failing:
            raise OSError(number, os.strerror(number))
        real(path, data, mode=mode)

    monkeypatch.setattr(module, "write_atomic", full)
    with pytest.raises(SynccrError, match=os.strerror(number)) as caught:
        config.write({"A": 1})
    assert "former configuration is untouched" in caught.value.what
    assert caught.value.todo
    assert paths.ccr_config.read_text() == "mine"
    assert config.changed_by_others()


def test_unreadable_file(config: ConfigFile, paths: Paths) -> None:
    """A configuration that cannot be read is one sentence."""
    paths.ccr_config.mkdir()
    with pytest.raises(SynccrError, match="cannot be read"):
        config.read()


def test_dotfiles_link_is_kept(config: ConfigFile, paths: Paths, tmp_path: Path) -> None:
    """A link to a configuration in somebody's dotfiles stays a link."""
    target = tmp_path / "dotfiles.json"
    target.write_text('{"Providers": []}')
    paths.ccr_config.symlink_to(target)
    config.write({"A": 1})
    assert paths.ccr_config.is_symlink()
    assert json.loads(target.read_text()) == {"A": 1}


step = st.one_of(
    st.tuples(st.just("person"), st.integers(0, 4)),
    st.tuples(st.just("ours"), st.integers(0, 4)),
    st.tuples(st.just("fails"), st.integers(0, 4)),
)


@given(st.lists(step, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_words_are_lost(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, int]]
) -> None:
    """After any history, all of a person's words that we ever met are in a copy."""
    paths = make_paths(tmp_path_factory.mktemp("history"))
    paths.ccr_config.unlink()
    seconds = iter(range(10_000))
    config = ConfigFile(paths, lambda: THEN + timedelta(seconds=next(seconds)))
    met: set[str] = set()
    for kind, number in history:
        present = paths.ccr_config.read_text() if paths.ccr_config.exists() else ""
        if kind != "person" and present.startswith("person"):
            met.add(present)
        if kind == "person":
            paths.ccr_config.write_text(f"person {number}")
        elif kind == "ours":
            config.write({"A": number})
        else:
            before = config.read()
            with pytest.raises(RuntimeError), config.transaction({"A": number}):
                raise RuntimeError
            assert config.read() == before
    assert {path.read_text() for path in copies(paths)} == met
