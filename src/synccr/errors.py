"""Every error that a person may see, with its exit code.

SynccrError                 1  the thing asked for failed
├── NoAnswer                1  a supervisor runs and does not answer
├── UsageError              2  a command line or setting that makes no sense
├── NotRunning              3  no supervisor runs for this CCR directory
├── ConfigError             4  a profile or CCR configuration cannot be used
├── NoModelServes           5  preflight found no model that can serve
├── RuntimeMissing          6  CCR or Node cannot be had
└── Taken                   7  the port or the lock belongs to another process

The numbers are those of the public contract. An error is two sentences: what
happened, and what to do about it.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class SynccrError(Exception):
    """Something a person can act on.

    Attributes:
        what: one sentence on what happened.
        todo: one sentence on what to do; empty when there is nothing to do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.what} {self.todo}".rstrip()


class NoAnswer(SynccrError):
    """A supervisor runs and does not answer."""


class UsageError(SynccrError):
    """A command line or a setting that makes no sense."""

    exit_code = 2


class NotRunning(SynccrError):
    """No supervisor runs for this CCR directory."""

    exit_code = 3

    def __init__(
        self, what: str = "synccr is not running.", todo: str = "Run: synccr start"
    ) -> None:
        super().__init__(what, todo)


class ConfigError(SynccrError):
    """A profile or a CCR configuration cannot be used."""

    exit_code = 4


class NoModelServes(SynccrError):
    """No configured model can serve."""

    exit_code = 5


class RuntimeMissing(SynccrError):
    """Claude Code Router or Node cannot be had."""

    exit_code = 6


class Taken(SynccrError):
    """The port or the lock belongs to another process."""

    exit_code = 7


_TODO = {
    errno.ENOSPC: "Free space on the disk, then try again.",
    errno.EDQUOT: "Free space in your quota, then try again.",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), then try again.",
    errno.EROFS: "Make it writable, or set HOME to a directory that can be written.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n), then try again.",
    errno.ENFILE: "The system has no open files left; end some programs, then try again.",
}


def out_of_order(error: OSError) -> SynccrError:
    """An error of the system that nothing else has put into words: a full disk, a directory
    that cannot be written."""
    where = f"{error.filename}: " if error.filename else ""
    what = (error.strerror or str(error) or type(error).__name__).rstrip(".")
    todo = _TODO.get(error.errno or 0, "Check who owns it and what its mode is, then try again.")
    return SynccrError(f"{where}{what}.", todo)
