"""The providers of both profiles in one running configuration.

A request that one profile's models do not serve can only go to a provider that the running CCR
has. Providers are told apart by identity (address, key, transformer). CCR finds a provider by
its name, without regard to case (2.0.0's router), so where two of one name are not the same,
the fallback profile's goes by a made-up name: in routes, reports and what is written, never in
the person's file. Pure.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from synccr.config.profile import ConfigWarning, Profile, Provider, interpolate
from synccr.models.report import ModelRef

_LISTS = ("Providers", "providers")


@dataclass(frozen=True)
class Added:
    """What a running configuration has beyond the profile that it was made from.

    Attributes:
        providers: names of whole entries.
        models: by provider of the profile, what only the other profile lists.
        names: made-up names, each with the one in the person's file, variables unreplaced.
    """

    providers: tuple[str, ...] = ()
    models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, document: object) -> Added:
        """From a record of its attributes; nothing when it is none, as in earlier versions."""
        if not isinstance(document, dict):
            return cls()
        models, names = document.get("models"), document.get("names")
        return cls(
            _texts(document.get("providers")),
            {k: _texts(v) for k, v in models.items()} if isinstance(models, dict) else {},
            {k: v for k, v in names.items() if isinstance(v, str)}
            if isinstance(names, dict)
            else {},
        )


NOTHING = Added()


def tell_apart(primary: Profile, fallback: Profile) -> Profile:
    """The fallback profile, each provider that only shares its name with one of the primary's
    under a name of its own."""
    taken = {p.name.lower() for profile in (primary, fallback) for p in profile.providers}
    names: dict[str, str] = {}
    warnings = []
    for index, provider in enumerate(fallback.providers):
        if not _clashes(provider, primary):
            continue
        name = names[provider.name] = _free(f"{provider.name}@fallback", taken)
        taken.add(name.lower())
        warnings.append(
            ConfigWarning(
                f"Providers[{index}].name",
                f"is {provider.name!r} as in the primary profile, with another key, address or "
                f"transformer: synccr calls it {name!r}",
                "Give it another name.",
            )
        )
    return _renamed(fallback, names, tuple(warnings)) if names else fallback


def combine(profile: Profile, other: Profile) -> tuple[dict[str, Any], Added]:
    """The document of ``profile`` with the providers and models of ``other`` that it lacks, after
    its own.

    Every ``provider,model`` of both profiles is a name in the result, so an account that the
    profiles call by two names is there under both.

    Args:
        profile: what runs.
        other: the other profile, their names told apart.
    """
    document = copy.deepcopy(dict(profile.raw))
    own = {p.name: (p, e) for p, e in zip(profile.providers, entries(document), strict=True)}
    providers, models = [], {}
    for provider, entry in zip(other.providers, entries(other.raw), strict=True):
        if provider.name not in own:
            entries(document).append(copy.deepcopy(entry))
            providers.append(provider.name)
            continue
        known, mine = own[provider.name]
        if more := tuple(model for model in provider.models if model not in known.models):
            mine["models"] = [*mine["models"], *more]
            models[provider.name] = more
    return document, Added(tuple(providers), models, profile.own_names)


def own_part(
    document: Mapping[str, Any],
    written: Mapping[str, Any],
    added: Added,
    environ: Mapping[str, str],
) -> dict[str, Any]:
    """A running configuration, possibly edited, without what was added and under the names of
    the person's file. A route to an added provider becomes what was written."""
    mine = copy.deepcopy(dict(document))
    former = _object(written, "Router")
    was = _names_before(document, written)
    for key in (k for k in _LISTS if isinstance(mine.get(k), list)):
        mine[key] = [
            _own_entry(e, was.get(_name(e), ""), added)
            for e in mine[key]
            if _name(e) not in added.providers
        ]
    names = {made_up: interpolate(text, environ) for made_up, text in added.names.items()}
    router = _object(mine, "Router")
    for key in tuple(router):
        if _leads_to(router[key], added.providers):
            router[key] = former.get(key)
            if key not in former:
                del router[key]
                continue
        router[key] = _under(router[key], names)
    lists = _object(mine, "fallback")
    for key in (k for k in lists if isinstance(lists[k], list)):
        lists[key] = [_under(r, names) for r in lists[key] if not _leads_to(r, added.providers)]
    return mine


