"""What CCR 2's transformers do to a request, in CCR 3's words. Pure.

CCR 2.0.0 runs the provider's transformers and then the model's, each on what the one before has
left; so does this, on what is known of a request beforehand. What they set is ``extraBody`` in
CCR 3, which goes over what the client sent. What they limit or take out, our router does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from synccr.config.profile import variables
from synccr.probe.dialects import TransformerUse

EFFORTS: Final = ("", "low", "medium", "high")
"""How much a client wants a model to think, in CCR 2's words; empty for not at all."""

_DEEPSEEK: Final = 8192
"""Tokens that CCR 2's ``deepseek`` allows."""
_SAMPLING: Final = ("temperature", "top_p", "top_k", "repetition_penalty")
_OF_CLIENT: Final = frozenset(
    {"messages", "model", "max_tokens", "temperature", "stream", "tools", "tool_choice"}
)
"""What CCR 2 always has in a request in OpenAI's form, be it without a value."""
_THINKING: Final = frozenset({"thinking", "output_config"})
"""How clients of Anthropic's form ask a model to think."""


@dataclass(frozen=True)
class Edits:
    """What is done to a client's request on its way to one model.

    Attributes:
        extra: set in the provider's request, over what is there.
        cap: most ``max_tokens``; None for no limit.
        drop: what of the client's request is not passed on.
        schemas: ``$schema`` of tools is not passed on.
    """

    extra: Mapping[str, Any] = field(default_factory=dict)
    cap: int | float | None = None
    drop: frozenset[str] = frozenset()
    schemas: bool = False


NONE: Final = Edits()


def edits(uses: Iterable[TransformerUse], model: str, effort: str) -> Edits:
    """What transformers do to a request that CCR 2 does not pass on as it is.

    Args:
        uses: the provider's, then the model's.
        model: by the provider's own name.
        effort: one of ``EFFORTS``.
    """
    request = _Request(model)
    if effort:
        request.extra["reasoning"] = {"effort": effort, "enabled": True}
    for use in uses:
        if step := _STEPS.get(use.name):
            step(request, usable(use.values))
    dropped = frozenset(request.dropped | (_OF_CLIENT - request.of_client))
    return Edits(request.extra, request.cap, dropped, request.schemas)


def usable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options without variables: CCR 3 would keep what they stand for on disk."""
    return {name: value for name, value in values.items() if not any(variables(value))}


@dataclass
class _Request:
    """A request as far as it is known before a client sends it."""

    model: str
    extra: dict[str, Any] = field(default_factory=dict)
    of_client: set[str] = field(default_factory=lambda: set(_OF_CLIENT))
    dropped: set[str] = field(default_factory=set)
    cap: int | float | None = None
    renamed: bool = False
    schemas: bool = False

    def take_out(self, *names: str) -> None:
        for name in names:
            self.of_client.discard(name)
            self.extra.pop(name, None)

    def limit(self, most: object) -> None:
        if self.renamed or isinstance(most, bool) or not isinstance(most, int | float):
            return
        if isinstance(self.extra.get("max_tokens"), int | float):
            self.extra["max_tokens"] = min(self.extra["max_tokens"], most)
        elif "max_tokens" in self.of_client:
            self.cap = most if self.cap is None else min(self.cap, most)


def _sampling(request: _Request, values: Mapping[str, Any]) -> None:
    request.limit(values.get("max_tokens"))
    request.extra |= {name: values[name] for name in _SAMPLING if name in values}


def _custom(request: _Request, values: Mapping[str, Any]) -> None:
    """What is there stays, but for what is inside of an object."""
    for name, value in values.items():
        there = request.extra.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            request.extra[name] = _merged(there, value)
        elif name not in request.extra and name not in request.of_client:
            request.extra[name] = value


def _merged(there: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(there)
    for name, value in over.items():
        both = isinstance(found.get(name), dict) and isinstance(value, dict)
        found[name] = _merged(found[name], value) if both else value
    return found


def _assigned(request: _Request, values: Mapping[str, Any]) -> None:
    request.extra |= values


def _reasoning(request: _Request, values: Mapping[str, Any]) -> None:
    enable = values.get("enable")
    if enable is not None and not enable:
        request.extra |= {
            "thinking": {"type": "disabled", "budget_tokens": -1},
            "enable_thinking": False,
        }
    elif asked := request.extra.get("reasoning"):
        thinking = {"type": "enabled"}
        if isinstance(asked, dict) and "max_tokens" in asked:
            thinking["budget_tokens"] = asked["max_tokens"]
        request.extra |= {"thinking": thinking, "enable_thinking": True}


def _renamed(request: _Request, _values: Mapping[str, Any]) -> None:
    """The egress gives ``max_tokens`` its other name, by which no later transformer finds it."""
    request.renamed = True


def _cerebras(request: _Request, _values: Mapping[str, Any]) -> None:
    if request.extra.pop("reasoning", None) is None:
        request.extra["disable_reasoning"] = False


def _groq(request: _Request, _values: Mapping[str, Any]) -> None:
    request.schemas = True


def _gemini(request: _Request, _values: Mapping[str, Any]) -> None:
    """Google's form is made anew from messages and tools."""
    asked = request.extra.get("reasoning")
    request.extra.clear()
    request.take_out("max_tokens", "temperature")
    request.cap = None
    request.dropped |= _THINKING  # CCR 3 would ask for a budget that some models do not have
    if isinstance(asked, dict):
        thinking: dict[str, Any] = {"includeThoughts": True}
        if "gemini-3" in request.model:
            thinking["thinkingLevel"] = asked.get("effort")
        request.extra["generationConfig"] = {"thinkingConfig": thinking}


def _responses(request: _Request, _values: Mapping[str, Any]) -> None:
    """OpenAI's responses form, whose models refuse a temperature."""
    request.take_out("max_tokens", "temperature")
    request.cap = None
    request.dropped.add("metadata")  # CCR 3 would send a user id that is too long there
    asked = request.extra.get("reasoning")
    if isinstance(asked, dict):
        request.extra["reasoning"] = {"effort": asked.get("effort"), "summary": "detailed"}
    request.extra["parallel_tool_calls"] = False


_STEPS: Final[Mapping[str, Callable[[_Request, Mapping[str, Any]], None]]] = {
    "cerebras": _cerebras,
    "customparams": _custom,
    "deepseek": lambda request, _: request.limit(_DEEPSEEK),
    "gemini": _gemini,
    "groq": _groq,
    "maxcompletiontokens": _renamed,
    "maxtoken": lambda request, values: request.limit(values.get("max_tokens")),
    "openai-responses": _responses,
    "openrouter": _assigned,
    "reasoning": _reasoning,
    "sampling": _sampling,
    "vercel": _assigned,
}
"""The other ones do nothing to a request (``Anthropic``, ``OpenAI``), or what CCR 3 does anyway
(``cleancache``, ``streamoptions``), or what it cannot do (see ``losses``)."""
