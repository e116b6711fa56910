"""The three-way merge of what a person, or CCR's own page, changed in what synccr wrote. Pure.

    base    what was written, healed
    theirs  what stands there now
    ours    the profile that base was made from

Only the difference between base and theirs is the person's, and goes on top of ours. The moves of
healing are in both: a route that was moved away from a dead model is not moved for good. What is
about the other profile's providers, which base has beside its own, is left out.
"""

from __future__ import annotations

import copy
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from synccr.config.combined_providers import NOTHING, Added, edits_of_added, own_part
from synccr.config.keyring import restore
from synccr.config.profile import interpolate, variables

_ABSENT = object()


class Merged(NamedTuple):
    """The profile from then on.

    Attributes:
        document: ours with the edit on top.
        left_out: places of the edit that are about what was added to base.
    """

    document: dict[str, Any]
    left_out: tuple[str, ...]


def merge(
    base: Mapping[str, Any],
    theirs: Mapping[str, Any],
    ours: Mapping[str, Any],
    environ: Mapping[str, str],
    added: Added = NOTHING,
) -> Merged:
    """Apply the edit ``base -> theirs`` to ``ours``; the arguments stay as they are.

    CCR's page saves keys with their variables replaced, by the value or by a
    placeholder for it; such a value is no edit, and goes back to ``$NAME``.
    """
    theirs = _restored(theirs, tuple(_texts(base)), environ)
    before, after = (own_part(document, base, added, environ) for document in (base, theirs))
    return Merged(_merge(before, after, ours), edits_of_added(theirs, base, added))


def _merge(base: Any, theirs: Any, ours: Any) -> Any:
    if base == theirs:
        return ours if ours is _ABSENT else copy.deepcopy(ours)
    if isinstance(base, dict) and isinstance(theirs, dict) and isinstance(ours, dict):
        merged = {}
        for key in [*ours, *(k for k in theirs if k not in ours)]:
            old, new = base.get(key, _ABSENT), theirs.get(key, _ABSENT)
            value = _merge(old, new, ours.get(key, _ABSENT))
            if value is not _ABSENT:
                merged[key] = value
        return merged
    if isinstance(base, list) and isinstance(theirs, list) and isinstance(ours, list):
        return _merge_lists(base, theirs, ours)
    return theirs if theirs is _ABSENT else copy.deepcopy(theirs)


def _merge_lists(base: list[Any], theirs: list[Any], ours: list[Any]) -> list[Any]:
    keyed = [_keyed(items) for items in (base, theirs, ours)]
    if all(found is not None for found in keyed):
        return _merge_keyed(*(found or {} for found in keyed))
    if len(base) == len(theirs) == len(ours):
        return [_merge(*items) for items in zip(base, theirs, ours, strict=True)]
    return copy.deepcopy(theirs)


def _keyed(items: list[Any]) -> dict[str, Any] | None:
    """Objects by their ``name``; None when they have none, or two have the same."""
    found = {
        item["name"]: item
        for item in items
        if isinstance(item, dict) and "name" in item and isinstance(item["name"], str)
    }
    return found if len(found) == len(items) else None


def _merge_keyed(base: dict[str, Any], theirs: dict[str, Any], ours: dict[str, Any]) -> list[Any]:
    kept = [name for name in theirs if name in base]
    moved = kept != [name for name in base if name in theirs]
    order = _with_others(theirs, ours) if moved else _with_others(ours, theirs)
    merged = (_merge(*(side.get(name, _ABSENT) for side in (base, theirs, ours))) for name in order)
    return [item for item in merged if item is not _ABSENT]


def _with_others(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Names in their order; each other one behind the one that it follows among the others."""
    order, before = list(names), None
    for name in others:
        if name not in order:
            order.insert(order.index(before) + 1 if before is not None else 0, name)
        before = name
    return order


def _texts(document: Any) -> Iterator[str]:
    """Every text with variables."""
    if isinstance(document, str):
        if any(variables(document)):
            yield document
    elif isinstance(document, dict | list):
        for child in document.values() if isinstance(document, dict) else document:
            yield from _texts(child)


def _restored(document: Any, texts: tuple[str, ...], environ: Mapping[str, str]) -> Any:
    if isinstance(document, str):
        return _spelled(document, texts, environ)
    if isinstance(document, dict):
        return {key: _restored(item, texts, environ) for key, item in document.items()}
    if isinstance(document, list):
        return [_restored(item, texts, environ) for item in document]
    return document


def _spelled(document: str, texts: tuple[str, ...], environ: Mapping[str, str]) -> str:
    """As it was written, if one of the texts looks like this once its variables are replaced."""
    named = restore(document)
    marks = {name: f"\0{name}\0" for name in variables(named)}  # names that are seen stay names
    shown = ChainMap(marks, dict(environ))
    look = interpolate(named, shown)
    return next((text for text in texts if interpolate(text, shown) == look), named)
