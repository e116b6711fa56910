"""The generations of Claude Code Router that synccr runs, and which one a version is of.

What differs between them is data here, and a launcher each: ``v2`` and ``v3``. Nothing outside
``ccr`` asks for a generation by name.
"""

from __future__ import annotations

from typing import Final

from synccr.ccr.loss import Loss
from synccr.ccr.node import OLDEST
from synccr.ccr.package import Generation
from synccr.ccr.v2.pins import PINS as PINS_2
from synccr.ccr.v3.pins import OVERRIDES
from synccr.ccr.v3.pins import PINS as PINS_3
from synccr.config.profile import Profile
from synccr.errors import RuntimeMissing


def _lost_in_3(profile: Profile) -> tuple[Loss, ...]:
    from synccr.ccr.v3.losses import losses  # what most commands do without

    return losses(profile)


V2: Final = Generation("2.x", frozenset({"1", "2"}), PINS_2, OLDEST, ("start",))
V3: Final = Generation(
    "3.x",
    frozenset({"3"}),
    PINS_3,
    (22, 14),
    ("serve", "--no-open"),
    OVERRIDES,
    apart=True,
    losses=_lost_in_3,
    presets=False,
    log=False,
)


def generation_of(version: str) -> Generation:
    """The generation of an exact version.

    Raises:
        RuntimeMissing: none that synccr knows.
    """
    major = version.partition(".")[0]
    for generation in (V2, V3):
        if major in generation.majors:
            return generation
    raise RuntimeMissing(
        f"Claude Code Router {version} is not supported: synccr runs 1.x, 2.x and 3.x.",
        "Set it to 2.0.0 or 3.1.1.",
    )
