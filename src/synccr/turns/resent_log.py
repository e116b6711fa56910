"""What the journal gets of turns: at most one entry a model, kind and minute.

A model that fails is asked hundreds of times a minute; its journal has one line of it. The
first of a kind is told at once, what follows within the minute is counted and told after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

INTERVAL = 60.0
"""Seconds between two entries of one kind on one model."""
_MOST = 1000  # models; more than that in one minute share their entries

Kind = Literal["resent", "cut"]


@dataclass(frozen=True)
class Entry:
    """One entry of the journal.

    Attributes:
        kind: ``resent``: requests were sent to another model; ``cut``: answers that had
            begun were broken off.
        model: whose trouble it was, ``provider,model``.
        verdict: the latest trouble.
        to: the model that was asked in its place, the latest; None for ``cut``.
        count: how many.
    """

    kind: Kind
    model: str
    verdict: str
    to: str | None
    count: int

    def fields(self) -> dict[str, Any]:
        """What the journal keeps beside time and kind."""
        moved = {"to": self.to} if self.to else {}
        found = {"model": self.model, "verdict": self.verdict, **moved, "count": self.count}
        return {**found, "text": self._text()}

    def _text(self) -> str:
        many = self.count != 1
        if self.kind == "cut":
            what = f"{self.count} answers were" if many else "an answer was"
            return f"{self.model} ({self.verdict}): {what} broken off after the first words"
        what = f"{self.count} requests were" if many else "a request was"
        whose = ", the latest" if many and self.to else ""
        where = f" to {self.to}" if self.to else ""
        return f"{self.model} ({self.verdict}): {what} sent again{whose}{where}"


class ResentLog:
    """Makes many re-sends and cuts into few entries. Times are monotonic seconds."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._next: dict[tuple[Kind, str], float] = {}  # when it may be told again
        self._waiting: dict[tuple[Kind, str], Entry] = {}

    def resent(self, model: str, verdict: str, to: str | None, now: float) -> Entry | None:
        """A request was sent again; the entry to write, if one is due."""
        return self._note(Entry("resent", model, verdict, to, 1), now)

    def cut(self, model: str, verdict: str, now: float) -> Entry | None:
        """An answer that had begun was broken off; the entry to write, if one is due."""
        return self._note(Entry("cut", model, verdict, None, 1), now)

    def due(self, now: float) -> list[Entry]:
        """Counted entries whose minute is over; to be asked now and then, and at the end with
        an infinite ``now``."""
        return list(self._due(now))

    def _note(self, entry: Entry, now: float) -> Entry | None:
        key = (entry.kind, entry.model)
        if key not in self._next and len(self._next) >= _MOST:
            key, entry = (entry.kind, "other models"), replace(entry, model="other models")
        waiting = self._waiting.pop(key, None)
        entry = replace(entry, count=entry.count + (waiting.count if waiting else 0))
        if now < self._next.get(key, now):
            self._waiting[key] = entry
            return None
        self._next[key] = now + self._interval
        return entry

    def _due(self, now: float) -> Iterator[Entry]:
        for key, at in list(self._next.items()):
            if now < at:
                continue
            if entry := self._waiting.pop(key, None):
                self._next[key] = now + self._interval
                yield entry
            else:
                del self._next[key]
