"""Which model is asked for what: made once of all that is known, read for each request.

A plan has for each scenario its candidates, best first. :func:`next_try` picks from it where a
request goes that its model failed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from synccr.classify import Scope
from synccr.config.profile import SCENARIOS, Profile, owner_order
from synccr.heal import Healed
from synccr.heal.routes import by_preference
from synccr.judge.outcome import Trouble
from synccr.models.report import ModelRef, Reports
from synccr.policy.availability import Breaker
from synccr.policy.model_health import Health
from synccr.settings import OnTrouble, Settings

MAX_ANSWERS = 8
"""Tries of one turn, those included that were answered without asking a provider."""
_NOT_SENT = frozenset({Trouble.KNOWN, Trouble.TRIAL})
_FAULTS = frozenset({400, 413, 422})
"""Statuses by which the request itself may be at fault."""
_LONGEST_WAIT = 300.0
"""A provider that names a later time than this is not waited for, seconds."""
_BEST_FIRST = (Breaker.CLOSED, Breaker.HALF_OPEN, Breaker.OPEN)
_FIRST_WAIT = 2.0
_LONGEST_PAUSE = 30.0


@dataclass(frozen=True)
class Need:
    """What a request needs of a model.

    Attributes:
        tools: it offers tools.
        tokens: its estimated size; 0 when unknown.
    """

    tools: bool = False
    tokens: int = 0


NOTHING = Need()
"""Any model will do."""


@dataclass(frozen=True)
class Candidate:
    """A model that may serve a scenario.

    Attributes:
        reason: why it stands where it does, in a line.
        context: tokens that it takes; None when unknown.
        tools: it calls tools; None when unknown.
        breaker: whether its requests are sent.
        rank: its place in the owner's order for this scenario; less is better.
    """

    ref: ModelRef
    reason: str
    context: int | None
    tools: bool | None
    breaker: Breaker = Breaker.CLOSED
    rank: int = 0

    def fits(self, need: Need) -> bool:
        """Whether nothing is known that makes this model unfit for a request."""
        tools = not need.tools or self.tools is not False
        return tools and (self.context is None or need.tokens <= self.context)


@dataclass(frozen=True)
class Tried:
    """One attempt of a turn, and how it failed.

    Attributes:
        scope: what the provider's words are about.
        too_long: the request does not fit into the model's context window.
        retry_after: seconds from now after which the provider wants to be asked again.
    """

    ref: ModelRef
    trouble: Trouble
    http_status: int
    scope: Scope = Scope.MODEL
    too_long: bool = False
    retry_after: float | None = None

    @property
    def sent(self) -> bool:
        """Whether a provider was asked."""
        return self.trouble not in _NOT_SENT

    @property
    def at_fault(self) -> bool:
        """Whether the request itself may be why."""
        return self.sent and (self.scope is Scope.REQUEST or self.http_status in _FAULTS)


@dataclass(frozen=True)
class Next:
    """Where a request goes now.

    Attributes:
        candidate: whom to ask; None when the first failure is to be told.
        reason: why this one, or why none.
        after: seconds to wait before.
    """

    candidate: Candidate | None
    reason: str
    after: float = 0.0


@dataclass(frozen=True)
class RoutePlan:
    """Scenario -> candidates, best first.

    Attributes:
        scenarios: one entry for each of CCR's scenarios.
        routes: where each scenario leads now.
        floor: models that their owner prefers less than the one that is the floor.
    """

    scenarios: Mapping[str, tuple[Candidate, ...]]
    routes: Mapping[str, ModelRef]
    settings: Settings = field(default_factory=Settings)
    floor: frozenset[ModelRef] = frozenset()

    def scenario_of(self, ref: ModelRef) -> str:
        """The first scenario whose route leads to this model; ``default`` when none does."""
        return next((name for name, led in self.routes.items() if led == ref), "default")

    def of(self, ref: ModelRef) -> tuple[Candidate, ...]:
        """The candidates of the scenario that leads to this model."""
        return self.scenarios[self.scenario_of(ref)]

    def asked(self, ref: ModelRef) -> Breaker:
        """The breaker of those that are asked: of the best candidate that there is."""
        return min((one.breaker for one in self.of(ref)), key=_BEST_FIRST.index)

    def lines(self) -> Iterator[str]:
        """For people: each scenario, its candidates and why they stand so."""
        for name, candidates in self.scenarios.items():
            yield f"{name}: " + "; ".join(f"{one.ref} ({one.reason})" for one in candidates)


def make(
    primary: Profile,
    fallback: Profile,
    current: Healed,
    health: Mapping[ModelRef, Health],
    reports: Reports,
    settings: Settings,
) -> RoutePlan:
    """The plan by all that is known.

    Args:
        reports: as healing sees them: an unavailable model keeps its trouble.
    """
    order = owner_order(primary, fallback)
    scenarios = {
        name: _candidates(name, (primary, fallback), current, health, reports, order)
        for name in SCENARIOS
    }
    floor = settings.on_trouble_floor
    lowest = ModelRef.parse(floor) if floor else None
    below = order[order.index(lowest) + 1 :] if lowest in order else ()
    routes = {name: current.scenario(name) for name in SCENARIOS}
    return RoutePlan(scenarios, routes, settings, frozenset(below))


def _candidates(
    name: str,
    profiles: Sequence[Profile],
    current: Healed,
    health: Mapping[ModelRef, Health],
    reports: Reports,
    order: Sequence[ModelRef],
) -> tuple[Candidate, ...]:
    wanted = _wanted(name, profiles, order)
    route = current.scenario(name)
    found = [
        _candidate(ref, rank, health.get(ref), route=ref == route)
        for rank, ref in enumerate(wanted)
    ]
    place = {ref: at for at, ref in enumerate(by_preference(wanted, reports))}
    # CCR takes a scenario of its own for what is long: the next best is the one that holds most.
    size = -1 if name == "longContext" else 0

    def key(one: Candidate) -> tuple[int, bool, int, int]:
        asked = _BEST_FIRST.index(one.breaker)
        return asked, one.ref != route, size * (one.context or 0), place[one.ref]

    return tuple(sorted(found, key=key))


def _wanted(
    name: str, profiles: Sequence[Profile], order: Sequence[ModelRef]
) -> tuple[ModelRef, ...]:
    """The owner's own order for a scenario: its routes, its lists, then all the others."""
    named: list[ModelRef] = []
    for profile in profiles:
        named += [ref for ref in (profile.routes.get(name),) if ref]
        named += profile.fallbacks.get(name, ())
    return tuple(dict.fromkeys([*named, *order]))


