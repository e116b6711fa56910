"""What a dialect has to tell of one JSON document, and what several of them share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

_DEPTH = 8
_LABELS = frozenset(
    {"type", "index", "id", "object", "role", "status", "format", "expires_at", "thoughtSignature"}
)
"""Fields that say what content is, and are none."""


class Finish(StrEnum):
    """Why a model stopped."""

    STOP = "stop"
    TOOL = "tool"
    LENGTH = "length"
    FILTER = "filter"
    REFUSAL = "refusal"


EXPLAINS_EMPTY = frozenset({Finish.LENGTH, Finish.FILTER, Finish.REFUSAL})
"""With one of these an answer without content is an answer."""


class Usage(NamedTuple):
    """Tokens as the provider counted them; None where it did not."""

    tokens_in: int | None = None
    tokens_out: int | None = None


class Reading(NamedTuple):
    """What one document says.

    Attributes:
        content: it holds text, reasoning, a tool call, or anything else of an answer.
        finish: why the model stopped, once that is told.
        end: it is the dialect's end mark; a whole document is one.
        error: the error in it, as the provider put it; None when there is none.
        usage: tokens, where they are told.
        known: it is an answer of this dialect, or a part of one.
    """

    content: bool = False
    finish: Finish | None = None
    end: bool = False
    error: Any = None
    usage: Usage | None = None
    known: bool = True


PART = Reading()
CONTENT = Reading(content=True)
FOREIGN = Reading(known=False)


@dataclass(frozen=True)
class Routine:
    """Sees without decoding them that events change nothing once content has come.

    JSON can spell the name of a field in other letters only by ``\\u``: bytes without that and
    without the name hold no such field. What is doubtful is decoded.

    Attributes:
        lead: how each of the events begins.
        telling: bytes that an event holds if it may end an answer, break it or count tokens.
        null: names of fields that do so unless they are null.
    """

    lead: bytes
    telling: tuple[bytes, ...]
    null: tuple[bytes, ...] = ()

    def covers(self, events: bytes) -> bool:
        """Whether these are whole events, and none of them changes anything."""
        if not (events.startswith(self.lead) and events.endswith(b"\n\n")) or b"\r" in events:
            return False
        count = 1 + events.count(b"\n\n" + self.lead)
        if events.count(b"\n") != count * (2 + self.lead.count(b"\n")):
            return False  # lines between the events, or more than one of data in one of them
        if b"\\u" in events:
            return False
        for mark in self.telling:
            if mark in events:
                return False
        return all(events.count(n) == events.count(n + b":null") for n in self.null if n in events)


class AnswerDialect(Protocol):
    """One form of answering.

    Attributes:
        routine: None where every event has to be decoded.
    """

    name: str
    routine: Routine | None

    def read(self, document: dict[str, Any], event: str) -> Reading:
        """Judge one event of a stream; ``event`` is its name, which may be empty."""

    def whole(self, document: dict[str, Any]) -> Reading:
        """Judge an answer that is not streamed."""


def filled(value: Any, depth: int = _DEPTH) -> bool:
    """Whether a field holds anything beside labels: a text, a name, data."""
    if isinstance(value, str):
        return bool(value)
    if depth == 0:
        return bool(value)
    if isinstance(value, list):
        return any(filled(item, depth - 1) for item in value)
    if isinstance(value, dict):
        return any(filled(v, depth - 1) for name, v in value.items() if name not in _LABELS)
    return False


def rows(node: Any, name: str) -> list[dict[str, Any]]:
    """The objects in a list."""
    found = node.get(name) if isinstance(node, dict) else None
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def section(node: Any, name: str) -> dict[str, Any]:
    """An object in an object; empty when there is none."""
    found = node.get(name) if isinstance(node, dict) else None
    return found if isinstance(found, dict) else {}


def usage(counts: Any, tokens_in: str, *tokens_out: str) -> Usage | None:
    """The counts under these names, those of ``tokens_out`` added up."""
    if not isinstance(counts, dict):
        return None
    spent = [n for name in tokens_out if (n := _count(counts.get(name))) is not None]
    told = Usage(_count(counts.get(tokens_in)), sum(spent) if spent else None)
    return told if told != Usage() else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
