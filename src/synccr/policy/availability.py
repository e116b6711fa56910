"""Whether a model is available, the facts that change that, and what its requests see of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Availability(StrEnum):
    """Whether routes may lead to a model."""

    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"
    RETURNING = "returning"
    """It is still unavailable, but has answered well once."""


class Fact(StrEnum):
    """What is observed of a model."""

    PASSING_TROUBLE = "passing trouble"
    FATAL_STATUS = "fatal status"
    PROBE_PASSED = "passed probe"
    PROBE_FAILED = "failed probe"
    REQUEST_SERVED = "served request"
    REQUEST_FAILED = "failed request"
    """With a passing trouble, in a turn that another model then served."""


_AVAILABLE = Availability.AVAILABLE
_UNAVAILABLE = Availability.UNAVAILABLE
_RETURNING = Availability.RETURNING

MODEL_TRANSITIONS: Mapping[tuple[Availability, Fact], frozenset[Availability]] = {
    # Unavailable when it persists.
    (_AVAILABLE, Fact.PASSING_TROUBLE): frozenset({_AVAILABLE, _UNAVAILABLE}),
    (_AVAILABLE, Fact.FATAL_STATUS): frozenset({_UNAVAILABLE}),
    (_AVAILABLE, Fact.PROBE_PASSED): frozenset({_AVAILABLE}),
    (_AVAILABLE, Fact.PROBE_FAILED): frozenset({_UNAVAILABLE}),
    (_AVAILABLE, Fact.REQUEST_SERVED): frozenset({_AVAILABLE}),
    # Unavailable when it persists.
    (_AVAILABLE, Fact.REQUEST_FAILED): frozenset({_AVAILABLE, _UNAVAILABLE}),
    (_UNAVAILABLE, Fact.PASSING_TROUBLE): frozenset({_UNAVAILABLE}),
    (_UNAVAILABLE, Fact.FATAL_STATUS): frozenset({_UNAVAILABLE}),
    # Available when a person asked.
    (_UNAVAILABLE, Fact.PROBE_PASSED): frozenset({_RETURNING, _AVAILABLE}),
    (_UNAVAILABLE, Fact.PROBE_FAILED): frozenset({_UNAVAILABLE}),
    (_UNAVAILABLE, Fact.REQUEST_SERVED): frozenset({_RETURNING, _AVAILABLE}),
    (_UNAVAILABLE, Fact.REQUEST_FAILED): frozenset({_UNAVAILABLE}),
    (_RETURNING, Fact.PASSING_TROUBLE): frozenset({_RETURNING}),
    (_RETURNING, Fact.FATAL_STATUS): frozenset({_UNAVAILABLE}),
    # Returning until a session has tried it.
    (_RETURNING, Fact.PROBE_PASSED): frozenset({_AVAILABLE, _RETURNING}),
    (_RETURNING, Fact.PROBE_FAILED): frozenset({_UNAVAILABLE}),
    (_RETURNING, Fact.REQUEST_SERVED): frozenset({_RETURNING, _AVAILABLE}),
    (_RETURNING, Fact.REQUEST_FAILED): frozenset({_UNAVAILABLE}),
}
"""What may follow on a fact; ``model_health.py`` and ``model_traffic.py`` do it."""


class Breaker(StrEnum):
    """Whether a model's requests are sent."""

    CLOSED = "closed"
    """They are."""
    OPEN = "open"
    """They are not."""
    HALF_OPEN = "half_open"
    """Those of one session are."""


BREAKERS = {
    Availability.AVAILABLE: Breaker.CLOSED,
    Availability.UNAVAILABLE: Breaker.OPEN,
    Availability.RETURNING: Breaker.HALF_OPEN,
}
