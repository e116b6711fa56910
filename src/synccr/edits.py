"""What a person (or CCR's own page) changed in the configuration that synccr wrote,
carried over to the profile it was made from. Pure.

The written configuration is healed, so it must not become the profile as it
is: a route that was moved away from a dead model would be moved for good. Only
the difference between what was written and what is there now is the person's.
"""

from __future__ import annotations

import copy
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

from synccr.keyring import restore
from synccr.profile import interpolate, variables

_ABSENT = object()


def rebase(written: Any, edited: Any, onto: Any, environ: Mapping[str, str]) -> Any:
    """Apply the edits ``written -> edited`` to ``onto``; the arguments stay as they are.

    CCR's page saves keys with their variables replaced, by the value or by a
    placeholder for it; such a value is no edit, and goes back to ``$NAME``.
    """
    return _merge(written, _restored(edited, tuple(_texts(written)), environ), onto)


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
    if (
        isinstance(written, list)
        and isinstance(edited, list)
        and isinstance(onto, list)
        and len(written) == len(edited) == len(onto)
    ):
        return [_merge(*items) for items in zip(written, edited, onto, strict=True)]
    return edited if edited is _ABSENT else copy.deepcopy(edited)


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
