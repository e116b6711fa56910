"""Heal: a profile and what is known of its models -> a configuration that serves.

Pure. A route whose model cannot serve moves to the first one that can; what a
person wrote and synccr does not know is carried through untouched. Healing a
healed configuration changes nothing more.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from synccr.config.carried import NOTHING, Added, carry
from synccr.config.profile import FALLBACK_SCENARIOS, PROXY_NAMES, SCENARIOS, Profile
from synccr.errors import NoModelServes
from synccr.models.report import FATAL, TRANSIENT, ModelRef, Report, Status

Reports = Mapping[ModelRef, Report]

_NEEDS_NO_TOOLS = "image"
_QUIET_LEVELS = frozenset({"error", "warn"})


@dataclass(frozen=True)
class Change:
    """One difference between a profile and its healed configuration.

    Attributes:
        path: dotted place, e.g. ``Router.default``.
        before, after: the values; a secret is never among them.
        reason: why, for a person.
    """

    path: str
    before: Any
    after: Any
    reason: str


@dataclass(frozen=True)
class Local:
    """The local port, the same whichever profile runs, so that clients go on working.

    Attributes:
        port: the public port.
        api_key: ``APIKEY`` as it is to be written, possibly ``$NAME``; None for none.
        log_level: ``LOG_LEVEL`` that a person asked for; None for none but errors.
    """

    port: int
    api_key: str | None = field(default=None, repr=False)
    log_level: str | None = None


@dataclass(frozen=True)
class Healed:
    """A configuration in which every route leads to a model that can serve.

    Attributes:
        profile: what it was made from.
        config: the document for CCR.
        changes: every difference, with reasons.
        routes: every route of ``config`` that names a model.
        added: what ``config`` has of the other profile.
    """

    profile: Profile
    config: dict[str, Any] = field(repr=False)
    changes: tuple[Change, ...]
    routes: Mapping[str, ModelRef]
    added: Added = NOTHING

    def scenario(self, name: str) -> ModelRef:
        """The model that CCR takes for a scenario: its route, else the default."""
        return self.routes.get(name) or self.routes["default"]


@dataclass(frozen=True)
class Grade:
    """How well a model can serve, best first when sorted.

    0 serves, 1 serves but calls no tools, 2 has a passing trouble, 3 is dead.
    """

    reports: Reports

    def __call__(self, ref: ModelRef) -> int:
        report = self.reports.get(ref)
        if report is None:
            return 0
        if report.status in FATAL:
            return 3
        if report.status in TRANSIENT:
            return 2
        return 1 if report.tools is False else 0


def heal(
    profile: Profile,
    reports: Reports,
    local: Local | None = None,
    *,
    beside: Profile | None = None,
    in_flight: bool = True,
) -> Healed:
    """Make the configuration to write.

    Args:
        profile: what the owner wants.
        reports: what is known; a model without a report is taken to serve.
        local: what to say of the local port.
        beside: the other profile, whose providers the running CCR has too; routes go on leading
            to this profile's own. None for plain ``ccr start``.
        in_flight: write CCR's ``fallback`` lists. False where synccr itself sends a failed
            request again: then the configuration has none, whatever the profile says.

    Raises:
        NoModelServes: no model of the profile can serve.
    """
    grade = Grade(reports)
    models = by_preference(profile.models(), reports)
    if not models or grade(models[0]) > 1:
        raise NoModelServes(
            f"No model of {profile.source} can serve: {summary(_known(profile, reports))}.",
            advice_on(reports.values()) or "Run: synccr models",
        )
    config = copy.deepcopy(dict(profile.raw))
    changes: list[Change] = []
    routes = _heal_routes(profile, reports, models, config, changes)
    added = _carry(profile, beside, config, changes)
    if in_flight:
        others = by_preference(beside.models(), reports) if beside else []
        _write_fallbacks(profile, grade, [*models, *others], routes, config, changes)
    else:
        _drop_fallbacks(config, changes)
        _drop_proxies(config, changes)
    _write_local(profile, local, config, changes)
    return Healed(profile, config, tuple(changes), routes, added)


def _carry(
    profile: Profile, beside: Profile | None, config: dict[str, Any], changes: list[Change]
) -> Added:
    added = carry(profile, beside, config)
    if beside and added.providers:
        own = [provider.name for provider in profile.providers]
        reason = f"the {beside.role} profile's too, so that a failed request can go there"
        changes.append(Change("Providers", own, [*own, *added.providers], reason))
    for name, models in added.models.items():
        known = profile.provider(name)
        before = list(known.models) if known else []
        reason = "the other profile lists them at the same provider"
        changes.append(Change(f"Providers.{name}.models", before, [*before, *models], reason))
    return added


def _drop_proxies(config: dict[str, Any], changes: list[Change]) -> None:
    """Proxies that CCR's own agent refuses, and every request with them: synccr uses them."""
    for name in PROXY_NAMES:
        proxy = config.get(name)
        if isinstance(proxy, str) and proxy and not proxy.lower().startswith(("http:", "https:")):
            del config[name]
            reason = "synccr goes through it itself; CCR knows HTTP proxies only"
            changes.append(Change(name, "(a proxy)", None, reason))


