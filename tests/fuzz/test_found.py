"""Inputs that a fuzzer found, each with what it broke."""

from __future__ import annotations

import pytest
from targets import TARGETS

STATUS = (
    '{"level":50,"time":1,"pid":4242,"msg":"[provider_response_error]'
    ' Error from provider(acme,m: %s): {}"}'
)

FOUND: list[tuple[str, bytes]] = [
    # Taken for a status of HTTP's.
    ("log_line", (STATUS % "031").encode()),
    # The same with digits of another script, which Python's \d and int() know, too.
    ("log_line", (STATUS % "\u0660\u0660\u0662").encode()),
]


@pytest.mark.parametrize(("target", "data"), FOUND)
def test_found(target: str, data: bytes) -> None:
    """It breaks nothing any more."""
    TARGETS[target](data)
