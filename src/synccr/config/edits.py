"""What a person (or CCR's own page) changed in the configuration that synccr wrote,
carried over to the profile it was made from. Pure.

The written configuration is healed, so it must not become the profile as it
is: a route that was moved away from a dead model would be moved for good. Only
the difference between what was written and what is there now is the person's,
and of that nothing that is about the other profile's providers.
"""

from __future__ import annotations

import copy
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from synccr.config.combined import NOTHING, Added, edits_of_added, own_part
from synccr.config.keyring import restore
from synccr.config.profile import interpolate, variables

_ABSENT = object()


def rebase(
    written: Mapping[str, Any],
    edited: Mapping[str, Any],
    onto: Mapping[str, Any],
    environ: Mapping[str, str],
    added: Added = NOTHING,
) -> Any:
    """Apply the edits ``written -> edited`` to ``onto``; the arguments stay as they are.

    CCR's page saves keys with their variables replaced, by the value or by a
    placeholder for it; such a value is no edit, and goes back to ``$NAME``. What was
    added to the written one reaches nothing.
    """
    now = _restored(edited, tuple(_texts(written)), environ)
    before, after = (own_part(part, written, added, environ) for part in (written, now))
    return _merge(before, after, onto)


def not_taken(
    written: Mapping[str, Any], edited: Mapping[str, Any], environ: Mapping[str, str], added: Added
) -> tuple[str, ...]:
    """Places of edits that ``rebase`` passes over, because they are about what was added."""
    return edits_of_added(_restored(edited, tuple(_texts(written)), environ), written, added)


def _merge(written: Any, edited: Any, onto: Any) -> Any:
    if written == edited:
        return onto if onto is _ABSENT else copy.deepcopy(onto)
    if isinstance(written, dict) and isinstance(edited, dict) and isinstance(onto, dict):
        merged = {}
        for key in [*onto, *(k for k in edited if k not in onto)]:
            old, new = written.get(key, _ABSENT), edited.get(key, _ABSENT)
            value = _merge(old, new, onto.get(key, _ABSENT))
            if value is not _ABSENT:
                merged[key] = value
        return merged
    if isinstance(written, list) and isinstance(edited, list) and isinstance(onto, list):
        return _merge_lists(written, edited, onto)
    return edited if edited is _ABSENT else copy.deepcopy(edited)


def _merge_lists(written: list[Any], edited: list[Any], onto: list[Any]) -> list[Any]:
    keyed = [_keyed(items) for items in (written, edited, onto)]
    if all(found is not None for found in keyed):
        return _merge_keyed(*(found or {} for found in keyed))
    if len(written) == len(edited) == len(onto):
        return [_merge(*items) for items in zip(written, edited, onto, strict=True)]
    return copy.deepcopy(edited)


def _keyed(items: list[Any]) -> dict[str, Any] | None:
    """Objects by their ``name``; None when they have none, or two have the same."""
    found = {
        item["name"]: item
        for item in items
        if isinstance(item, dict) and "name" in item and isinstance(item["name"], str)
    }
    return found if len(found) == len(items) else None


def _merge_keyed(
    written: dict[str, Any], edited: dict[str, Any], onto: dict[str, Any]
) -> list[Any]:
    kept = [name for name in edited if name in written]
    moved = kept != [name for name in written if name in edited]
    order = _with_others(edited, onto) if moved else _with_others(onto, edited)
    merged = (
        _merge(*(side.get(name, _ABSENT) for side in (written, edited, onto))) for name in order
    )
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
