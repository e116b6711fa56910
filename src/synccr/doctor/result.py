"""What a check says, and a check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synccr.doctor.context import Context


class Level(StrEnum):
    """How bad it is, as the public contract names it."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


_WORST_FIRST = (Level.FAIL, Level.WARN, Level.OK, Level.SKIP)


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        level: how bad it is.
        detail: a sentence or two.
        fix: lines that can be pasted into a shell, or the page where a person has to act.
        mend: does what ``fix`` says, where that is safe; returns what was done, and
            what has to be done now, in a sentence.
    """

    level: Level
    detail: str
    fix: str | None = None
    mend: Callable[[], str] | None = field(default=None, repr=False, compare=False)


def ok(detail: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.OK, detail)


def skip(detail: str) -> Finding:
    """There is nothing to look at."""
    return Finding(Level.SKIP, detail)


def warn(detail: str, fix: str, mend: Callable[[], str] | None = None) -> Finding:
    """It works, and not as well as it could."""
    return Finding(Level.WARN, detail, fix, mend)


def fail(detail: str, fix: str, mend: Callable[[], str] | None = None) -> Finding:
    """Something does not work, or a secret lies open."""
    return Finding(Level.FAIL, detail, fix, mend)


def together(findings: Iterable[Finding]) -> Finding:
    """One finding from several of the same check: the worst level; what is in order is
    told only when all is, and every fix is kept once."""
    listed = list(findings)
    level = min((f.level for f in listed), key=_WORST_FIRST.index)
    bad = [f for f in listed if f.level in (Level.FAIL, Level.WARN)] or [
        f for f in listed if f.level is level
    ]
    fixes = dict.fromkeys(f.fix for f in bad if f.fix)
    mends = [f.mend for f in bad if f.mend]
    return Finding(
        level,
        " ".join(_sentence(f.detail) for f in bad) if len(bad) > 1 else bad[0].detail,
        "\n".join(fixes) or None,
        (lambda: " ".join(_sentence(mend()) for mend in mends)) if mends else None,
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        id: ``subject.question``; scripts rely on it.
        title: what is asked, for people.
        run: looks, and changes nothing.
        slow: asks the network or reads much; such checks stand last.
        timeout: seconds after which it counts as hanging.
    """

    id: str
    title: str
    run: Callable[[Context], Finding]
    slow: bool = False
    timeout: float = 20.0


@dataclass(frozen=True)
class Result:
    """A check's finding under its name, as ``doctor --json`` has it.

    Attributes:
        fixable: ``--fix`` mends it.
        mended: ``--fix`` did, and the check said so when it was run again.
    """

    id: str
    title: str
    status: Level
    detail: str
    fix: str | None
    fixable: bool
    mended: bool = False
