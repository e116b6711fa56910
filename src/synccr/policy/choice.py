"""Where to go: which healed configuration its owner would prefer now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from synccr.errors import NoModelServes
from synccr.heal import Grade, Healed, Local, Reports, heal
from synccr.profile import SCENARIOS, Profile, owner_order
from synccr.report import ModelRef


@dataclass(frozen=True)
class Choice:
    """A configuration and why this one.

    Attributes:
        healed: what to run.
        why: one sentence that compares it with the other candidate.
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
    """
    order = owner_order(primary, fallback)
    candidates: list[Healed] = []
    for profile in (primary, fallback):
        try:
            candidates.append(heal(profile, reports, local))
        except NoModelServes:
            continue
    candidates = [c for c in candidates if digest(c) not in avoid]
    if not candidates:
        return None
    ranks = [rank(candidate, order) for candidate in candidates]
    best = min(ranks)
    equals = [c for c, r in zip(candidates, ranks, strict=True) if r == best]
    chosen = _between_equals(equals, reports, current)
    return Choice(chosen, _explain(chosen, candidates, equals, reports, order))


def rank(candidate: Healed, order: Sequence[ModelRef]) -> tuple[int, ...]:
    """Place of each scenario's model in the owner's order, ``default`` first; less is better."""
    return tuple(order.index(candidate.scenario(name)) for name in SCENARIOS)


def digest(healed: Healed) -> str:
    """A configuration by its role and routes, to remember that it did not come up."""
    routes = ";".join(f"{name}={ref}" for name, ref in sorted(healed.routes.items()))
    return f"{healed.profile.role}:{routes}"


def serves(healed: Healed, reports: Reports) -> bool:
    """Whether no route of a configuration leads to a model that is known to be away."""
    grade = Grade(reports)
    return all(grade(ref) < 2 for ref in healed.routes.values())


def _between_equals(equals: list[Healed], reports: Reports, current: Healed | None) -> Healed:
    by_role = {c.profile.role: c for c in equals}
    if current is None:
        return equals[0]
    if serves(current, reports) and current.profile.role in by_role:
        return by_role[current.profile.role]
    return by_role.get("fallback", equals[0])


def _explain(
    chosen: Healed,
    candidates: list[Healed],
    equals: list[Healed],
    reports: Reports,
    order: Sequence[ModelRef],
) -> str:
    role, model = chosen.profile.role, chosen.scenario("default")
    first = order[0]
    if model == first:
        reason = f"{role} serves its owner's first choice, {model}"
    else:
        report = reports.get(first)
        state = report.status if report else "not routed"
        reason = f"{first} is {state}; {role} serves {model}"
    others = [c for c in candidates if c is not chosen]
    if not others:
        missing = "fallback" if role == "primary" else "primary"
        return f"{reason}; no model of the {missing} profile can serve"
    other = others[0]
    if other in equals:
        return f"{reason}; {other.profile.role} would serve the same models"
    name = next(n for n in SCENARIOS if chosen.scenario(n) != other.scenario(n))
    return (
        f"{reason}; {other.profile.role} would serve {other.scenario(name)} for {name}, "
        "which its owner prefers less"
    )
