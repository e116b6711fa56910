"""A provider's list of models: a hint for context sizes, tools and what to use instead.

Never proof: synthetic.new lists always-on models only, and an absent one may answer on
demand.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from synccr.models.report import ModelRef, Report, Status

_ROWS = 5000
_LONGEST_CONTEXT = 10**12
"""Tokens; more is a mistake, and no number for the record."""
_CONTEXT_FIELDS = (
    "context_length",  # OpenRouter, synthetic.new
    "context_window",  # Groq
    "max_model_len",  # vLLM
    "max_context_length",  # Mistral
    "inputTokenLimit",  # Gemini
)
_NEAR = 0.6
_SAME = 0.9


class OfferedModel(msgspec.Struct, frozen=True):
    """One row of a provider's list.

    Attributes:
        id: the model's name.
        context_length: tokens.
        tools: takes tools, as the list says.
        always_on: is up without being asked for; None when the list does not say.
    """

    id: str
    context_length: int | None = None
    tools: bool | None = None
    always_on: bool | None = None


def offered_in(document: Any) -> tuple[OfferedModel, ...]:
    """The rows of a list's JSON; whatever cannot be understood is left out."""
    rows = document
    if isinstance(document, dict):
        rows = document.get("data") or document.get("models")
    if not isinstance(rows, list):
        return ()
    return tuple(m for row in rows[:_ROWS] if isinstance(row, dict) and (m := _offered(row)))


def _offered(row: dict[str, Any]) -> OfferedModel | None:
    name = row.get("id") or row.get("name")
    # A lone surrogate (JSON may escape one) is not printable, and in no encoding.
    if not isinstance(name, str) or not 0 < len(name) <= 300 or not name.isprintable():
        return None
    top = row.get("top_provider")
    sources = (row, top) if isinstance(top, dict) else (row,)
    lengths = (source.get(name) for name in _CONTEXT_FIELDS for source in sources)
    always_on = row.get("always_on")
    return OfferedModel(
        id=name.removeprefix("models/"),
        context_length=next(
            (n for n in lengths if type(n) is int and 0 < n < _LONGEST_CONTEXT), None
        ),
        tools=_tools(row),
        always_on=always_on if isinstance(always_on, bool) else None,
    )


def _tools(row: dict[str, Any]) -> bool | None:
    for name in ("supported_features", "supported_parameters"):
        if isinstance(features := row.get(name), list):
            return "tools" in features
    capabilities = row.get("capabilities")
    calls = capabilities.get("function_calling") if isinstance(capabilities, dict) else None
    return calls if isinstance(calls, bool) else None


def alternatives(
    ref: ModelRef,
    profile_order: Sequence[ModelRef],
    reports: Mapping[ModelRef, Report],
    offered: Mapping[str, Sequence[OfferedModel]],
    *,
    limit: int = 3,
) -> list[ModelRef]:
    """What to use instead of a model that cannot serve.

    Healthy models of the profile in its order, proved ones first, then the nearest names
    of the provider's list. A misspelt name's nearest right one is always among them.

    Args:
        ref: the model that cannot serve.
        profile_order: every model of the profile, the owner's favourite first.
        reports: what is known.
        offered: lists of models, by the provider's name.
        limit: at most so many.
    """
    own = [r for r in dict.fromkeys(profile_order) if r != ref and r in reports]
    own = [r for r in own if reports[r].serves]
    own.sort(key=lambda r: reports[r].status is not Status.OK)
    report = reports.get(ref)
    if report is not None and report.account:
        # The account is the trouble: its other models fail alike.
        return own[:limit]
    near = [r for r in _nearest(ref, offered.get(ref.provider, ()), reports) if r not in own]
    if near and _likeness(ref.model, near[0].model) >= _SAME:
        return own[: limit - 1] + near[: max(1, limit - len(own))]
    return (own + near)[:limit]


def _nearest(
    ref: ModelRef, rows: Sequence[OfferedModel], reports: Mapping[ModelRef, Report]
) -> list[ModelRef]:
    found = []
    for row in rows:
        other = ModelRef(ref.provider, row.id)
        known = reports.get(other)
        likeness = _likeness(ref.model, row.id)
        usable = row.tools is not False and (known is None or known.serves)
        if other != ref and usable and likeness >= _NEAR:
            found.append((row.always_on is False, -likeness, other))
    return [other for _, _, other in sorted(found)]


def _likeness(one: str, other: str) -> float:
    matcher = difflib.SequenceMatcher(None, one.lower(), other.lower(), autojunk=False)
    return matcher.ratio() if matcher.real_quick_ratio() >= _NEAR else 0.0