def _drop_fallbacks(config: dict[str, Any], changes: list[Change]) -> None:
    lists = config.pop("fallback", None)
    if lists:
        reason = "synccr sends a failed request again by itself"
        changes.append(Change("fallback", lists, None, reason))


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


def _heal_routes(
    profile: Profile,
    reports: Reports,
    models: Sequence[ModelRef],
    config: dict[str, Any],
    changes: list[Change],
) -> dict[str, ModelRef]:
    grade = Grade(reports)
    routes: dict[str, ModelRef] = {}
    for name, ref in profile.routes.items():
        best = _for_route(name, models, reports, grade)
        limit = 1 if name not in SCENARIOS or name == _NEEDS_NO_TOOLS else 0
        routes[name] = ref if grade(ref) <= max(grade(best), limit) else best
    if "default" not in routes:
        routes["default"] = models[0]
    wanted = {name: str(ref) for name, ref in routes.items()}
    router = config.setdefault("Router", {})
    if router is None:
        router = config["Router"] = {}
    for name, after in wanted.items():
        before = router.get(name) or None
        if before != after:
            router[name] = after
            changes.append(
                Change(f"Router.{name}", before, after, _why(profile.routes.get(name), reports))
            )
    return routes


def _for_route(name: str, models: Sequence[ModelRef], reports: Reports, grade: Grade) -> ModelRef:
    """Where a route goes when its own model cannot serve."""
    if name != "longContext":
        return models[0]
    serving = [ref for ref in models if grade(ref) == grade(models[0])]
    return max(serving, key=lambda ref: _context(ref, reports))  # the first of equals


def _context(ref: ModelRef, reports: Reports) -> int:
    report = reports.get(ref)
    return (report.context_length if report else None) or 0


def _write_fallbacks(
    profile: Profile,
    grade: Grade,
    models: Sequence[ModelRef],
    routes: Mapping[str, ModelRef],
    config: dict[str, Any],
    changes: list[Change],
) -> None:
    """CCR's in-flight fallback for every scenario: the owner's list first, then
    all others, healthy ones before those with a passing trouble, no dead ones."""
    lists = dict(config.get("fallback") or {})
    for name in FALLBACK_SCENARIOS:
        own = profile.fallbacks.get(name, ())
        route = routes.get(name) or routes["default"]
        usable = [ref for ref in dict.fromkeys([*own, *models]) if ref != route and grade(ref) < 3]
        usable.sort(key=grade)
        before, after = lists.get(name), [str(ref) for ref in usable]
        if (before or []) != after:
            lists[name] = after
            changes.append(
                Change(
                    f"fallback.{name}",
                    before,
                    after,
                    "CCR sends a failed request to the next of these at once",
                )
            )
    if lists:
        config["fallback"] = lists


