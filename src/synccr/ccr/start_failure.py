"""Why a CCR did not come up."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from synccr.errors import SynccrError

_DOCTOR = "See: synccr doctor"


class StartFailed(SynccrError):
    """CCR did not come up.

    Attributes:
        exit_code_of_ccr: what it exited with; negative for a signal; None when it
            still ran and was ended because it did not answer in time.
    """

    def __init__(self, what: str, exit_code_of_ccr: int | None = None, todo: str = _DOCTOR) -> None:
        super().__init__(what, todo)
        self.exit_code_of_ccr = exit_code_of_ccr

    @classmethod
    def exited(cls, code: int | None, detail: str, todo: str = _DOCTOR) -> Self:
        """It has ended, and said this last."""
        ended = f"was ended by signal {-code}" if code and code < 0 else f"exited with code {code}"
        what = f"CCR {ended} while starting: {detail or 'it gave no reason'}."
        return cls(what, code, todo)

    @classmethod
    def silent(cls, port: int, timeout: float, detail: str, todo: str = _DOCTOR) -> Self:
        """It runs, and did not answer within ``timeout`` seconds."""
        said = f" (it said: {detail})" if detail else ""
        what = f"CCR did not answer /health on port {port} within {timeout:g} s{said}."
        return cls(what, None, todo)


class TryAgain(Exception):
    """The start was lost to a coincidence, such as a port that was taken meanwhile."""


def unwritable(error: OSError, place: Path) -> SynccrError:
    """What could not be written for a start, ``place`` where the system does not say."""
    return SynccrError(
        f"{error.filename or place} cannot be written: {error.strerror or error}.",
        "Free space on the disk, or make the directory writable, then try again.",
    )
