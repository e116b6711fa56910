"""The forms in which an answer can come, and which one this is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from synccr.judge import errors
from synccr.judge.dialect import EXPLAINS_EMPTY, AnswerDialect, Finish, Reading, Usage
from synccr.judge.outcome import BODY_LIMIT, Failure, Trouble, failure
from synccr.judge.sse import decoded

WHOLE_LIMIT = 32 << 20
"""Bytes of a document; a larger one is passed on unread."""
OPENING = 4096
"""Bytes within which an answer shows what it is."""
_BLANK = b"\xef\xbb\xbf \t\r\n"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b"error:", b":")


def is_stream(content_type: str, opening: bytes | bytearray) -> bool | None:
    """Whether an answer is a stream of events, by its first bytes; None: not known yet.

    The bytes have the last word: errors come as JSON or a page under
    ``text/event-stream``, and streams without a type or as ``text/plain``.
    """
    said = "event-stream" in content_type.lower()
    start = opening[:OPENING].lstrip(_BLANK)
    if not start:
        return said if len(opening) >= OPENING else None
    if said:
        return not start.startswith((b"{", b"[", b"<"))
    if start.startswith(_FIELDS):
        return True
    unclear = len(opening) < OPENING and any(name.startswith(start) for name in _FIELDS)
    return None if unclear else False


class Form(ABC):
    """An answer that is being read. Bytes go in; what may be passed on comes out.

    Attributes:
        begun: content was seen, or so much was held that the rest passes unseen.
        whole: the end mark was seen.
        over: whole, and nothing that still comes is to be passed on.
        failure: what is wrong; then what came out last is from before the trouble.
        usage: tokens, as far as told.
    """

    begun = False
    whole = False
    over = False
    failure: Failure | None = None
    usage: Usage | None = None

    def __init__(self) -> None:
        self._held = bytearray()

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """Take some bytes."""

    @abstractmethod
    def end(self) -> bytes:
        """The body has ended."""

    @abstractmethod
    def lost(self, trouble: Failure) -> bytes:
        """Nothing more will come: silence, or a broken connection."""

    def _count(self, told: Usage | None) -> None:
        if told:
            known = self.usage or Usage()
            self.usage = Usage(
                told.tokens_in or known.tokens_in, told.tokens_out or known.tokens_out
            )

    def _release(self) -> bytes:
        data = bytes(self._held)
        self._held.clear()
        return data


class UnknownForm(Form):
    """A dialect that is not known: emptiness, cut and silence are all that can be told.

    One that was not asked to stream is held until it is whole, because nobody can use a
    part of it.
    """

    def __init__(self, *, streamed: bool) -> None:
        super().__init__()
        self._streamed = streamed

    def feed(self, data: bytes) -> bytes:
        if self.begun:
            return data
        blank = not self._held and not data.strip()
        self._held += data
        self.begun = (self._streamed and not blank) or len(self._held) > WHOLE_LIMIT
        return self._release() if self.begun else b""

    def end(self) -> bytes:
        if self.begun or self._held.strip():
            self.begun = self.whole = self.over = True
        else:
            self.failure = failure(Trouble.EMPTY, "the answer is empty")
        return self._release()

    def lost(self, trouble: Failure) -> bytes:
        self.failure = trouble
        return b""


class WholeDocument(Form):
    """One JSON document, judged when it is whole."""

    def __init__(self, dialect: AnswerDialect, *, accept_empty: bool) -> None:
        super().__init__()
        self._dialect = dialect
        self._accept_empty = accept_empty

    def feed(self, data: bytes) -> bytes:
        if self.begun:
            return data
        self._held += data
        self.begun = len(self._held) > WHOLE_LIMIT
        return self._release() if self.begun else b""

    def end(self) -> bytes:
        return self._close(None)

    def lost(self, trouble: Failure) -> bytes:
        """A document with its last brace is whole, whatever becomes of the connection."""
        return self._close(trouble)

    def _close(self, trouble: Failure | None) -> bytes:
        if self.begun:
            self.failure = trouble
            self.whole = self.over = trouble is None
            return b""
        document = decoded(bytes(self._held.lstrip(_BLANK)))
        parts = document if isinstance(document, list) else [document]
        readable = bool(parts) and all(isinstance(part, dict) for part in parts)
        self.failure = self._judge(parts) if readable else trouble or self._unreadable()
        self.begun = self.whole = self.over = self.failure is None
        return self._release()

    def _unreadable(self) -> Failure:
        if not self._held.strip(_BLANK):
            return failure(Trouble.EMPTY, "the answer is empty")
        return failure(Trouble.PAGE, errors.page_detail(bytes(self._held[:BODY_LIMIT])))

    def _judge(self, parts: Sequence[dict[str, Any]]) -> Failure | None:
        """One answer, or the list of chunks that Gemini sends in place of events."""
        readings = [self._dialect.whole(part) for part in parts]
        for reading in readings:
            self._count(reading.usage)
        wrong = next((r for r in readings if r.error is not None), None)
        if wrong or not any(reading.known for reading in readings):
            return self._error(parts, wrong)
        finishes = [reading.finish for reading in readings if reading.finish]
        content = any(reading.content for reading in readings)
        finish = finishes[-1] if finishes else Finish.STOP
        return None if self._accept_empty or not is_empty(content, finish) else empty()

    def _error(self, parts: Sequence[dict[str, Any]], wrong: Reading | None) -> Failure:
        plain = wrong is None or parts[0].get("error")
        words = bytes(self._held) if plain or wrong is None else errors.words_of(wrong.error)
        return error(words)


def is_empty(content: bool, finish: Finish | None) -> bool:
    """Whether an answer that ended so is none."""
    return not content and finish not in EXPLAINS_EMPTY


def empty() -> Failure:
    """Ended well, without content."""
    return failure(Trouble.EMPTY, "the answer ended without any content")


def error(words: bytes) -> Failure:
    """An error in place of an answer, in the provider's ``words``."""
    status = errors.status_inside(words)
    return failure(Trouble.ERROR, errors.detail_of(status, words), http_status=status, body=words)


def after_content(trouble: Failure) -> Failure:
    """The same, of an answer that had begun."""
    return replace(trouble, passed=True)
