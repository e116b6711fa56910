"""What kind of request was made, in a few words."""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """What kind of request it was, so that a probe can resemble it.

    Attributes:
        stream: it asked for a stream.
        tools: it offered tools.
        tokens: its estimated size; 0 when unknown.
        finishes: the model's streams were seen to end with a finish reason.
    """

    stream: bool = False
    tools: bool = False
    tokens: int = 0
    finishes: bool = False
