"""A value that a pass writes, and how that is told to a person."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


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
class Write:
    """One value for the configuration.

    Attributes:
        place: names from the document down.
        value: what is written; None takes the name out.
        change: the difference as it is told.
    """

    place: tuple[str, ...]
    value: Any = field(repr=False)
    change: Change


def write(*place: str, before: Any, value: Any, reason: str, secret: str = "") -> Write:
    """A value that differs from the one before.

    Args:
        place: names from the document down.
        before: what the profile has.
        value: what is written; None takes the name out.
        reason: why, for a person.
        secret: what is shown in place of both values.
    """
    told = (before, value)
    if secret:
        told = (secret if before else None, secret if value else None)
    return Write(place, value, Change(".".join(place), *told, reason))


def written(document: Mapping[str, Any], writes: Iterable[Write]) -> dict[str, Any]:
    """A copy of ``document`` with the values in it."""
    result = copy.deepcopy(dict(document))
    for one in writes:
        *parents, name = one.place
        target = result
        for parent in parents:
            if target.get(parent) is None:
                target[parent] = {}
            target = target[parent]
        if one.value is None:
            target.pop(name, None)
        else:
            target[name] = one.value
    return result
