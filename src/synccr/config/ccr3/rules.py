"""CCR 3's routing rules: those that are one of CCR 2's routes. Pure.

CCR 3 takes the first rule that fits; each has one condition and sets what it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from synccr.config.profile import FALLBACK_SCENARIOS

_MODEL = "request.body.model"
_EQUAL = ("==", "contains", "starts-with")
_WITHIN = ("contains", "contains-deep")

Resolve = Callable[[object], str | None]
"""CCR 3's name for a model as ``provider,model``; None for one that is not configured."""


@dataclass
class Routes:
    """What the rules are in CCR 2's form.

    Attributes:
        router: ``Router``.
        fallback: ``fallback``, of those rules that have a list of their own.
        left: sentences on rules that are no routes.
    """

    router: dict[str, Any] = field(default_factory=dict)
    fallback: dict[str, list[str]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def read_rules(rules: object, resolve: Resolve) -> Routes:
    """The routes that rules make; what comes after one that takes every request is never asked."""
    found = Routes()
    for rule in rules if isinstance(rules, list) else ():
        if not isinstance(rule, dict):
            continue
        reason = _take(rule, found, resolve)
        if reason:
            found.left.append(f"rule {_name(rule)}: {reason}")
    return found


def chain(fallback: object, resolve: Resolve) -> list[str]:
    """The models of a fallback that tries one after the other."""
    if not isinstance(fallback, dict) or fallback.get("mode") != "model-chain":
        return []
    models = fallback.get("models")
    named = (resolve(name) for name in (models if isinstance(models, list) else ()))
    return list(dict.fromkeys(name for name in named if name))


def _take(rule: Mapping[str, Any], found: Routes, resolve: Resolve) -> str:
    """Make a route of a rule; a reason when it is none."""
    if rule.get("enabled") is False:
        return "it is switched off"
    if "default" in found.router:
        return "it comes after a rule that takes every request"
    kind = _kind(rule)
    if kind is None:
        return "CCR 2 has no route for its condition"
    if kind.scenario in found.router:
        return f"there is one for {kind.scenario} before it"
    targets = list(_targets(rule))
    if len(targets) != 1:
        return "it sets more than the model"
    model = resolve(targets[0])
    if model is None:
        return "its model is not configured, or not taken"
    found.router[kind.scenario] = model
    if kind.threshold is not None:
        found.router["longContextThreshold"] = kind.threshold
    if models := chain(rule.get("fallback"), resolve):
        if kind.scenario not in FALLBACK_SCENARIOS:
            return "its own list of fallbacks"
        found.fallback[kind.scenario] = models
    return ""


@dataclass(frozen=True)
class _Kind:
    scenario: str
    threshold: int | None = None


def _kind(rule: Mapping[str, Any]) -> _Kind | None:
    """Which of CCR 2's routes a rule is."""
    at = rule.get("condition")
    if rule.get("type", "condition") not in ("condition", "model-prefix"):
        return None
    if not isinstance(at, dict):
        return None
    left, how = str(at.get("left", "")), str(at.get("operator", ""))
    right = str(at.get("right", "")).strip().lower()
    if left == _MODEL:
        if how == "!=" and not right:
            return _Kind("default")
        if how in _EQUAL and "haiku" in right:
            return _Kind("background")
        # All that Claude Code asks for by itself.
        everything = how in ("contains", "starts-with") and right in ("claude", "claude-")
        return _Kind("default") if everything else None
    if left == "request.tokenCount" and how in (">", ">=") and right.isascii() and right.isdigit():
        return _Kind("longContext", max(0, int(right[:9]) - (how == ">=")))
    if left in ("request.body.thinking", "request.body.thinking.type"):
        given = right in ("", "disabled") if how == "!=" else right in ("enabled", "adaptive")
        return _Kind("think") if given and how in ("!=", *_EQUAL) else None
    if left == "request.body.tools" and how in _WITHIN and right.startswith("web_search"):
        return _Kind("webSearch")
    if left == "request.body.messages" and how in _WITHIN and right.startswith("image"):
        return _Kind("image")
    return None


def _targets(rule: Mapping[str, Any]) -> Iterator[object]:
    """What a rule sets; more than one thing for whatever is not the model alone."""
    listed = rule.get("rewrites")
    one = rule.get("rewrite")
    rewrites = listed if isinstance(listed, list) and listed else [one] if one else []
    if not rewrites and rule.get("target"):
        yield rule["target"]
    for rewrite in rewrites:
        plain = isinstance(rewrite, dict) and rewrite.get("key") == _MODEL
        if plain and rewrite.get("operation", "set") == "set":
            yield rewrite.get("value")
        else:
            yield from (None, None)


def _name(rule: Mapping[str, Any]) -> str:
    return str(rule.get("name") or rule.get("id") or "without a name")
