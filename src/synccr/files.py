"""Files that are whole or not there: atomic writes with the right mode."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path


def private_directory(path: Path) -> Path:
    """Make ``path`` (and its parents) with mode 0700; existing ones keep theirs."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data`` so that a reader sees the old file or the new one, whole.

    The data is on the disk before the name is; a symbolic link at ``path`` is
    followed once, so that people who keep dotfiles elsewhere keep their link.

    Raises:
        OSError: nothing was changed.
    """
    target = path.resolve() if path.is_symlink() else path
    private_directory(target.parent)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if sys.platform != "win32":
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    _sync_directory(target.parent)


def _sync_directory(path: Path) -> None:
    """Make a rename durable; not every platform or file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
