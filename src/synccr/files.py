"""Files that are whole or not there, private, and never somebody else's behind a link."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import stat
import sys
import tempfile
from pathlib import Path

_REMAINS = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")
_YOUNG = 60.0


def private_directory(path: Path) -> Path:
    """Make ``path`` with mode 0700, and so what is missing above it; existing ones keep theirs."""
    missing = itertools.takewhile(lambda place: not place.exists(), path.parents)
    for place in (*reversed(tuple(missing)), path):
        place.mkdir(mode=0o700, exist_ok=True)
    return path


def own_directory(path: Path) -> Path:
    """Make ``path`` a directory of this user's that nobody else can enter.

    Raises:
        OSError: it cannot be made, or is a link or somebody else's.
    """
    private_directory(path)
    if sys.platform != "win32":
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "it is a link or somebody else's", str(path))
        if found.st_mode & 0o077:
            path.chmod(0o700)
    return path


def close_to_writers(path: Path) -> None:
    """Let nobody else write into a directory of this user's; who may read it stays."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            found = path.stat()
            if found.st_uid == os.getuid() and found.st_mode & 0o022:
                path.chmod(stat.S_IMODE(found.st_mode) & ~0o022)


def open_to_append(path: Path) -> int:
    """A descriptor to append to ``path``, made with mode 0600 when it is not there.

    Anything but a plain file with this one name, such as a link to another
    file, is taken away first, and what it led to is not touched.

    Raises:
        OSError: it cannot be had.
    """
    private_directory(path.parent)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    if sys.platform != "win32":
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            path.unlink()
    return os.open(path, flags, 0o600)


def write_atomic(
    path: Path, data: bytes, *, mode: int = 0o600, follow: bool = False, durable: bool = True
) -> None:
    """Replace ``path`` by ``data`` so that a reader sees the old file or the new one, whole.

    The data is on the disk before the name is; the disk is not waited for when it
    need not be ``durable``, since nobody reads it after a power failure. A symbolic
    link at ``path`` is replaced, and what it leads to is not touched; with
    ``follow`` the file it leads to is replaced instead, for people who keep their
    dotfiles elsewhere, provided that link and file are theirs.

    Raises:
        OSError: nothing was changed.
    """
    target = path.resolve() if follow and _own_link(path) else path
    private_directory(target.parent)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if sys.platform != "win32":
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    if durable:
        _sync_directory(target.parent)


def sweep(directory: Path, now: float) -> None:
    """Remove what a kill in the middle of ``write_atomic`` left, so that no copy of a
    configuration stays behind.

    Args:
        directory: whose files were written.
        now: seconds since the epoch; what is younger than a minute may still be written.
    """
    for path in directory.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            ours = stat.S_ISREG(found.st_mode) and _REMAINS.fullmatch(path.name)
            if ours and now - found.st_mtime > _YOUNG:
                path.unlink()


def _own_link(path: Path) -> bool:
    """Whether this is a link that this user made, in a place where only they can, to a file
    of theirs."""
    try:
        link, place, file = path.lstat(), path.parent.stat(), path.stat()
    except OSError:
        return False
    if not (stat.S_ISLNK(link.st_mode) and stat.S_ISREG(file.st_mode)):
        return False
    if sys.platform == "win32":
        return True
    mine = os.getuid()
    return link.st_uid == file.st_uid == mine and not place.st_mode & 0o022


def _sync_directory(path: Path) -> None:
    """Make a rename durable; not every platform or file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
