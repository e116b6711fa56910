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
class Diagnosis:
    """What a check found.

    Attributes:
        level: how bad it is.
        detail: a sentence or two.
        fix: lines that can be pasted into a shell, or the page where a person has to act.
        repair: does what ``fix`` says, where that is safe; returns what was done, and
            what has to be done now, in a sentence.
    """

    level: Level
    detail: str
    fix: str | None = None
    repair: Callable[[], str] | None = field(default=None, repr=False, compare=False)


def ok(detail: str) -> Diagnosis:
    """Nothing to do."""
    return Diagnosis(Level.OK, detail)


def skip(detail: str) -> Diagnosis:
    """There is nothing to look at."""
    return Diagnosis(Level.SKIP, detail)


def warn(detail: str, fix: str, repair: Callable[[], str] | None = None) -> Diagnosis:
    """It works, and not as well as it could."""
    return Diagnosis(Level.WARN, detail, fix, repair)


def fail(detail: str, fix: str, repair: Callable[[], str] | None = None) -> Diagnosis:
    """Something does not work, or a secret lies open."""
    return Diagnosis(Level.FAIL, detail, fix, repair)


def together(diagnoses: Iterable[Diagnosis]) -> Diagnosis:
    """One diagnosis from several of the same check: the worst level; what is in order is
    told only when all is, and every fix is kept once."""
    listed = list(diagnoses)
    level = min((f.level for f in listed), key=_WORST_FIRST.index)
    bad = [f for f in listed if f.level in (Level.FAIL, Level.WARN)] or [
        f for f in listed if f.level is level
    ]
    fixes = dict.fromkeys(f.fix for f in bad if f.fix)
    repairs = [f.repair for f in bad if f.repair]
    return Diagnosis(
        level,
        " ".join(_sentence(f.detail) for f in bad) if len(bad) > 1 else bad[0].detail,
        "\n".join(fixes) or None,
        (lambda: " ".join(_sentence(repair()) for repair in repairs)) if repairs else None,
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
    run: Callable[[Context], Diagnosis]
    slow: bool = False
    timeout: float = 20.0


@dataclass(frozen=True)
class CheckResult:
    """A check's diagnosis under its name, as ``doctor --json`` has it.

    Attributes:
        fixable: ``--fix`` mends it.
        fixed: ``--fix`` did, and the check said so when it was run again.
    """

    id: str
    title: str
    status: Level
    detail: str
    fix: str | None
    fixable: bool
    fixed: bool = False
