"""The first pass: each route on a model that can serve.

A route whose model cannot serve moves to the first of its owner's models that can; one for long
prompts to the model that takes most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from synccr.config.profile import FALLBACK_SCENARIOS, SCENARIOS, Profile
from synccr.heal.change import Write, write
from synccr.models.report import FATAL, TRANSIENT, ModelRef, Reports, Status

SERVES, NO_TOOLS, PASSING_TROUBLE, GONE = range(4)
"""Grades, best first: all is well; it calls no tools; it may serve again soon; it is dead."""

_NEEDS_NO_TOOLS = "image"


@dataclass(frozen=True)
class Grade:
    """How well a model can serve, best first when sorted; one without a report serves."""

    reports: Reports

    def __call__(self, ref: ModelRef) -> int:
        report = self.reports.get(ref)
        if report is None:
            return SERVES
        if report.status in FATAL:
            return GONE
        if report.status in TRANSIENT:
            return PASSING_TROUBLE
        return NO_TOOLS if report.tools is False else SERVES


def by_preference(models: Iterable[ModelRef], reports: Reports) -> list[ModelRef]:
    """Models in their owner's order, the ones to move to first: by grade, then providers whose
    account is in order, as far as no other model of it has answered since."""
    troubled: set[str] = set()
    for ref, one in sorted(reports.items(), key=lambda item: item[1].checked_at):
        if one.account:
            troubled.add(ref.provider)
        elif one.status is Status.OK:
            troubled.discard(ref.provider)
    grade = Grade(reports)
    return sorted(models, key=lambda ref: (grade(ref), ref.provider in troubled))


def healed_routes(
    profile: Profile, models: Sequence[ModelRef], reports: Reports
) -> dict[str, ModelRef]:
    """Every route with the model that it is to have; ``default`` is always among them.

    Args:
        models: of the profile, by preference; the first one serves.
    """
    grade = Grade(reports)
    routes: dict[str, ModelRef] = {}
    for name, ref in profile.routes.items():
        best = _instead(name, models, reports)
        limit = NO_TOOLS if name not in SCENARIOS or name == _NEEDS_NO_TOOLS else SERVES
        routes[name] = ref if grade(ref) <= max(grade(best), limit) else best
    return routes if "default" in routes else routes | {"default": models[0]}


def write_routes(
    profile: Profile, routes: Mapping[str, ModelRef], reports: Reports
) -> Iterator[Write]:
    """The routes that are not as the profile has them."""
    router = profile.raw.get("Router") or {}
    for name, ref in routes.items():
        before = router.get(name) or None
        if before != str(ref):
            reason = _why_not(profile.routes.get(name), reports)
            yield write("Router", name, before=before, value=str(ref), reason=reason)


def write_fallbacks(
    profile: Profile,
    routes: Mapping[str, ModelRef],
    models: Sequence[ModelRef],
    reports: Reports,
) -> Iterator[Write]:
    """CCR's own list of what it tries next, for every scenario: the owner's first, then all
    others, healthy ones before those with a passing trouble, no dead ones."""
    grade = Grade(reports)
    lists = profile.raw.get("fallback") or {}
    for name in FALLBACK_SCENARIOS:
        route = routes.get(name) or routes["default"]
        named = dict.fromkeys([*profile.fallbacks.get(name, ()), *models])
        usable = sorted((r for r in named if r != route and grade(r) < GONE), key=grade)
        before, after = lists.get(name), [str(ref) for ref in usable]
        if (before or []) != after:
            reason = "CCR sends a failed request to the next of these at once"
            yield write("fallback", name, before=before, value=after, reason=reason)


def drop_fallbacks(profile: Profile) -> Iterator[Write]:
    """No such list: a request would go on without synccr's knowing."""
    if lists := profile.raw.get("fallback"):
        reason = "synccr sends a failed request again by itself"
        yield write("fallback", before=lists, value=None, reason=reason)


def _instead(name: str, models: Sequence[ModelRef], reports: Reports) -> ModelRef:
    """Where a route goes when its own model cannot serve."""
    if name != "longContext":
        return models[0]
    grade = Grade(reports)
    serving = [ref for ref in models if grade(ref) == grade(models[0])]
    return max(serving, key=lambda ref: _context(ref, reports))  # the first of equals


def _context(ref: ModelRef, reports: Reports) -> int:
    report = reports.get(ref)
    return (report.context_length if report else None) or 0


def _why_not(ref: ModelRef | None, reports: Reports) -> str:
    """Why a route does not lead to its own model."""
    if ref is None:
        return "there was no default route, and CCR answers 400 without one"
    report = reports.get(ref)
    if report is None:
        return f"{ref} was not checked"
    if report.status in (Status.OK, Status.UNVERIFIED):
        return f"{ref} calls no tools, and Claude Code needs them"
    return f"{ref}: {report.status}" + (f" ({report.detail})" if report.detail else "")