def _write_local(
    profile: Profile, local: Local | None, config: dict[str, Any], changes: list[Change]
) -> None:
    def put(path: str, after: Any, reason: str, shown: Any = None) -> None:
        before = config.get(path)
        if before != after:
            config[path] = after
            changes.append(Change(path, before, shown or after, reason))

    if local and local.port != profile.port:
        put("PORT", local.port, "the port that clients know")
    if local and local.api_key and local.api_key != profile.api_key_text:
        reason = "only programs that know it may use the local port"
        config["APIKEY"] = local.api_key
        changes.append(Change("APIKEY", _shown(profile.api_key_text), "(a key)", reason))
    if local and not local.api_key and profile.api_key_text:
        del config["APIKEY"]
        reason = "the primary profile has none, and clients run without one"
        changes.append(Change("APIKEY", "(a key)", None, reason))
    if config.get("HOST") not in (None, "", "127.0.0.1"):
        put("HOST", "127.0.0.1", "synccr listens there itself and passes requests on to CCR")
    if config.get("LOG") is False:
        put("LOG", True, "errors are seen in CCR's log")
    if local and local.log_level:
        put("LOG_LEVEL", local.log_level, "asked for at the start (--log-level)")
    elif config.get("LOG_LEVEL") not in _QUIET_LEVELS:
        put("LOG_LEVEL", "error", "keeps errors, and neither prompts nor keys, on disk")


def _shown(key: str | None) -> str | None:
    return "(a key)" if key else None


def _why(ref: ModelRef | None, reports: Reports) -> str:
    if ref is None:
        return "there was no default route, and CCR answers 400 without one"
    report = reports.get(ref)
    if report is None:
        return f"{ref} was not checked"
    if report.status in (Status.OK, Status.UNVERIFIED):
        return f"{ref} calls no tools, and Claude Code needs them"
    return f"{ref}: {report.status}" + (f" ({report.detail})" if report.detail else "")


def _known(profile: Profile, reports: Reports) -> Reports:
    return {ref: reports[ref] for ref in profile.models() if ref in reports}


def summary(reports: Reports) -> str:
    """The state of some models in one line: the first six, and how many more."""
    found = [f"{ref} {report.status}" for ref, report in reports.items()]
    return "; ".join(found[:6]) + (f"; and {len(found) - 6} more" if len(found) > 6 else "")


def advice_on(reports: Iterable[Report]) -> str:
    """What to do about some models' troubles; empty when there is nothing to do."""
    return " ".join(advice_lines(reports))


def advice_lines(reports: Iterable[Report]) -> list[str]:
    """As ``advice``, with all that the reports tell."""
    found = list(reports)
    renewals = [r.retry_at for r in found if r.status is Status.QUOTA and r.retry_at is not None]
    details = (r.detail for r in found if r.status is Status.UNREACHABLE)
    unreachable = " ".join(dict.fromkeys(map(_when_unreachable, details)))
    return advice((r.status for r in found), min(renewals, default=None), unreachable)


_NETWORK = "Check the network and the provider's address."


def _when_unreachable(detail: str) -> str:
    """What to do, by what the transport says."""
    if proxy := re.search(r"the proxy \S+ \(([^)]+)\)", detail):
        return f"Check the proxy: look at {proxy[1]}."
    if "NODE_EXTRA_CA_CERTS" in detail:
        return "Put the file of your network's certificate authority into NODE_EXTRA_CA_CERTS."
    return _NETWORK


def advice(
    statuses: Iterable[Status], renewal: datetime | None = None, unreachable: str = _NETWORK
) -> list[str]:
    """One sentence a kind of trouble, the most telling first.

    Args:
        statuses: the troubles there are.
        renewal: when the quota renews, if that is known.
        unreachable: what to do about providers that cannot be reached.
    """
    until = f"until {renewal:%Y-%m-%d %H:%M} UTC, when the quota renews" if renewal else ""
    words = {
        Status.AUTH: "Check the provider's key.",
        Status.BILLING: "Top up or upgrade at the provider (synthetic.new: https://synthetic.new/billing).",
        Status.QUOTA: f"Wait {until or 'until the quota renews'}, or upgrade.",
        Status.MISSING: "Run synccr models for names that exist.",
        Status.UNREACHABLE: unreachable,
        Status.TIMEOUT: "Try again, or raise preflight_timeout.",
        Status.OVERLOADED: "Try again in some minutes.",
        Status.RATE_LIMITED: "Try again in a minute.",
    }
    seen = set(statuses)
    return [text for status, text in words.items() if status in seen]