def edits_of_added(
    document: Mapping[str, Any], written: Mapping[str, Any], added: Added
) -> tuple[str, ...]:
    """Places where a person changed what is not the profile's own: not taken into it."""
    before, after = _by_name(written), _by_name(document)
    places = [
        f"Providers.{name}" for name in added.providers if before.get(name) != after.get(name)
    ]
    for name, models in added.models.items():
        listed = after[name].get("models") if name in after else models
        if not isinstance(listed, list | tuple) or not set(models) <= {str(m) for m in listed}:
            places.append(f"Providers.{name}.models")
    router, former = _object(document, "Router"), _object(written, "Router")
    for key, value in router.items():
        if value != former.get(key) and _leads_to(value, added.providers):
            places.append(f"Router.{key}")
    lists, told = _object(document, "fallback"), _object(written, "fallback")
    for key, value in lists.items():
        if value != told.get(key) and _names_anew(value, told.get(key), added.providers):
            places.append(f"fallback.{key}")
    return tuple(places)


def entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The raw list of providers of a document that was understood, as CCR takes it."""
    found: list[dict[str, Any]] = document.get("Providers") or document["providers"]
    return found


def _clashes(provider: Provider, primary: Profile) -> bool:
    """Whether it only shares its name with one of the primary's."""
    namesakes = [p for p in primary.providers if p.name.lower() == provider.name.lower()]
    exact = [p for p in namesakes if p.name == provider.name]
    return any(not _same_account(p, provider) for p in exact or namesakes)


def _same_account(one: Provider, other: Provider) -> bool:
    """Whether two entries lead to one account in one way, whatever they are called."""
    return (one.url, one.key, one.transformer) == (other.url, other.key, other.transformer)


def _free(name: str, taken: set[str]) -> str:
    numbered = (f"{name}{number}" for number in range(2, len(taken) + 3))
    return next(n for n in (name, *numbered) if n.lower() not in taken)


def _renamed(
    profile: Profile, names: Mapping[str, str], warnings: tuple[ConfigWarning, ...]
) -> Profile:
    raw = copy.deepcopy(dict(profile.raw))
    own_names = {}
    for provider, entry in zip(profile.providers, entries(raw), strict=True):
        if made_up := names.get(provider.name):
            own_names[made_up] = entry["name"]
            entry["name"] = made_up
    for key in profile.routes:
        raw["Router"][key] = _under(raw["Router"][key], names)
    for key in profile.fallbacks:
        raw["fallback"][key] = [_under(entry, names) for entry in raw["fallback"][key]]

    def ref(found: ModelRef) -> ModelRef:
        return found._replace(provider=names.get(found.provider, found.provider))

    return replace(
        profile,
        raw=raw,
        providers=tuple(replace(p, name=names.get(p.name, p.name)) for p in profile.providers),
        routes={key: ref(found) for key, found in profile.routes.items()},
        fallbacks={key: tuple(map(ref, refs)) for key, refs in profile.fallbacks.items()},
        warnings=(*profile.warnings, *warnings),
        own_names=own_names,
    )


def _own_entry(entry: Any, before: str, added: Added) -> Any:
    if before in added.models and isinstance(entry.get("models"), list):
        entry["models"] = [m for m in entry["models"] if m not in added.models[before]]
    if _name(entry) in added.names:
        entry["name"] = added.names[_name(entry)]
    return entry


def _names_before(document: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, str]:
    """What each provider was called when it was written: a new name in the place of one that is
    gone is the same provider, renamed."""
    now, former = list(_by_name(document)), list(_by_name(written))
    renamed = {
        new: old
        for new, old in zip(now, former, strict=False)
        if new not in former and old not in now
    }
    return {name: name for name in now if name in former} | renamed


def _under(route: Any, names: Mapping[str, str]) -> Any:
    """``provider,model`` with another name for the provider; anything else as it is."""
    if not isinstance(route, str):
        return route
    provider, comma, model = route.partition(",")
    return f"{names[provider]},{model}" if comma and provider in names else route


def _leads_to(route: Any, providers: Iterable[str]) -> bool:
    return isinstance(route, str) and "," in route and route.partition(",")[0] in providers


def _names_anew(now: Any, before: Any, providers: Iterable[str]) -> bool:
    known = before if isinstance(before, list) else ()
    return isinstance(now, list) and any(_leads_to(r, providers) for r in now if r not in known)


def _name(entry: Any) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else ""


def _by_name(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found = next((document[k] for k in _LISTS if document.get(k)), ())
    return {_name(entry): entry for entry in found if isinstance(entry, dict)}


def _object(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()
