"""Files: what a kill leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from synccr.files import private_directory, sweep

NOW = 1_800_000_000.0
KILLED = """
import os, pathlib, sys
from synccr.files import write_atomic
pathlib.Path.replace = lambda *_: os._exit(9)
write_atomic(pathlib.Path(sys.argv[1]), b"secret")
"""


def aged(path: Path, seconds: float) -> Path:
    """With a time of change so long ago."""
    os.utime(path, (NOW - seconds,) * 2)
    return path


def test_remains_of_a_kill_are_swept(tmp_path: Path) -> None:
    """What was being written when the process was killed goes, once nobody can still be
    writing it; a person's files that look a little like it stay."""
    for name in ("config.json", "synccr.toml"):
        killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / name], check=False)
        assert killed.returncode == 9
    old, young = (aged(path, age) for path, age in zip(tmp_path.iterdir(), (61, 59), strict=True))
    theirs = [tmp_path / name for name in (".notes.tmp", "a.abcdefgh.tmp", ".a.ABCDEFGH.tmp")]
    for path in theirs:
        path.write_text("mine")
        aged(path, 9999)
    link = tmp_path / ".config.json.abcdefgh.tmp"
    link.symlink_to(theirs[0])
    sweep(tmp_path, NOW)
    assert not old.exists()
    assert all(path.exists() for path in (young, link, *theirs))


def test_nothing_to_sweep(tmp_path: Path) -> None:
    """A directory that is not there is as good as swept."""
    sweep(tmp_path / "none", NOW)


def test_directories_above_are_private_too(tmp_path: Path) -> None:
    """Under no umask at all every directory that is made is its owner's alone."""
    before = os.umask(0)
    try:
        private_directory(tmp_path / "config" / "synccr" / "deep")
    finally:
        os.umask(before)
    made = [tmp_path / name for name in ("config", "config/synccr", "config/synccr/deep")]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700] * 3
    private_directory(made[-1])
