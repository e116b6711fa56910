"""The drawing in docs/policy.md is the code's own table."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_drawing_is_of_this_code() -> None:
    """``scripts/draw-policy`` would change nothing."""
    page = runpy.run_path(str(ROOT / "scripts" / "draw-policy"))["page"]
    text = (ROOT / "docs" / "policy.md").read_text()
    assert page(text) == text
