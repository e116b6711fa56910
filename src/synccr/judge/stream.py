"""An answer that comes as a stream of events."""

from __future__ import annotations

from typing import Any

from synccr.judge import errors
from synccr.judge.dialect import CONTENT, AnswerDialect, Finish, Reading
from synccr.judge.form import Form, empty, error, is_empty
from synccr.judge.outcome import Failure, Trouble, failure
from synccr.judge.sse import DONE, TOO_LARGE, ServerSentEvent, SseReader


class EventStream(Form):
    """Held until the first content, then passed on event by event.

    A byte passes when the line that it belongs to was understood, so that neither an error
    event nor an end that is none reaches CCR, not even in parts.
    """

    def __init__(
        self, dialect: AnswerDialect, *, limit: int, done_alone: bool, accept_empty: bool
    ) -> None:
        super().__init__()
        self._dialect = dialect
        self._reader = SseReader(limit)
        self._limit = limit
        self._done_alone = done_alone
        self._accept_empty = accept_empty
        self._size = 0  # bytes that the reader has released
        self._content = False
        self._finish: Finish | None = None
        self._unread = False  # an event was too large, and may have been the end mark
        self._complaint: dict[str, Any] | None = None

    def feed(self, data: bytes) -> bytes:
        if self._content and not self.whole and self._is_routine(data):
            return data
        return self._take(*self._reader.feed(data))

    def end(self) -> bytes:
        data = self._take(*self._reader.close())
        if self.failure or self.over:
            return data
        if self.whole or self._unread:
            self.whole = self.over = True
        else:
            self.failure = self._explained(self._endless())
        return data

    def lost(self, trouble: Failure) -> bytes:
        if self.whole:
            self.over = True
        else:
            self.failure = self._explained(trouble)
        return b""

    def _is_routine(self, data: bytes) -> bool:
        """Whether ``data`` holds nothing but more of what an answer has begun with."""
        routine = self._dialect.routine
        return (
            routine is not None
            and len(data) <= self._limit - 2  # an event that is larger is not understood
            and self._reader.at_rest()
            and routine.covers(data)
        )

    def _take(self, events: list[ServerSentEvent], released: bytes) -> bytes:
        for event in events:
            self.begun = self.begun or self._size + event.end > self._limit
            self._judge(event)
            if self.failure or self.over:
                return self._pass(released[: event.start])
        self._size += len(released)
        self.begun = self.begun or self._size + self._reader.kept > self._limit
        return self._pass(released)

    def _pass(self, released: bytes) -> bytes:
        if self.begun and not self._held:
            return released
        self._held += released
        return self._release() if self.begun else b""

    def _judge(self, event: ServerSentEvent) -> None:
        document = event.document
        if isinstance(document, dict):
            self._read(self._dialect.read(document, event.name), event)
        elif document is TOO_LARGE:
            self._content = self.begun = self._unread = True
        elif document is DONE:
            self._done()
        elif event.name == "error":
            self._wrong({"message": str(document)})

    def _read(self, reading: Reading, event: ServerSentEvent) -> None:
        if reading.error is not None:
            self._wrong(reading.error)
            return
        if event.name == "error":
            self._wrong(event.document)
            return
        if reading is CONTENT:
            self._content = self.begun = True
            return
        if reading.content:
            self._content = self.begun = True
        elif not reading.known and not self._complaint and errors.complaint(event.document):
            self._complaint = event.document
        self._count(reading.usage)
        self._finish = reading.finish or self._finish
        if reading.end and not self.whole:
            self._end_mark()

    def _end_mark(self) -> None:
        if self._accept_empty or not is_empty(self._content, self._finish):
            self.whole = self.begun = True
        else:
            self.failure = self._explained(empty())

    def _done(self) -> None:
        """``[DONE]``: a remark after the end mark, and without one mostly a broken answer."""
        if self.whole:
            return
        if self._done_alone:
            self._end_mark()
        elif self._content:
            self.failure = failure(Trouble.CUT, "[DONE] came without an end mark")
        else:
            self.failure = self._explained(empty())

    def _wrong(self, said: Any) -> None:
        if self.whole:
            self.over = True
        else:
            self.failure = error(errors.words_of(said))

    def _endless(self) -> Failure:
        if not self._reader.understood:
            return failure(Trouble.PAGE, "answered with neither JSON nor events")
        return failure(Trouble.CUT, "the stream ended without an end mark")

    def _explained(self, trouble: Failure) -> Failure:
        """Without content, what the provider complained of says more."""
        if self._content or self._complaint is None:
            return trouble
        return error(errors.words_of(self._complaint))