def _candidate(ref: ModelRef, rank: int, health: Health | None, *, route: bool) -> Candidate:
    breaker = health.breaker if health else Breaker.CLOSED
    report = health.report if health else None
    if report and breaker is not Breaker.CLOSED:
        word = "is away" if breaker is Breaker.OPEN else "is being tried"
        reason = f"{word}: {report.status}"
    elif route:
        reason = "the route leads there"
    else:
        reason = "its owner's choice" if rank == 0 else f"number {rank + 1} of its owner's order"
    if report and report.tools is False:
        reason += ", calls no tools"
    context = report.context_length if report else None
    return Candidate(ref, reason, context, report.tools if report else None, breaker, rank)


def next_try(
    plan: RoutePlan,
    first: ModelRef,
    tries: Sequence[Tried],
    need: Need,
    *,
    named: bool = False,
) -> Next:
    """Where a request goes that failed so far.

    Args:
        first: the model that it was for.
        tries: what was tried, in order; not empty.
        named: a person named the model, so that no route led there.
    """
    policy = plan.settings.on_trouble_of("named" if named else plan.scenario_of(first))
    refusal = _over(plan, tries, policy)
    if refusal:
        return Next(None, refusal)
    if policy == "wait":
        return _wait(plan, first, tries)
    left = _left(plan, first, {one.ref for one in tries}, need)
    if not left:  # who only rested for a moment is asked after all
        refused = [one.ref for one in tries if not one.sent]
        failed = {one.ref for one in tries if one.sent or refused.count(one.ref) > 1}
        left = _left(plan, first, failed, need)
    if any(one.too_long or one.http_status == 413 for one in tries if one.sent):
        left = [one for one in left if _holds_more(one, plan.of(first), tries, need)]
    doubtful = _doubtful(tries)
    left.sort(key=lambda one: one.ref.provider in doubtful)
    if not left:
        return Next(None, "there is no other model that could serve it")
    return Next(left[0], left[0].reason)


def _doubtful(tries: Sequence[Tried]) -> set[str]:
    """Providers whose other models come last: no connection there, words about the account, or
    two of their models failed already."""
    asked = [one.ref.provider for one in tries if one.sent]
    return {
        one.ref.provider
        for one in tries
        if one.trouble is Trouble.UNREACHABLE
        or one.scope is Scope.KEY
        or asked.count(one.ref.provider) > 1
    }


def _left(
    plan: RoutePlan, first: ModelRef, failed: Collection[ModelRef], need: Need
) -> list[Candidate]:
    """Who may still be asked, best first."""
    asked = plan.asked(first)
    return [
        one
        for one in plan.of(first)
        if one.ref not in failed
        and one.ref not in plan.floor
        and one.fits(need)
        and one.breaker is asked
    ]


def _over(plan: RoutePlan, tries: Sequence[Tried], policy: OnTrouble) -> str:
    """Why a turn is over; empty when it is not."""
    sent = [one for one in tries if one.sent]
    if policy == "stop":
        return "on_trouble is stop"
    if len(tries) >= MAX_ANSWERS or len(sent) >= plan.settings.max_tries:
        return f"{len(sent)} models were asked, and that is enough"
    if sum(one.at_fault for one in sent) >= 2:
        return "two models find fault with the request itself"
    if sum(one.trouble is Trouble.EMPTY for one in sent) >= 2:
        return "two models answer without any content"
    return ""


def _wait(plan: RoutePlan, first: ModelRef, tries: Sequence[Tried]) -> Next:
    """The same model once more, after the pause that it named, or a growing one."""
    same = next((one for one in plan.of(first) if one.ref == first), None)
    if tries[-1].at_fault:
        return Next(None, "the same model would find the same fault with the request")
    pause = tries[-1].retry_after
    if pause is None:
        pause = min(_LONGEST_PAUSE, _FIRST_WAIT * 2.0 ** (len(tries) - 1))
    if pause > _LONGEST_WAIT:
        return Next(None, f"{first} is not to be asked for another {pause:.0f} s")
    candidate = same or Candidate(first, "a person named it", None, None)
    return Next(candidate, f"on_trouble is wait: {first} again in {pause:.0f} s", pause)


def _holds_more(
    one: Candidate, known: Sequence[Candidate], tries: Sequence[Tried], need: Need
) -> bool:
    """Whether a model is known to take more than those for which the request was too long."""
    contexts = {candidate.ref: candidate.context for candidate in known}
    too_small = [
        contexts.get(tried.ref) or 0
        for tried in tries
        if tried.sent and (tried.too_long or tried.http_status == 413)
    ]
    return one.context is not None and one.context > max([*too_small, need.tokens])
