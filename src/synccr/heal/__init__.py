"""Heal: a profile and what is known of its models -> a configuration that serves.

Pure. Three passes, each a function from the profile to the values that it would write:

``routes``      where each route leads, and for a CCR of its own the lists of models that it
                tries next by itself
``local_port``  port, key and host of the port that clients know, and the proxies
``log_level``   what CCR keeps on disk

What no pass names is carried through as a person wrote it. Healing a healed configuration
changes nothing more. ``advice`` has the sentences on what a person can do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synccr.config.combined_providers import NOTHING, Added, combine
from synccr.config.profile import Local, Profile
from synccr.errors import NoModelServes
from synccr.heal.advice import advice_on, summary
from synccr.heal.change import Change, written
from synccr.heal.local_port import drop_proxies, write_port
from synccr.heal.log_level import write_log
from synccr.heal.routes import (
    NO_TOOLS,
    Grade,
    by_preference,
    drop_fallbacks,
    healed_routes,
    write_fallbacks,
    write_routes,
)
from synccr.models.report import ModelRef, Reports

__all__ = ["Change", "Healed", "heal", "heal_supervised"]


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


def heal(profile: Profile, reports: Reports, local: Local, *, read: bool = True) -> Healed:
    """The configuration for a CCR that a person starts: it sends a failed request on by itself.

    Args:
        profile: what the owner wants.
        reports: what is known; a model without a report is taken to serve.
        local: what to say of the local port.
        read: such a CCR reads it; else it has neither lists for failed requests nor a log level.

    Raises:
        NoModelServes: no model of the profile can serve.
    """
    models = _serving(profile, reports)
    routes = healed_routes(profile, models, reports)
    writes = [
        *write_routes(profile, routes, reports),
        *(write_fallbacks(profile, routes, models, reports) if read else ()),
        *write_port(profile, local),
        *(write_log(profile, local.log_level) if read else ()),
    ]
    changes = tuple(one.change for one in writes)
    return Healed(profile, written(profile.raw, writes), changes, routes)


def heal_supervised(profile: Profile, other: Profile, reports: Reports, local: Local) -> Healed:
    """The configuration for the CCR that synccr runs: synccr sends a failed request on.

    It has the providers of ``other``, too, so that a request can go there; routes lead to the
    profile's own. For arguments and errors see :func:`heal`.
    """
    models = _serving(profile, reports)
    routes = healed_routes(profile, models, reports)
    document, added = combine(profile, other)
    first = list(write_routes(profile, routes, reports))
    then = [
        *drop_fallbacks(profile),
        *drop_proxies(profile),
        *write_port(profile, local),
        *write_log(profile, local.log_level),
    ]
    changes = [one.change for one in first] + _additions(profile, other, added)
    changes += [one.change for one in then]
    return Healed(profile, written(document, [*first, *then]), tuple(changes), routes, added)


def _serving(profile: Profile, reports: Reports) -> Sequence[ModelRef]:
    """The profile's models, the first one of which serves."""
    models = by_preference(profile.models(), reports)
    if models and Grade(reports)(models[0]) <= NO_TOOLS:
        return models
    known = {ref: reports[ref] for ref in profile.models() if ref in reports}
    raise NoModelServes(
        f"No model of {profile.source} can serve: {summary(known)}.",
        advice_on(reports.values()) or "Run: synccr models",
    )


def _additions(profile: Profile, other: Profile, added: Added) -> list[Change]:
    changes = []
    if added.providers:
        own = [provider.name for provider in profile.providers]
        reason = f"the {other.role} profile's too, so that a failed request can go there"
        changes.append(Change("Providers", own, [*own, *added.providers], reason))
    for name, models in added.models.items():
        known = profile.provider(name)
        before = list(known.models) if known else []
        reason = "the other profile lists them at the same provider"
        changes.append(Change(f"Providers.{name}.models", before, [*before, *models], reason))
    return changes
