"""Kinds of trouble and of odd health, in each protocol: what goes over the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provider.anthropic import AnthropicForm
from provider.chat import ChatForm
from provider.completions import ProviderForm, answer
from provider.connection import Ending, TroubledReply
from provider.gemini import GeminiForm
from provider.presets import behaviour
from provider.replies import completion
from provider.responses import ResponsesForm
from synccr.demo.openai import OfferedTool, Prompt

DIALECTS = (ChatForm(), ResponsesForm(), AnthropicForm(), GeminiForm())
NONCE = "abcdefghijkl"
EVERY = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: type(d).__name__)


def reply(dialect: ProviderForm, value: Any, *, stream: bool, tools: bool = False) -> TroubledReply:
    offered = (OfferedTool("note", {"properties": {"text": {"type": "string"}}}),) if tools else ()
    text = f"use the note tool echo:{NONCE}" if tools else f"echo:{NONCE}"
    ask = Prompt(model="m", stream=stream, text=text, tools=offered, usage=True)
    return completion(dialect, behaviour(value), ask, "", 1)


def joined(made: TroubledReply) -> str:
    return b"".join(made.pieces or [made.body]).decode()


def whole(dialect: ProviderForm) -> TroubledReply:
    return reply(dialect, "ok", stream=True)


@EVERY
def test_a_stream_that_ends_too_early_ends_in_order(dialect: ProviderForm) -> None:
    """No event at all, no content, or half of it: the framing is whole, the end mark missing."""
    pieces = whole(dialect).pieces or []
    for name in ("empty_stream", "end_before_content", "end_without_mark"):
        made = reply(dialect, name, stream=True)
        assert made.ending is Ending.COMPLETE
        assert made.pieces is not None
        assert pieces[-1] not in made.pieces
        assert (made.pieces == []) == (name == "empty_stream" or joined(made) == "")
        assert NONCE[:3] not in joined(made) or name == "end_without_mark"


@EVERY
def test_trouble_before_the_first_content_shows_none_of_it(dialect: ProviderForm) -> None:
    """A cut before content has at most the events that come before it; an error comes first."""
    for tools in (True, False):
        cut = reply(dialect, "cut_before_content", stream=True, tools=tools)
        assert cut.ending is Ending.CUT
        assert NONCE[:3] not in joined(cut)
        assert '"note"' not in joined(cut)
    (error,) = reply(dialect, "error_first", stream=True).pieces or []
    assert b"error" in error


@EVERY
@pytest.mark.parametrize(("name", "end"), [("cut", Ending.CUT), ("stall", Ending.STALL)])
def test_trouble_in_the_middle_of_the_text_shows_a_part_of_it(
    dialect: ProviderForm, name: str, end: Ending
) -> None:
    """The beginning of the text is there, its end is not; not streamed it is half a body."""
    made = reply(dialect, {"preset": name, "after": 4}, stream=True)
    assert made.ending is end
    assert (NONCE[:3] in joined(made), NONCE[-3:] in joined(made)) == (True, False)
    assert reply(dialect, name, stream=False).ending is end


@EVERY
def test_a_head_and_then_silence(dialect: ProviderForm) -> None:
    """The head comes and not one byte of the body, streamed and not."""
    for stream in (True, False):
        made = reply(dialect, "head_then_silence", stream=stream)
        assert (made.ending, made.pieces, made.status) == (Ending.STALL, [], 200)


def test_the_end_mark_alone() -> None:
    """After some text comes ``[DONE]`` and no reason of the end."""
    made = joined(reply(ChatForm(), "mark_alone", stream=True))
    assert made.endswith("data: [DONE]\n\n")
    assert '"stop"' not in made
    assert NONCE[-3:] not in made


@EVERY
@pytest.mark.parametrize(("name", "value"), [("null_choices", None), ("empty_choices", [])])
def test_a_completion_without_answers(dialect: ProviderForm, name: str, value: object) -> None:
    """A JSON body whose field of answers is null or empty, also when a stream was asked for."""
    for stream in (True, False):
        made = reply(dialect, name, stream=stream)
        assert made.headers["content-type"] == "application/json"
        assert json.loads(made.body)[dialect.field] == value


@EVERY
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty_answer", ("stop", "completed", "end_turn", "STOP")),
        (
            "length_without_content",
            ("length", "max_output_tokens", "max_tokens", "MAX_TOKENS"),
        ),
        ("content_filter", ("content_filter", "content_filter", "refusal", "SAFETY")),
        ("refusal", ("refusal", "refusal", "refusal", "PROHIBITED_CONTENT")),
    ],
)
def test_each_protocol_has_its_word_for_the_end(
    dialect: ProviderForm, name: str, words: tuple[str, ...]
) -> None:
    """Streamed and not, an answer tells why it ended; the empty ones have no text."""
    word = f'"{words[DIALECTS.index(dialect)]}"'
    for stream in (True, False):
        made = joined(reply(dialect, {"preset": name, "chunks": 1}, stream=stream))
        assert word in made
        assert NONCE not in made
        assert ("I cannot" in made) == (name == "refusal")


@EVERY
def test_usage_can_be_left_out(dialect: ProviderForm) -> None:
    """Without it no token count is in any event."""
    for stream in (True, False):
        told = joined(reply(dialect, "usage_last", stream=stream))
        silent = joined(reply(dialect, "no_usage", stream=stream))
        assert "okens" in told or "okenCount" in told
        assert "_tokens" not in silent
        assert "okenCount" not in silent


@EVERY
def test_reasoning_comes_before_the_first_word(dialect: ProviderForm) -> None:
    """In so many pieces, in time with ``chunk_delay``; not streamed the whole waits as long."""
    value = {"reasoning": 5, "chunk_delay": 0.5}
    made = reply(dialect, value, stream=True)
    text = joined(made)
    assert made.pieces is not None
    assert sum(b"Let me think" in piece for piece in made.pieces) >= 5
    assert text.index("Let me think") < text.index(NONCE[:3])
    assert made.chunk_delay == 0.5
    body = reply(dialect, value, stream=False)
    assert body.delay == 2.5
    assert "Let me think" in joined(body)


@EVERY
def test_ways_to_write_the_same_events(dialect: ProviderForm) -> None:
    """Comments, CR LF and long lines change the writing and not one event's data."""

    def data(made: TroubledReply) -> list[Any]:
        lines = [line[5:].strip() for line in joined(made).splitlines() if line[:5] == "data:"]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]

    def timeless(made: TroubledReply) -> str:
        return "".join(c for c in json.dumps(data(made)) if not c.isdigit())

    plain = whole(dialect)
    comments = reply(dialect, {"preset": "comments", "comments": 2}, stream=True)
    crlf = reply(dialect, "crlf", stream=True)
    padded = reply(dialect, {"padding": 1000}, stream=True)
    assert {timeless(made) for made in (comments, crlf, padded)} == {timeless(plain)}
    events = len(plain.pieces or [])
    assert joined(comments).count(": keep-alive") == 2 + events - 1
    assert joined(comments).startswith(": keep-alive\n\n: keep-alive\n\n")
    assert joined(crlf).count("\n") == joined(crlf).count("\r\n")
    assert len(joined(padded)) - len(joined(plain)) >= 1000 * (events - 1)


