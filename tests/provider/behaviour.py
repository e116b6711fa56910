"""How a model of the provider can behave: data only."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from synccr.demo.openai import ToolCall


class Kind(StrEnum):
    """What happens to a request."""

    ANSWER = "answer"
    """A completion."""
    REPLY = "reply"
    """A fixed status, headers and body."""
    NEVER = "never"
    """Accepted and never answered."""
    CUT = "cut"
    """The connection closes in the middle of the body or the stream."""
    END = "end"
    """The body or the stream ends in good order and too early."""
    STALL = "stall"
    """Nothing more comes in the middle of the body or the stream, which stays open."""
    MARK = "mark"
    """A stream ends early with its end mark, without the reason that comes before it."""
    STREAM_ERROR = "stream_error"
    """An error event inside a stream that ends normally; a 500 when not streaming."""
    RESET = "reset"
    """The connection is reset (TCP RST) instead of an answer."""
    HOLLOW = "hollow"
    """A JSON completion whose field of answers is ``body``: null, or an empty list."""


class Tools(StrEnum):
    """What a model does with the tools it is offered."""

    CALL = "call"
    IGNORE = "ignore"
    REFUSE = "refuse"
    """400, as servers answer for a model without tool support."""


class FinishReason(StrEnum):
    """Why an answer ends. Each form has its own words for it."""

    STOP = "stop"
    LENGTH = "length"
    FILTER = "filter"
    REFUSAL = "refusal"


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model answers. Preset names and these fields are also the JSON form.

    Attributes:
        name: what records call it; empty for kind and status.
        status: HTTP status of a ``REPLY``.
        message: of an error, put in the form that was asked. ``{model}`` and
            ``{key}`` stand for what the request named and for the key it carried.
        body: of a ``REPLY``, instead of ``message``: text is sent as it is (with the same
            placeholders), any other value as JSON.
        headers: of a ``REPLY``, lower case names.
        delay: seconds before the first byte.
        chunk_delay: seconds between the events of a stream.
        chunks: into how many pieces a streamed answer is split.
        after: how many events come before a cut, an error event and the like. With 0, an
            answer that is not streamed has no byte of its body.
        before_content: such a trouble comes right before the first content, whatever ``after``.
        length: characters of the answer; None for one short sentence. An echo keeps its own.
        text: what the model says, whatever it was asked; None for an echo or a sentence.
        finish: why the answer ends, as the model tells it.
        reasoning: pieces of reasoning before the first word, ``chunk_delay`` apart.
        usage: whether token counts are told; None: as the client asked.
        comments: comment lines before the first event, ``chunk_delay`` apart, and one between
            any two events.
        crlf: lines of a stream end in CR LF.
        padding: spaces in each line of data, which make it long.
        whole: a streamed request is answered with one JSON body.
        calls: how many calls of the wanted tool are made at once.
        script: the calls of a conversation, one a turn; then ``text``, the echo or the sentence.
            It is for requests that offer the tool.
    """

    name: str = ""
    kind: Kind = Kind.ANSWER
    status: int = 200
    message: str = ""
    body: Any = None
    headers: dict[str, str] = {}
    delay: float = 0.0
    chunk_delay: float = 0.0
    chunks: int = 4
    after: int = 3
    before_content: bool = False
    length: int | None = None
    text: str | None = None
    finish: FinishReason = FinishReason.STOP
    reasoning: int = 0
    usage: bool | None = None
    comments: int = 0
    crlf: bool = False
    padding: int = 0
    whole: bool = False
    calls: int = 1
    script: tuple[ToolCall, ...] = ()
    tools: Tools = Tools.CALL

    @property
    def label(self) -> str:
        """Name for records."""
        return self.name or (f"status {self.status}" if self.kind is Kind.REPLY else self.kind)
