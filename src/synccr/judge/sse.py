"""Reading server-sent events from bytes in any cutting.

https://html.spec.whatwg.org/multipage/server-sent-events.html, and beyond it what CCR and
the providers' libraries do: a ``data:`` line that is a JSON object counts at once, without
waiting for the blank line, and llama.cpp's older ``error:`` field counts as an error event.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec

DONE = "[DONE]"
TOO_LARGE = object()
"""In place of the document of an event that is larger than the limit."""
_BOM = b"\xef\xbb\xbf"
_TEXT_LIMIT = 4096
_decode = msgspec.json.Decoder().decode


class ServerSentEvent(NamedTuple):
    """One event with data.

    Attributes:
        name: of the ``event`` field; mostly empty.
        document: the decoded JSON, ``DONE``, ``TOO_LARGE``, or a text that is no JSON.
        start: where its first line begins in the bytes released with it ...
        end: ... and where the text of the line ends that completes it.
    """

    name: str
    document: Any
    start: int
    end: int


class SseReader:
    """Takes bytes, gives events and releases the bytes that were understood.

    A byte is released when no later byte can change what it means: an unfinished line and
    the lines of an unfinished event are kept, at most ``limit`` bytes of them. A larger event
    is passed over and told as ``TOO_LARGE``.
    """

    def __init__(self, limit: int) -> None:
        self.understood = False  # a field or a comment was seen
        self._limit = limit - 2  # the last line's end comes on top
        self._kept = bytearray()
        self._line = 0  # where in it the unfinished line begins
        self._name = ""
        self._data: list[bytes] = []
        self._open = False  # the last line needs more to be understood
        self._first = True
        self._after_cr = False
        self._skipping = False

    @property
    def kept(self) -> int:
        """Bytes that are not released."""
        return len(self._kept)

    def at_rest(self) -> bool:
        """Whether the next byte begins an event."""
        return not (self._kept or self._name or self._after_cr or self._skipping)

    def feed(self, data: bytes) -> tuple[list[ServerSentEvent], bytes]:
        """The events that ``data`` completes, and the bytes that are released."""
        if self.at_rest() and (plain := self._plain(data)) is not None:
            self.understood, self._first = True, False
            return plain, data
        kept, events = self._kept, list[ServerSentEvent]()
        kept += data
        safe, at = 0, self._line
        ended = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if ended:
            lines = bytes(kept[at : len(kept) - len(data) + ended]).splitlines(keepends=True)
            safe, at = self._lines(lines, at, events)
        if data:
            self._after_cr = data.endswith(b"\r")
        if self._skipping:
            safe = len(kept)
        elif len(kept) > at and len(kept) - safe > self._limit:
            self._pass_over(events, safe, len(kept))
            self._skipping, safe = True, len(kept)
        released = bytes(kept[:safe])
        del kept[:safe]
        self._line = max(at - safe, 0)
        return events, released

    def close(self) -> tuple[list[ServerSentEvent], bytes]:
        """As ``feed``, at the end: a last line without its end, an event without blank line."""
        events, released = self.feed(b"\n\n")
        return events, released[:-2]

    def _plain(self, data: bytes) -> list[ServerSentEvent] | None:
        """Whole events of one JSON line and at most a name: nearly every piece, and quick.

        None when there is anything else in the piece; then nothing was taken.
        """
        if not data.endswith(b"\n\n") or b"\r" in data:
            return None
        events, start = [], 0
        for block in data[:-2].split(b"\n\n"):
            name, line = "", block
            if block.startswith(b"event: "):
                head, _, line = block.partition(b"\n")
                name = head[7:].decode("utf-8", "replace").strip(" ")
            if not line.startswith(b"data: {") or b"\n" in line or len(block) > self._limit:
                return None
            if (document := decoded(line[6:])) is None:
                return None
            end = start + len(block)
            events.append(ServerSentEvent(name, document, start, end))
            start = end + 2
        return events

    def _lines(self, lines: list[bytes], at: int, events: list[ServerSentEvent]) -> tuple[int, int]:
        """Take whole lines that begin ``at``; where what is safe ends, and where they end."""
        safe = 0
        if self._after_cr and lines[0] == b"\n":  # the other half of a line's end
            del lines[0]
            at += 1
            safe = 0 if self._open else at
        for line in lines:
            text = line.rstrip(b"\r\n")
            too_large = at + len(text) - safe > self._limit
            at += len(line)
            if self._skipping:
                self._skipping, safe = False, at
            elif too_large:
                self._pass_over(events, safe, at)
                safe = at
            else:
                self._open = not self._take(text, events, safe, at - len(line) + len(text))
                safe = safe if self._open else at
        return safe, at

    def _take(self, text: bytes, events: list[ServerSentEvent], start: int, end: int) -> bool:
        """Take one line; whether all up to its end is understood."""
        if self._first:
            self._first, text = False, text.removeprefix(_BOM)
        if not text:
            if self._data:
                events.append(ServerSentEvent(self._name, self._joined(), start, end))
            self._name = ""
            return True
        field, _, value = text.partition(b":")
        value = value.strip(b" ")
        if field == b"data" or field == b"error":
            self.understood = True
            if field == b"error":
                self._name = "error"
            if (document := _alone(value)) is None:
                self._data.append(value)
                return False
            self._data.clear()
            events.append(ServerSentEvent(self._name, document, start, end))
            return True
        if field == b"event":
            self.understood = True
            self._name = value.decode("utf-8", "replace")
        self.understood = self.understood or field in (b"", b"id", b"retry")
        return not (self._data or self._name)

    def _joined(self) -> Any:
        data = b"\n".join(self._data)
        self._data.clear()
        document = decoded(data)
        return document if document is not None else data[:_TEXT_LIMIT].decode("utf-8", "replace")

    def _pass_over(self, events: list[ServerSentEvent], start: int, end: int) -> None:
        events.append(ServerSentEvent(self._name, TOO_LARGE, start, end))
        self._name, self._open = "", False
        self._data.clear()


def decoded(data: bytes | bytearray) -> Any:
    """The JSON in ``data``; None when there is none, and for ``null``."""
    try:
        return _decode(data)
    except (ValueError, RecursionError):
        pass
    try:  # half a surrogate pair, NaN: no JSON, but sent and understood in the field
        return json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _alone(value: bytes) -> Any:
    """What a line is by itself: an object, or the mark of OpenAI's form; else None."""
    if value.startswith(b"{"):
        return decoded(value)
    return DONE if value == b"[DONE]" else None
