"""What every form of the provider shares: what a model says to a prompt, and the interface."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from synccr.demo.openai import Completion, EventParts, ListedModel, OfferedTool, Prompt, ToolCall
from synccr.demo.provider import echo_of, words
from synccr.demo.server import HttpRequest

from .behaviour import Behaviour, FinishReason, Tools

_T = TypeVar("_T")
_TOOL_WANTED = re.compile(
    r"\b(?:use|call)\s+(?:the\s+)?(?:(tool)\b\s*)?[\"'`]?([\w.-]*)", re.IGNORECASE
)
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_THOUGHT = "Let me think about that. "
_FILLER = " The quick brown fox jumps over the lazy dog."


class ScriptedCompletion(Completion, frozen=True, kw_only=True):
    """A completion that may think first, in so many pieces, and end for any reason."""

    reasoning: tuple[str, ...] = ()
    finish: FinishReason = FinishReason.STOP

    def reason(self, words: Sequence[str]) -> str:
        """Why it ends, in a form's words for: stop, length, filter, refusal, a tool call."""
        return words[4] if self.calls else words[list(FinishReason).index(self.finish)]


class ProviderForm(Protocol):
    """One provider protocol: how it is asked and what its answers look like.

    Attributes:
        field: where a completion has its answers.
    """

    field: str

    def key(self, request: HttpRequest) -> str:
        """The API key that came with the request, empty when there is none."""

    def read(self, request: HttpRequest) -> Prompt:
        """What is asked for.

        Raises:
            msgspec.DecodeError: the body is not what this protocol prescribes.
        """

    def complete(self, answer: ScriptedCompletion) -> bytes:
        """The body of a completion that is not streamed."""

    def stream(self, answer: ScriptedCompletion, chunks: int) -> EventParts:
        """The server-sent events of a streamed one, with the text in at most ``chunks``."""

    def error(self, status: int, message: str, /) -> bytes:
        """The body of an error."""

    def stream_error(self, message: str) -> bytes:
        """The event that tells of an error inside a stream."""

    def models(self, rows: Sequence[ListedModel]) -> bytes:
        """The body of the models list."""


def answer(prompt: Prompt, behaviour: Behaviour, number: int) -> ScriptedCompletion:
    """What a model with this behaviour says: an echo or a sentence, or a tool call when one is
    wanted. A script of the behaviour and its ``text`` come before all that.
    """
    said = _thinking(words(prompt, number), behaviour)
    echo = echo_of(prompt)
    if call := _call(prompt, behaviour, echo or "example"):
        return msgspec.structs.replace(said, text="", calls=(call,) * behaviour.calls, tokens=12)
    if behaviour.text is not None:
        return msgspec.structs.replace(said, text=behaviour.text, tokens=1)
    if behaviour.length is None or echo:
        return said
    text = said.text + _FILLER * (1 + behaviour.length // len(_FILLER))
    text = text[: behaviour.length]
    return msgspec.structs.replace(said, text=text, tokens=1 + len(text) // 4)


def _thinking(said: Completion, behaviour: Behaviour) -> ScriptedCompletion:
    fields = msgspec.structs.asdict(said)
    if behaviour.usage is not None:
        fields["usage"] = behaviour.usage
    reasoning = (_THOUGHT,) * behaviour.reasoning
    return ScriptedCompletion(**fields, reasoning=reasoning, finish=behaviour.finish)


def _call(prompt: Prompt, behaviour: Behaviour, text: str) -> ToolCall | None:
    """The tool call that is due: of the script, else one that is wanted; strings are ``text``."""
    if not prompt.tools or behaviour.tools is not Tools.CALL:
        return None
    if behaviour.script:
        due = behaviour.script[prompt.results : prompt.results + 1]
        return due[0] if due and due[0].tool in {tool.name for tool in prompt.tools} else None
    tool = _wanted_tool(prompt) if behaviour.text is None else None
    return ToolCall(tool.name, _sample(tool.schema, text)) if tool else None


def _wanted_tool(prompt: Prompt) -> OfferedTool | None:
    """The tool to call: the forced one, or one the user asks for in so many words.

    A name alone does not count, and neither do Claude Code's reminders inside user messages:
    both speak of tools in passing.
    """
    by_name = {tool.name: tool for tool in prompt.tools}
    if prompt.forced is not None:
        return by_name.get(prompt.forced, prompt.tools[0])
    if prompt.after_tool:
        return None
    generic = False
    for word_tool, name in _TOOL_WANTED.findall(_REMINDER.sub("", prompt.text)):
        if tool := by_name.get(name.rstrip(".")):
            return tool
        generic = generic or bool(word_tool)
    return prompt.tools[0] if generic else None


def _sample(schema: object, text: str) -> dict[str, Any]:
    """Arguments that satisfy the required part of a JSON schema; strings become ``text``."""
    properties = _get(schema, "properties", dict)
    names = _get(schema, "required", list) or properties
    return {str(name): _value(properties.get(name), text) for name in names}


def _value(schema: object, text: str) -> object:
    if choices := _get(schema, "enum", list):
        return choices[0]
    kind = (_get(schema, "type", list) or [_get(schema, "type", str)])[0]
    match str(kind).lower():  # Gemini writes types in capitals
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "array":
            return []
        case "object":
            return _sample(schema, text)
        case _:
            return text


def _get(schema: object, name: str, kind: type[_T]) -> _T:
    """A field of a schema that a client wrote; empty when it is not what it should be."""
    value = schema.get(name) if isinstance(schema, dict) else None
    return value if isinstance(value, kind) else kind()
