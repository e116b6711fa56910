"""Where to go: which healed configuration its owner would prefer now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from synccr.config.profile import SCENARIOS, Local, Profile, Role, owner_order
from synccr.errors import NoModelServes
from synccr.heal import Healed, heal_supervised
from synccr.heal.routes import Grade
from synccr.models.report import SERVING, ModelRef, Reports


@dataclass(frozen=True)
class Choice:
    """A configuration and why this one.

    Attributes:
        healed: what to run.
        why: one sentence that names each model and each profile passed over, and the reason.
    """

    healed: Healed
    why: str


def choose(
    primary: Profile,
    fallback: Profile,
    reports: Reports,
    local: Local,
    current: Healed | None,
    avoid: Collection[str] = (),
    only: Role | None = None,
) -> Choice | None:
    """Pick among the healed primary and fallback; None when no model serves.

    The one whose ``default`` model stands earliest in its owner's order wins;
    then the same for the other scenarios. Between equals a configuration that
    still serves stays; when trouble came while running, the fallback profile
    is taken, because its owner wrote it for this; at the start, the primary.

    Args:
        reports: models without a report are taken to serve.
        local: the local port.
        current: what runs now; None at the start.
        avoid: digests of configurations that did not come up.
        only: consider this profile alone; the other one's providers are carried all the same.
    """
    pairs = [(primary, fallback), (fallback, primary)]
    pairs = [pair for pair in pairs if only in (None, pair[0].role)]
    order = owner_order(*(profile for profile, _ in pairs))
    candidates: list[Healed] = []
    passed_over: dict[Role, str] = {}
    for profile, other in pairs:
        try:
            candidate = heal_supervised(profile, other, reports, local)
        except NoModelServes:
            passed_over[profile.role] = "has no model that can serve"
            continue
        if digest(candidate) in avoid:
            passed_over[profile.role] = "did not come up just now"
        else:
            candidates.append(candidate)
    if not candidates:
        return None
    ranks = [rank(candidate, order) for candidate in candidates]
    best = min(ranks)
    equals = [c for c, r in zip(candidates, ranks, strict=True) if r == best]
    chosen = _between_equals(equals, reports, current)
    passed_over |= {c.profile.role: _compared(c, chosen) for c in candidates}
    passed_over.pop(chosen.profile.role, None)
    return Choice(chosen, _explain(chosen, passed_over, reports, order))


def rank(candidate: Healed, order: Sequence[ModelRef]) -> tuple[int, ...]:
    """Place of each scenario's model in the owner's order, ``default`` first; less is better."""
    return tuple(order.index(candidate.scenario(name)) for name in SCENARIOS)


def digest(healed: Healed) -> str:
    """A configuration by its role and routes, to remember that it did not come up."""
    routes = ";".join(f"{name}={ref}" for name, ref in sorted(healed.routes.items()))
    return f"{healed.profile.role}:{routes}"


def serves(healed: Healed, reports: Reports) -> bool:
    """Whether no route of a configuration leads to a model that is known to be unavailable."""
    grade = Grade(reports)
    return all(grade(ref) < 2 for ref in healed.routes.values())


def _between_equals(equals: list[Healed], reports: Reports, current: Healed | None) -> Healed:
    by_role = {c.profile.role: c for c in equals}
    if current is None:
        return equals[0]
    if serves(current, reports) and current.profile.role in by_role:
        return by_role[current.profile.role]
    return by_role.get("fallback", equals[0])


def _compared(other: Healed, chosen: Healed) -> str:
    """Why ``chosen`` and not this one."""
    for name in SCENARIOS:
        if other.scenario(name) != chosen.scenario(name):
            return f"would serve {other.scenario(name)} for {name}, which its owner prefers less"
    return "would serve the same models"


def _explain(
    chosen: Healed, passed_over: Mapping[Role, str], reports: Reports, order: Sequence[ModelRef]
) -> str:
    model = chosen.scenario("default")
    better = [_state(ref, reports) for ref in order[: order.index(model)]]
    first = f"{chosen.profile.role} serves {model}"
    if not better:
        first += ", its owner's first choice"
    moved = [
        f"route {name} leads to {ref}, because {_state(wanted, reports)}"
        for name, wanted in chosen.profile.routes.items()
        if name != "default" and (ref := chosen.routes[name]) != wanted
    ]
    others = [f"{role} {reason}" for role, reason in passed_over.items()]
    return "; ".join([first, *better, *moved, *others])


def _state(ref: ModelRef, reports: Reports) -> str:
    report = reports.get(ref)
    if report is None or report.status in SERVING:
        no_tools = report is not None and report.tools is False
        return f"{ref} {'calls no tools' if no_tools else 'is not what this profile would take'}"
    until = f" until {report.retry_at:%Y-%m-%d %H:%M} UTC" if report.retry_at else ""
    return f"{ref} is away ({report.status}{until})"
