"""Behaviours by name. The bodies are those real providers send."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from synccr.demo.provider import NO_CREDIT, WRONG_KEY

from .behaviour import Behaviour, FinishReason, Kind, Tools

_PAGE = (
    "<!DOCTYPE html><html><head><title>{0}</title></head>"
    "<body><center><h1>{0}</h1></center></body></html>"
)
_SPENT_CAP = (
    "You've exceeded your subscription rate limits. Upgrade, or try again later. "
    "You can view your usage at https://synthetic.new/billing"
)
_NO_QUOTA = (
    "Insufficient quota and token balance: consider upgrading your subscription on "
    "https://synthetic.new/billing"
)
_ONE_MODEL = {
    "message": "insufficient credit balance",
    "type": "billing_error",
    "code": "billing_required",
}
_SLOW_DOWN = "Too many requests, please slow down"
_STOPPED = "The model stopped working"
_EVENTS = {"content-type": "text/event-stream"}


def reply(
    status: int, message: str = "", body: object = None, headers: Mapping[str, str] | None = None
) -> Behaviour:
    """A fixed reply."""
    return Behaviour(
        kind=Kind.REPLY, status=status, message=message, body=body, headers=dict(headers or {})
    )


HEALTHY: Final[dict[str, Behaviour]] = {
    "ok": Behaviour(),
    "slow": Behaviour(delay=0.5, chunk_delay=0.1),
    "slow_first_word": Behaviour(delay=2.0),
    "reasoning": Behaviour(reasoning=20, chunk_delay=0.2),
    "no_usage": Behaviour(usage=False),
    "usage_last": Behaviour(usage=True),
    "cut_short": Behaviour(finish=FinishReason.LENGTH),
    "length_without_content": Behaviour(finish=FinishReason.LENGTH, text=""),
    "content_filter": Behaviour(finish=FinishReason.FILTER, text=""),
    "refusal": Behaviour(finish=FinishReason.REFUSAL, text="I cannot help with that."),
    "error_words": Behaviour(text="Error: 402 Payment Required, insufficient credit balance"),
    "long_line": Behaviour(padding=300_000, chunks=1),
    "comments": Behaviour(comments=3, chunk_delay=0.05),
    "crlf": Behaviour(crlf=True),
    "json_for_stream": Behaviour(whole=True),
    "parallel_calls": Behaviour(calls=3),
    "no_tools": Behaviour(tools=Tools.REFUSE),
    "ignores_tools": Behaviour(tools=Tools.IGNORE),
}

BEFORE: Final[dict[str, Behaviour]] = {
    "billing": reply(402, NO_CREDIT),
    "billing_one_model": reply(402, body={"error": _ONE_MODEL}),
    "no_quota": reply(402, _NO_QUOTA),
    "spent_cap": reply(429, _SPENT_CAP),
    "rate_limited": reply(429, _SLOW_DOWN, headers={"retry-after": "1"}),
    "rate_limited_bare": reply(429, _SLOW_DOWN),
    "missing": reply(404, "The model `{model}` does not exist"),
    "unavailable": reply(400, "Model is unavailable"),
    "bad_request": reply(400, "Invalid request"),
    "auth": reply(401, WRONG_KEY),
    "echo_key": reply(401, "invalid API key provided: got '{key}'"),
    "forbidden": reply(403, "Your account may not use {model}"),
    "server_error": reply(500, "Internal server error"),
    "down": reply(503, "Service temporarily unavailable"),
    "overloaded": reply(529, "Overloaded"),
    "redirect": reply(307, headers={"location": "http://127.0.0.1:9/elsewhere"}),
    "bad_gateway": reply(502, body=_PAGE.format("502 Bad Gateway")),
    "html": reply(200, body=_PAGE.format("Sign in to the network")),
    "garbage": reply(200, body="\x1f\x8b not json {"),
    "gzip_garbage": reply(200, body="no gzip at all", headers={"content-encoding": "gzip"}),
    "json_error": reply(200, "Upstream failed"),
    "broken_events": reply(200, body="data: {broken\n\ndata: nonsense\n\n", headers=_EVENTS),
    "null_choices": Behaviour(kind=Kind.HOLLOW),
    "empty_choices": Behaviour(kind=Kind.HOLLOW, body=[]),
    "empty_answer": Behaviour(text=""),
    "empty_stream": Behaviour(kind=Kind.END, after=0),
    "end_before_content": Behaviour(kind=Kind.END, before_content=True),
    "cut_before_content": Behaviour(kind=Kind.CUT, before_content=True),
    "error_first": Behaviour(kind=Kind.STREAM_ERROR, after=0, message=_STOPPED),
    "never": Behaviour(kind=Kind.NEVER),
    "head_then_silence": Behaviour(kind=Kind.STALL, after=0),
    "reset": Behaviour(kind=Kind.RESET),
}

AFTER: Final[dict[str, Behaviour]] = {
    "cut": Behaviour(kind=Kind.CUT),
    "stream_error": Behaviour(kind=Kind.STREAM_ERROR, message=_STOPPED),
    "stall": Behaviour(kind=Kind.STALL),
    "end_without_mark": Behaviour(kind=Kind.END),
    "mark_alone": Behaviour(kind=Kind.MARK),
}

PRESETS: Final[Mapping[str, Behaviour]] = {
    name: msgspec.structs.replace(behaviour, name=name)
    for name, behaviour in (HEALTHY | BEFORE | AFTER).items()
}
"""Healthy kinds, troubles before the first content, troubles after it."""

_DEFAULT_OF_STATUS: Final = {
    400: "bad_request",
    401: "auth",
    402: "billing",
    403: "forbidden",
    404: "missing",
    429: "rate_limited",
    500: "server_error",
    502: "bad_gateway",
    503: "down",
    529: "overloaded",
}

BehaviourLike = Behaviour | str | int | Mapping[str, Any]
"""A behaviour, a preset's name, an HTTP status, or a preset's changed fields
(``{"preset": "billing", "delay": 2}``)."""


def status(
    code: int,
    message: str | None = None,
    *,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """A fixed reply; what is not given is what a real provider sends with this status."""
    preset = PRESETS.get(_DEFAULT_OF_STATUS.get(code, ""))
    if preset is not None and message is None and body is None and headers is None:
        return preset
    if preset is None:
        preset = reply(code, f"Status {code}")
    return reply(
        code,
        preset.message if message is None else message,
        body if body is not None or message is not None else preset.body,
        preset.headers if headers is None else headers,
    )


def behaviour(value: BehaviourLike) -> Behaviour:
    """The behaviour that ``value`` stands for.

    Raises:
        ValueError: there is no such preset, or a field is unknown or of a wrong type.
    """
    if isinstance(value, Behaviour):
        return value
    if isinstance(value, int):
        return status(value)
    changes = {"preset": value} if isinstance(value, str) else dict(value)
    name = changes.pop("preset", "ok")
    if name not in PRESETS:
        near = difflib.get_close_matches(str(name), PRESETS, n=1)
        raise ValueError(
            f"no behaviour {name!r}; {f'did you mean {near[0]!r}' if near else 'known'}: "
            f"{', '.join(PRESETS)}"
        )
    fields = msgspec.structs.asdict(PRESETS[name]) | changes
    return msgspec.convert(fields, Behaviour)  # its ValidationError is a ValueError
