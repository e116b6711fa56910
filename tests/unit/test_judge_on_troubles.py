"""What the embedded provider sends, in each protocol, as the judge sees it."""

from __future__ import annotations

import pytest

from synccr import judge
from synccr.sandbox.anthropic import Anthropic
from synccr.sandbox.behaviours import behaviour
from synccr.sandbox.dialect import Ask, Dialect, Tool
from synccr.sandbox.gemini import Gemini
from synccr.sandbox.openai import OpenAI
from synccr.sandbox.presets import AFTER, BEFORE, HEALTHY
from synccr.sandbox.replies import completion
from synccr.sandbox.responses import Responses
from synccr.sandbox.wire import End

FORMS: list[tuple[Dialect, judge.AnswerDialect]] = [
    (OpenAI(), judge.ChatAnswers()),
    (Responses(), judge.ResponsesAnswers()),
    (Anthropic(), judge.MessagesAnswers()),
    (Gemini(), judge.GeminiAnswers()),
]
WITHOUT_BYTES = {"never", "reset"}
ENDS = {End.COMPLETE: judge.End(), End.CUT: judge.Cut("cut"), End.STALL: judge.Silent(3.0)}
NOTE = Tool("note", {"properties": {"text": {"type": "string"}}})


def verdict(name: str, form: tuple[Dialect, judge.AnswerDialect], *, stream: bool, tools: bool) -> str:
    """``Done``, ``Fail`` or ``Abort``."""
    asked = "use the note tool echo:abcdefghijkl" if tools else "echo:abcdefghijkl"
    ask = Ask(model="m", stream=stream, text=asked, tools=(NOTE,) if tools else ())
    reply = completion(form[0], behaviour(name), ask, "", 1)
    body = reply.body if reply.end is End.COMPLETE else reply.body[: len(reply.body) // 2]
    pieces = [body] if reply.pieces is None else reply.pieces
    events = [
        judge.Head(reply.status, reply.headers["content-type"]),
        *(judge.Body(piece) for piece in pieces),
        ENDS[reply.end],
    ]
    judged = judge.Judge(form[1], streamed=stream)
    said = [type(judged.take(event)).__name__ for event in events]
    return next(word for word in said if word in {"Done", "Fail", "Abort"})


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form[0]).__name__)
@pytest.mark.parametrize("tools", [False, True], ids=["text", "tool"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_each_kind_has_its_verdict(
    form: tuple[Dialect, judge.AnswerDialect], stream: bool, tools: bool
) -> None:
    """Health is done; trouble before the first content is a failure, after it an abort; a whole
    answer has nothing passed on before it is whole. Gemini's call comes in one event, so that
    nothing of it is there before its end."""
    wanted = dict.fromkeys(HEALTHY, "Done") | dict.fromkeys(BEFORE, "Fail")
    early = not stream or (tools and isinstance(form[0], Gemini))
    wanted |= dict.fromkeys(AFTER, "Fail" if early else "Abort")
    if tools:
        wanted["no_tools"] = "Fail"
    if not stream or isinstance(form[0], Responses | Anthropic):
        wanted["mark_alone"] = "Done"  # their end mark says all by itself
    # A transport undoes compression, and without a byte there is nothing to judge.
    names = wanted.keys() - WITHOUT_BYTES - {"gzip_garbage"}
    got = {name: verdict(name, form, stream=stream, tools=tools) for name in names}
    assert got == {name: wanted[name] for name in names}
