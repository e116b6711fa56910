"""What is shown or stored of text from outside."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccr.redact import MASK, Redactor, escape_controls, printable

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
        (
            "http://127.0.0.1:3458/?ccr_web_token=44Vyzy_bhhN_Dn",
            f"http://127.0.0.1:3458/?ccr_web_token={MASK}",
        ),
    ],
)
def test_a_line_is_printable_and_holds_no_secret(text: str, shown: str) -> None:
    """Escapes go whole, line breaks become blanks, keys become a mask."""
    assert Redactor([SECRET]).line(text) == shown


@given(st.text())
def test_a_printable_line(text: str) -> None:
    """Whatever the text: one line without anything that a terminal obeys, and words stay words."""
    line = printable(text)
    assert line.isprintable()
    assert line == " ".join(line.split())
    if text.isprintable():
        assert line == " ".join(text.split())


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

ESCAPES = [
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[H",
    "\x1b[8mhidden\x1b[0m",
    "\x9b31m",
    "a\rb",
    "\x1b]52;c;aGk=\x07",
    "\u202egnp.exe",
    "\x08\x08",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_escapes_are_shown(text: str) -> None:
    """Nothing that a terminal obeys is left, not even among colours."""
    assert not CONTROL.search(escape_controls(text))
    left = re.sub(r"\x1b\[[0-7;]*m", "", escape_controls(text, coloured=True))
    assert not CONTROL.search(left)
    assert "\x1b[8m" not in escape_controls(text, coloured=True)


@given(st.text())
def test_a_text_means_what_it_meant(text: str) -> None:
    """Whatever the text, no control character but newline and tab is left, the rest stays as
    it is, and a JSON document means the same as before."""
    assert not CONTROL.search(escape_controls(text))
    if not CONTROL.search(text) and not re.search("[\u061c\u200e\u200f\u2028\u2029]", text):
        assert escape_controls(text) == text
    document = json.dumps({"text": text}, ensure_ascii=False)
    assert json.loads(escape_controls(document)) == {"text": text}


def test_our_own_colours_stay() -> None:
    """Colours are left alone where colours are shown."""
    line = "\x1b[31mred\x1b[0m plain"
    assert escape_controls(line, coloured=True) == line
