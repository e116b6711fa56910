"""What the embedded provider sends, in each protocol, as the judge sees it."""

from __future__ import annotations

import pytest

from provider.anthropic import AnthropicForm
from provider.chat import ChatForm
from provider.completions import ProviderForm
from provider.connection import Ending
from provider.gemini import GeminiForm
from provider.presets import AFTER, BEFORE, HEALTHY, behaviour
from provider.replies import completion
from provider.responses import ResponsesForm
from synccr import judge
from synccr.demo.openai import OfferedTool, Prompt
from synccr.judge.anthropic_messages import MessagesAnswers
from synccr.judge.gemini import GeminiAnswers
from synccr.judge.openai_chat import ChatAnswers
from synccr.judge.openai_responses import ResponsesAnswers

FORMS: list[tuple[ProviderForm, judge.AnswerDialect]] = [
    (ChatForm(), ChatAnswers()),
    (ResponsesForm(), ResponsesAnswers()),
    (AnthropicForm(), MessagesAnswers()),
    (GeminiForm(), GeminiAnswers()),
]
WITHOUT_BYTES = {"never", "reset"}
ENDS: dict[Ending, judge.Event] = {
    Ending.COMPLETE: judge.End(),
    Ending.CUT: judge.Cut("cut"),
    Ending.STALL: judge.Silent(3.0),
}
NOTE = OfferedTool("note", {"properties": {"text": {"type": "string"}}})


def verdict(
    name: str, form: tuple[ProviderForm, judge.AnswerDialect], *, stream: bool, tools: bool
) -> str:
    """``Done``, ``Fail`` or ``Abort``."""
    asked = "use the note tool echo:abcdefghijkl" if tools else "echo:abcdefghijkl"
    ask = Prompt(model="m", stream=stream, text=asked, tools=(NOTE,) if tools else ())
    reply = completion(form[0], behaviour(name), ask, "", 1)
    body = reply.body if reply.ending is Ending.COMPLETE else reply.body[: len(reply.body) // 2]
    pieces = [body] if reply.pieces is None else reply.pieces
    events: list[judge.Event] = [
        judge.Head(reply.status, reply.headers["content-type"]),
        *(judge.Body(piece) for piece in pieces),
        ENDS[reply.ending],
    ]
    judged = judge.Judge(form[1], streamed=stream)
    said = [type(judged.take(event)).__name__ for event in events]
    return next(word for word in said if word in {"Done", "Fail", "Abort"})


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form[0]).__name__)
@pytest.mark.parametrize("tools", [False, True], ids=["text", "tool"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_each_kind_has_its_verdict(
    form: tuple[ProviderForm, judge.AnswerDialect], stream: bool, tools: bool
) -> None:
    """Health is done; trouble before the first content is a failure, after it an abort; a whole
    answer has nothing passed on before it is whole. Gemini's call comes in one event, so that
    nothing of it is there before its end."""
    wanted = dict.fromkeys(HEALTHY, "Done") | dict.fromkeys(BEFORE, "Fail")
    early = not stream or (tools and isinstance(form[0], GeminiForm))
    wanted |= dict.fromkeys(AFTER, "Fail" if early else "Abort")
    if tools:
        wanted["no_tools"] = "Fail"
    if not stream or isinstance(form[0], ResponsesForm | AnthropicForm):
        wanted["mark_alone"] = "Done"  # their end mark says all by itself
    # A transport undoes compression, and without a byte there is nothing to judge.
    names = wanted.keys() - WITHOUT_BYTES - {"gzip_garbage"}
    got = {name: verdict(name, form, stream=stream, tools=tools) for name in names}
    assert got == {name: wanted[name] for name in names}
