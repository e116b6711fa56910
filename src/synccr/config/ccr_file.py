"""CCR's configuration file: written whole or not at all, and nobody's words are lost.

``ccr ui``, ``ccr model`` and people write the same file. Whatever they wrote
since our last write is kept beside it before it is replaced. CCR deletes all
but three of the files that begin with ``config.json`` and end with ``.bak``, so
ours end otherwise.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synccr.clock import utc_now
from synccr.errors import SynccrError
from synccr.files import write_atomic
from synccr.paths import Paths

_REMEMBERED = 32
_MODE = 0o600


@dataclass(frozen=True)
class ConfigFile:
    """``config.json`` in CCR's directory.

    Args:
        paths: where it is.
        clock: the time, for the names of copies.
    """

    paths: Paths
    clock: Callable[[], datetime] = field(default=utc_now, repr=False)

    @property
    def path(self) -> Path:
        """The file."""
        return self.paths.ccr_config

    def read(self) -> bytes | None:
        """Its content; None when there is none.

        Raises:
            SynccrError: it cannot be read.
        """
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SynccrError(
                f"{self.path} cannot be read: {error.strerror}.", "Check its permissions."
            ) from error

    def changed_by_others(self) -> bool:
        """Whether somebody else wrote what is there now; False when nothing is there."""
        content = self.read()
        return content is not None and not self.is_ours(content)

    def is_ours(self, content: bytes) -> bool:
        """Whether synccr wrote this once, or has taken it since."""
        return _digest(content) in self._ours()

    def write(self, config: Mapping[str, Any]) -> Path | None:
        """Replace the file; its mode becomes 0600.

        Args:
            config: the document; secrets in it are the caller's matter.

        Returns:
            where the words of somebody else were kept; None when there were none.

        Raises:
            SynccrError: the old file is untouched.
        """
        document = json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n"
        with self._explained():
            return self._replace(document)

    def take(self, content: bytes) -> bool:
        """What somebody wrote is known elsewhere now: no longer an edit. A copy is kept.

        Returns:
            False when by now something else stands in the file.
        """
        if self.read() != content:
            return False
        if not self.is_ours(content):
            self._keep(content)
            self._remember(content)
        return True

    @contextlib.contextmanager
    def transaction(self, config: Mapping[str, Any]) -> Iterator[Path | None]:
        """Write for as long as it goes well.

        On any exception, Ctrl-C included, the former content and mode come back,
        unless somebody else has written in between: then theirs stays.

        Raises:
            SynccrError: it could not be written; the block did not run.
        """
        before = self.read()
        mode = self.path.stat().st_mode & 0o777 if before is not None else _MODE
        backup = self.write(config)
        after = self.read()
        try:
            yield backup
        except BaseException:
            if after != before and self.read() == after:
                with self._explained():
                    if before is None:
                        self.path.unlink(missing_ok=True)
                    else:
                        write_atomic(self.path, before, mode=mode, follow=_named(before))
            raise

    def _replace(self, document: bytes) -> Path | None:
        former = self.read()
        if former == document:
            self._remember(document)
            if self.path.stat().st_mode & 0o077:
                self.path.chmod(_MODE)
            return None
        backup = None
        if former is not None and not self.is_ours(former):
            backup = self._keep(former)
        # Remembered first: a crash in between must not make our words look like a person's.
        self._remember(document)
        write_atomic(self.path, document, mode=_MODE, follow=_named(former))
        return backup

    def _keep(self, content: bytes) -> Path:
        """A copy of somebody's words, dated, one for each distinct content."""
        mark = _digest(content)[:12]
        for kept in sorted(self.paths.ccr.glob(f"config.json.*.{mark}.saved")):
            return kept
        stamp = self.clock().astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        backup = self.paths.ccr / f"config.json.{stamp}.{mark}.saved"
        write_atomic(backup, content, mode=_MODE)
        return backup

    @property
    def _record(self) -> Path:
        return self.paths.instance / "config-written.json"

    def _ours(self) -> list[str]:
        """sha256 of what we wrote, oldest first; none when that was lost."""
        try:
            known = json.loads(self._record.read_bytes())
        except (OSError, ValueError):
            return []
        return [entry for entry in known if isinstance(entry, str)] if type(known) is list else []

    def _remember(self, document: bytes) -> None:
        digest = _digest(document)
        known = self._ours()
        if known[-1:] != [digest]:
            known = [*(entry for entry in known if entry != digest), digest]
            write_atomic(self._record, json.dumps(known[-_REMEMBERED:]).encode())

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SynccrError(
                f"{self.path} could not be written ({error.strerror or error}); the former "
                "configuration is untouched.",
                "Free space on the disk, or make the directory writable, then try again.",
            ) from error


def _named(content: bytes | None) -> bool:
    """Whether a link leads to a CCR configuration kept elsewhere, and not to any other file."""
    return content is not None and b"Providers" in content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
