"""What docs/judge.md draws, and what the judge's docstring says, is this code."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path

from synccr.judge import Judge, Trouble

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "judge.md").read_text(encoding="utf-8")
DRAW = runpy.run_path(str(ROOT / "scripts" / "draw-judge"))


def test_the_drawings_are_of_this_code() -> None:
    """``scripts/draw-judge`` would change nothing."""
    assert DRAW["page"](TEXT) == TEXT


def test_the_docstring_has_the_same_table() -> None:
    """Row by row."""
    table = (inspect.getdoc(Judge) or "").partition("::\n\n")[2].partition("\n\n")[0]
    written = [re.split(r"\s{1,}", row.strip(), maxsplit=2) for row in table.splitlines()[1:]]
    assert written == [list(row) for row in DRAW["rows"]()]


def test_each_trouble_of_an_answer_is_told() -> None:
    """Those of the judge; the others are of requests that were not answered."""
    told = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    assert told == set(Trouble) - {Trouble.UNREACHABLE, Trouble.KNOWN, Trouble.TRIAL}
