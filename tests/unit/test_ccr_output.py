"""What CCR prints."""

from __future__ import annotations

import os

import pytest

from synccr.ccr.output import Output, last_error


def test_output_of_one_that_cannot_start() -> None:
    """A pipe that was never used is closed at both ends."""
    output = Output()
    before = output.writing
    output.abandon()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(before)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("\n \n", ""),
        ("one\ntwo\n\n", "two"),
        ("one\nLoaded JSON config from: /x\n", "one"),
        ("Error: no such file\n    at x (error.js)\n\nNode.js v20\n", "Error: no such file"),
        ("TypeError: a\nReferenceError: b\nend\n", "ReferenceError: b"),
    ],
)
def test_the_line_that_says_most(text: str, line: str) -> None:
    """Of an output the last error is quoted, else its last line."""
    assert last_error(text) == line
