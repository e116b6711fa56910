"""Where a model can be, and what leads from where to where."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Life(StrEnum):
    """Where a model is."""

    HERE = "here"
    """Routes may lead to it."""
    AWAY = "away"
    RETURNING = "returning"
    """It is still away, but has answered well once."""


class Fact(StrEnum):
    """What is learned of a model."""

    PASSING = "passing trouble"
    DEADLY = "dead status"
    WELL = "good probe"
    BADLY = "failed probe"
    SERVED = "served request"
    FAILED = "failed request"
    """With a passing trouble, in a turn that another model then served."""


LIVES: Mapping[tuple[Life, Fact], frozenset[Life]] = {
    (Life.HERE, Fact.PASSING): frozenset({Life.HERE, Life.AWAY}),  # AWAY when it persists
    (Life.HERE, Fact.DEADLY): frozenset({Life.AWAY}),
    (Life.HERE, Fact.WELL): frozenset({Life.HERE}),
    (Life.HERE, Fact.BADLY): frozenset({Life.AWAY}),
    (Life.AWAY, Fact.PASSING): frozenset({Life.AWAY}),
    (Life.AWAY, Fact.DEADLY): frozenset({Life.AWAY}),
    (Life.AWAY, Fact.WELL): frozenset({Life.RETURNING, Life.HERE}),  # HERE when a person asked
    (Life.AWAY, Fact.BADLY): frozenset({Life.AWAY}),
    (Life.RETURNING, Fact.PASSING): frozenset({Life.RETURNING}),
    (Life.RETURNING, Fact.DEADLY): frozenset({Life.AWAY}),
    (Life.RETURNING, Fact.WELL): frozenset({Life.HERE, Life.RETURNING}),  # until it was tried
    (Life.RETURNING, Fact.BADLY): frozenset({Life.AWAY}),
    (Life.HERE, Fact.SERVED): frozenset({Life.HERE}),
    (Life.HERE, Fact.FAILED): frozenset({Life.HERE, Life.AWAY}),  # AWAY when it persists
    (Life.AWAY, Fact.SERVED): frozenset({Life.RETURNING, Life.HERE}),
    (Life.AWAY, Fact.FAILED): frozenset({Life.AWAY}),
    (Life.RETURNING, Fact.SERVED): frozenset({Life.RETURNING, Life.HERE}),
    (Life.RETURNING, Fact.FAILED): frozenset({Life.AWAY}),
}
"""Every life that may follow a life on a fact: as ``health.py`` and ``requests.py`` have it."""


class Breaker(StrEnum):
    """A model's life as its requests see it."""

    CLOSED = "closed"
    """It is asked."""
    OPEN = "open"
    """It is not asked."""
    HALF_OPEN = "half_open"
    """One session asks it."""


BREAKERS = {
    Life.HERE: Breaker.CLOSED,
    Life.AWAY: Breaker.OPEN,
    Life.RETURNING: Breaker.HALF_OPEN,
}
