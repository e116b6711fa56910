"""What is shown or stored of text from outside."""

from __future__ import annotations

import pytest

from synccr.redact import MASK, Redactor

SECRET = "canary-2f7d90b1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\r\nb\tc", "a b c"),
        ("\u202ebackwards", "backwards"),
        ("\x9b31mraw", "31mraw"),
        (f"got '{SECRET}'", f"got '{MASK}'"),
        ("Bearer abcdefgh12345", MASK),
    ],
)
def test_a_line_is_printable_and_holds_no_secret(text: str, shown: str) -> None:
    """Escapes go whole, line breaks become blanks, keys become a mask."""
    assert Redactor([SECRET]).line(text) == shown
