"""What every dialect of the embedded provider shares: the question, the answer, the interface."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from synccr.sandbox.kinds import Behaviour, Call, Finish, Tools
from synccr.sandbox.wire import Request

_T = TypeVar("_T")
_ECHO = re.compile(r"echo:(\S+)")
_TOOL_WANTED = re.compile(
    r"\b(?:use|call)\s+(?:the\s+)?(?:(tool)\b\s*)?[\"'`]?([\w.-]*)", re.IGNORECASE
)
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_THOUGHT = "Let me think about that. "
_FILLER = " The quick brown fox jumps over the lazy dog."


class Tool(msgspec.Struct, frozen=True):
    """A tool the model was offered, with the JSON schema of its arguments."""

    name: str
    schema: dict[str, Any] = {}


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for.

    Attributes:
        text: of the last message of the user.
        tools: those the model may call.
        forced: the tool it has to call, ``""`` for any; None leaves it to the model.
        after_tool: the conversation ends with a tool's result, which wants words.
        results: how many results of tools the conversation has.
        usage: whether a stream shall end with the token counts (OpenAI); None: as usual.
    """

    model: str
    stream: bool = False
    text: str = ""
    tools: tuple[Tool, ...] = ()
    forced: str | None = None
    after_tool: bool = False
    results: int = 0
    usage: bool | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model says: ``text``, or ``calls`` calls of ``tool`` with ``arguments``, after
    ``reasoning`` in so many pieces. ``usage``: token counts are told; None where the dialect
    always does.
    """

    number: int
    model: str
    text: str = ""
    tool: str | None = None
    arguments: dict[str, Any] = {}
    calls: int = 1
    reasoning: tuple[str, ...] = ()
    finish: Finish = Finish.STOP
    prompt_tokens: int = 1
    tokens: int = 1
    usage: bool | None = None

    def reason(self, words: Sequence[str]) -> str:
        """Why it ends, in a dialect's words for: stop, length, filter, refusal, a tool call."""
        return words[4] if self.tool else words[list(Finish).index(self.finish)]


class Listed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the models list. Lengths are in tokens."""

    id: str
    context_length: int = 262144
    max_output_length: int = 65536
    always_on: bool = True
    features: tuple[str, ...] = ("tools", "json_mode", "structured_outputs")


class Stream(NamedTuple):
    """The server-sent events of an answer: before the content, the content, after it, and the
    end mark (empty where the dialect has none).
    """

    head: list[bytes]
    content: list[bytes]
    close: list[bytes]
    mark: list[bytes]


class Dialect(Protocol):
    """One provider protocol: how it is asked and what its answers look like.

    Attributes:
        field: where a completion has its answers.
    """

    field: str

    def key(self, request: Request) -> str:
        """The API key that came with the request, empty when there is none."""

    def read(self, request: Request) -> Ask:
        """What is asked for.

        Raises:
            msgspec.DecodeError: the body is not what this protocol prescribes.
        """

    def complete(self, answer: Answer) -> bytes:
        """The body of a completion that is not streamed."""

    def stream(self, answer: Answer, chunks: int) -> Stream:
        """The server-sent events of a streamed one, with the text in at most ``chunks``."""

    def error(self, status: int, message: str, /) -> bytes:
        """The body of an error."""

    def stream_error(self, message: str) -> bytes:
        """The event that tells of an error inside a stream."""

    def models(self, rows: Sequence[Listed]) -> bytes:
        """The body of the models list."""


def answer(ask: Ask, behaviour: Behaviour, number: int) -> Answer:
    """What a model with this behaviour says to ``ask``: the nonce after ``echo:`` when the
    user gave one, else a sentence that names the model, or a tool call when one is wanted.
    A script of the behaviour and its ``text`` come before all that.
    """
    echo = _ECHO.search(ask.text)
    said = Answer(
        number=number,
        model=ask.model,
        reasoning=(_THOUGHT,) * behaviour.reasoning,
        finish=behaviour.finish,
        prompt_tokens=1 + len(ask.text) // 4,
        usage=ask.usage if behaviour.usage is None else behaviour.usage,
    )
    call = _call(ask, behaviour, echo[1] if echo else "example")
    if call:
        return msgspec.structs.replace(
            said, tool=call.tool, arguments=call.arguments, calls=behaviour.calls, tokens=12
        )
    if behaviour.text is not None:
        return msgspec.structs.replace(said, text=behaviour.text)
    text = echo[1] if echo else f"Hello from {ask.model}."
    if behaviour.length is not None and not echo:
        text += _FILLER * (1 + behaviour.length // len(_FILLER))
        text = text[: behaviour.length]
    return msgspec.structs.replace(said, text=text, tokens=1 + len(text) // 4)


def _call(ask: Ask, behaviour: Behaviour, text: str) -> Call | None:
    """The tool call that is due: of the script, else one that is wanted; strings are ``text``."""
    if not ask.tools or behaviour.tools is not Tools.CALL:
        return None
    if behaviour.script:
        due = behaviour.script[ask.results : ask.results + 1]
        return due[0] if due and due[0].tool in {tool.name for tool in ask.tools} else None
    tool = _wanted_tool(ask) if behaviour.text is None else None
    return Call(tool.name, _sample(tool.schema, text)) if tool else None


def _wanted_tool(ask: Ask) -> Tool | None:
    """The tool to call: the forced one, or one the user asks for in so many words.

    A name alone does not count, and neither do Claude Code's reminders inside user messages:
    both speak of tools in passing.
    """
    by_name = {tool.name: tool for tool in ask.tools}
    if ask.forced is not None:
        return by_name.get(ask.forced, ask.tools[0])
    if ask.after_tool:
        return None
    generic = False
    for word_tool, name in _TOOL_WANTED.findall(_REMINDER.sub("", ask.text)):
        if tool := by_name.get(name.rstrip(".")):
            return tool
        generic = generic or bool(word_tool)
    return ask.tools[0] if generic else None


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


def split(text: str, chunks: int) -> list[str]:
    """``text`` in at most so many pieces of about the same length; at least one."""
    size = max(1, -(-len(text) // max(1, chunks)))
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]


def bearer(request: Request) -> str:
    """The key in ``Authorization: Bearer``."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


class Part(msgspec.Struct):
    """A part of a message's content; only what matters here."""

    type: str = "text"
    text: str | None = None


Content = str | list[Part] | None


def text_of(content: Content) -> str:
    """The words in a message's content."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text for part in content if part.text)
