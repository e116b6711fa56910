"""What docs/policy.md draws and counts is this code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from synccr.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")


def test_the_drawings_are_of_this_code() -> None:
    """``scripts/draw-policy`` would change nothing."""
    page = runpy.run_path(str(ROOT / "scripts" / "draw-policy"))["page"]
    assert page(TEXT) == TEXT


def test_the_numbers_are_the_defaults() -> None:
    """Each row of the table names a setting and its default."""
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", TEXT, re.MULTILINE)
    assert len(rows) >= 8
    assert {name: float(value) for name, value in rows} == {
        name: float(getattr(Settings(), name)) for name, _ in rows
    }
