"""Named histories: what happened, when, and what the policy did about it.

How to read one: see ``policy_kit``. Settings are the defaults: a model that is away is asked
after 5, 10, 20, ... 60 minutes; a swap waits 30 seconds for the one before; five passing
troubles within a minute persist.
"""

from __future__ import annotations

from textwrap import dedent

import pytest
from policy_kit import Player

HISTORIES = {}


@pytest.mark.parametrize("name", HISTORIES)
def test_history(name: str) -> None:
    """It goes as written, to the last line."""
    expected = dedent(HISTORIES[name]).strip()
    assert Player().play(expected) == expected
