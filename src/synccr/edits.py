"""What a person (or CCR's own page) changed in the configuration that synccr wrote,
carried over to the profile it was made from. Pure.

The written configuration is healed, so it must not become the profile as it
is: a route that was moved away from a dead model would be moved for good. Only
the difference between what was written and what is there now is the person's.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from synccr.profile import interpolate, variables

_ABSENT = object()


def rebase(written: Any, edited: Any, onto: Any, environ: Mapping[str, str]) -> Any:
    """Apply the edits ``written -> edited`` to ``onto``; the arguments stay as they are.

    CCR's page saves keys with their variables replaced; such a value is no edit,
    and goes back to ``$NAME``.
    """
    return _merge(written, _restore(edited, _values(written, environ)), onto)


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


def _values(document: Any, environ: Mapping[str, str]) -> dict[str, str]:
    """What each text with variables looks like once they are replaced."""
    if isinstance(document, str):
        return {interpolate(document, environ): document} if any(variables(document)) else {}
    children = document.values() if isinstance(document, dict) else document
    if not isinstance(document, dict | list):
        return {}
    return {value: text for child in children for value, text in _values(child, environ).items()}


def _restore(document: Any, values: Mapping[str, str]) -> Any:
    if isinstance(document, str):
        return values.get(document, document)
    if isinstance(document, dict):
        return {key: _restore(item, values) for key, item in document.items()}
    if isinstance(document, list):
        return [_restore(item, values) for item in document]
    return document
