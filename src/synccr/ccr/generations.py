"""The generations of Claude Code Router that synccr runs, and which one a version is of.

What differs between them is data here, and a launcher each: ``v2`` and ``v3``. Nothing outside
``ccr`` asks for a generation by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from synccr.ccr.installation import Pin
from synccr.ccr.loss import Loss
from synccr.ccr.v2.pins import PINS as PINS_2
from synccr.ccr.v3.pins import PINS as PINS_3
from synccr.config.profile import Profile
from synccr.errors import RuntimeMissing


def _nothing(_profile: Profile) -> tuple[Loss, ...]:
    return ()


def _lost_in_3(profile: Profile) -> tuple[Loss, ...]:
    from synccr.ccr.v3.losses import losses  # what most commands do without

    return losses(profile)


@dataclass(frozen=True)
class Generation:
    """Versions that are run in one way.

    Attributes:
        name: for people.
        majors: first numbers of its versions.
        pins: its known versions.
        oldest_node: major and minor of the oldest Node that it runs on.
        arguments: what makes its program serve.
        keyed: its port is opened by a key of synccr's own alone, whatever the profile says.
        losses: what of a profile it does not do.
        presets: it serves CCR 2's presets.
    """

    name: str
    majors: frozenset[str]
    pins: Mapping[str, Pin]
    oldest_node: tuple[int, int]
    arguments: tuple[str, ...]
    keyed: bool = False
    losses: Callable[[Profile], tuple[Loss, ...]] = _nothing
    presets: bool = True


V2: Final = Generation("2", frozenset({"1", "2"}), PINS_2, (20, 0), ("start",))
V3: Final = Generation(
    "3",
    frozenset({"3"}),
    PINS_3,
    (22, 14),
    ("serve", "--no-open"),
    keyed=True,
    losses=_lost_in_3,
    presets=False,
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
        "Set ccr_version to 2.0.0 or 3.1.1.",
    )