@EVERY
def test_a_streamed_request_can_be_answered_with_one_body(dialect: ProviderForm) -> None:
    """The same JSON as without streaming."""
    made = reply(dialect, "json_for_stream", stream=True)
    assert made.headers["content-type"] == "application/json"
    assert NONCE in made.body.decode()


@EVERY
def test_calls_in_parallel(dialect: ProviderForm) -> None:
    """Three calls are three times what one is, streamed and not."""
    for stream in (True, False):
        made = joined(reply(dialect, "parallel_calls", stream=stream, tools=True))
        one = joined(reply(dialect, "ok", stream=stream, tools=True))
        assert made.count('"note"') == 3 * one.count('"note"')


def test_a_call_that_is_cut_has_half_of_its_arguments() -> None:
    """The cut comes inside the JSON of a tool call."""
    made = reply(ChatForm(), "cut", stream=True, tools=True)
    assert '{\\"text' in joined(made)
    assert NONCE not in joined(made)
    assert made.ending is Ending.CUT


def test_a_script_is_played_by_the_results_in_the_conversation() -> None:
    """One call a turn, then the text; a request without the tool is answered as ever."""
    chosen = behaviour(
        {
            "script": [
                {"tool": "note", "arguments": {"text": "1"}},
                {"tool": "note", "arguments": {"text": "2"}},
            ],
            "text": "done",
        }
    )
    offered = (OfferedTool("note"),)
    said = [
        answer(Prompt(model="m", tools=offered, after_tool=n > 0, results=n), chosen, n)
        for n in range(4)
    ]
    assert [one.calls[0].arguments["text"] if one.calls else one.text for one in said] == [
        "1",
        "2",
        "done",
        "done",
    ]
    assert answer(Prompt(model="m", tools=(OfferedTool("other"),)), chosen, 1).calls == ()


@EVERY
def test_what_a_model_says_can_be_given(dialect: ProviderForm) -> None:
    """An error's words as an answer are an answer."""
    for stream in (True, False):
        for tools in (True, False):
            value = {"preset": "error_words", "chunks": 1}
            made = reply(dialect, value, stream=stream, tools=tools)
            assert made.status == 200
            assert "402 Payment Required" in joined(made)
