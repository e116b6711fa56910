"""A log file, followed by its name through everything that can happen to it.

CCR rotates once a day: the content moves to another name and the *old* name goes
on with a new file, whose inode number may be one that was used before. A file is
therefore held open as long as it may be written to: an open file's inode is
given to nobody else, and what was written to it last is still read.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Self

CHUNK = 1024 * 1024
LONGEST = 1024 * 1024
_FINGERPRINT = 64


class _File:
    """One open file: where we are in it, and the line that is not finished yet."""

    def __init__(self, file: FileIO, offset: int) -> None:
        self.file = file
        self.partial = b""
        self.skipping = False
        self.offset = offset
        self._before = self._look_back()

    def identity(self) -> tuple[int, int]:
        stat = os.fstat(self.file.fileno())
        return stat.st_dev, stat.st_ino

    def read(self) -> bytes:
        """The next part, empty at the end; from the start again when it was cut."""
        size = os.fstat(self.file.fileno()).st_size
        if size == self.offset:
            return b""
        if size < self.offset or self._look_back() != self._before:
            self.offset, self.partial, self.skipping = 0, b"", False
        self.file.seek(self.offset)
        data = self.file.read(CHUNK)
        self.offset += len(data)
        self._before = (self._before + data[-_FINGERPRINT:])[-_FINGERPRINT:]
        return data

    def cut(self, keep: int) -> None:
        """Drop what has been read but its last ``keep`` bytes, from a line's begin on.

        The writer appends, so it goes on behind what was kept. Nothing may be
        written meanwhile.

        Raises:
            OSError: it cannot be written; nothing was cut.
        """
        with FileIO(self.file.name, "r+") as file:
            if not os.path.samestat(os.fstat(file.fileno()), os.fstat(self.file.fileno())):
                return
            if os.fstat(file.fileno()).st_size != self.offset:
                return
            file.seek(max(0, self.offset - keep))
            tail = file.read(keep).partition(b"\n")[2] if self.offset > keep else file.read(keep)
            file.truncate(0)
            file.seek(0)
            file.write(tail)
        self.offset = len(tail)
        self._before = self._look_back()

    def _look_back(self) -> bytes:
        """The bytes before our place: others stand there when it was cut and written anew."""
        start = max(0, self.offset - _FINGERPRINT)
        self.file.seek(start)
        return self.file.read(self.offset - start)


@dataclass
class Counts:
    """What was seen: ``lines`` handed out, lines ``too_long`` to be kept, ``files`` opened."""

    lines: int = 0
    too_long: int = 0
    files: int = 0


class LogFollower:
    """Reads a log as it grows; opens, reads and looks at files, and nothing else.

    Args:
        path: the log's name; it need not exist yet.
        prefixes: only lines that begin like this are handed out.
        at_end: begin with what is written from now on.
    """

    def __init__(self, path: Path, prefixes: tuple[bytes, ...], *, at_end: bool = False) -> None:
        self.path = path
        self.counts = Counts()
        self._prefixes = prefixes
        # One search finds them all: 2 GB/s, where splitting into lines first takes five times that.
        self._begins = re.compile(b"\n(?:%b)" % b"|".join(map(re.escape, prefixes)))
        self._current: _File | None = None
        # CCR keeps writing to a file that somebody else has moved away.
        self._former: _File | None = None
        self._open(at_end=at_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        for held in (self._former, self._current):
            if held:
                held.file.close()
        self._former = self._current = None

    def poll(self) -> tuple[list[bytes], bool]:
        """Read at most 1 MiB from each file.

        Returns:
            the finished lines that begin as asked, without their line breaks; and
            whether there is more to read at once.
        """
        lines: list[bytes] = []
        # First whether there is a new file, then the old one: nothing is missed between.
        replaced = self._replaced()
        more = False
        for held in (self._former, self._current):
            if held and (data := self._read(held)):
                lines += self._lines(held, data)
                more = more or len(data) == CHUNK
        if replaced and not more:
            self._open(at_end=False)
            more = True
        self.counts.lines += len(lines)
        return lines, more

    @property
    def size(self) -> int:
        """Bytes of the file that the name means, as far as they were read."""
        return self._current.offset if self._current else 0

    def cut(self, keep: int) -> None:
        """Drop what was read of the file that the name means, but its last ``keep`` bytes.

        Call it when everything was read and nobody writes: what is written in
        between would be lost.
        """
        if self._current and not self._replaced():
            with contextlib.suppress(OSError):
                self._current.cut(keep)

    def _replaced(self) -> bool:
        """Whether the name now means another file than the one we hold."""
        try:
            stat = self.path.stat()
        except OSError:
            return False  # between the two steps of a rotation, or deleted: ours is still read
        return self._current is None or (stat.st_dev, stat.st_ino) != self._current.identity()

    def _open(self, *, at_end: bool) -> None:
        try:
            file = FileIO(self.path)  # unbuffered: a buffer would show what was there before
        except OSError:
            return
        if self._former:
            self._former.file.close()
        self._former = self._current
        self._current = _File(file, os.fstat(file.fileno()).st_size if at_end else 0)
        self.counts.files += 1

    def _read(self, held: _File) -> bytes:
        with contextlib.suppress(OSError):
            return held.read()
        return b""

    def _lines(self, held: _File, data: bytes) -> list[bytes]:
        """Finished lines; one that grows beyond 1 MiB is passed over to its end."""
        begin = 0
        if held.skipping:
            begin = data.find(b"\n") + 1
            if not begin:
                return []
            held.skipping = False
        lines: list[bytes] = []
        first = data.find(b"\n", begin)
        if first >= 0:
            whole = held.partial + data[begin:first]
            held.partial = b""
            if whole.startswith(self._prefixes):
                lines.append(whole)
            last = data.rfind(b"\n")
            for found in self._begins.finditer(data, first, last):
                start = found.start() + 1
                lines.append(data[start : data.index(b"\n", start)])
            begin = last + 1
        held.partial += data[begin:]
        if len(held.partial) > LONGEST:
            held.partial, held.skipping = b"", True
            self.counts.too_long += 1
        return lines
