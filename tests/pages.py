"""README.md and docs/ as tests read them: their commands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(r"(synccr|echo|eval|pip|ccr) |scripts/|SYNCCR_\w+=")


def prose(page: Path) -> str:
    """Without blocks of code."""
    return _FENCE.sub("", page.read_text())


def commands(page: Path) -> list[str]:
    """Each command that a reader may paste: lines of blocks marked ``sh``, and words in
    backticks that begin as a command does."""
    blocks = [text for kind, text in _FENCE.findall(page.read_text()) if kind == "sh"]
    lines = [line.partition("  #")[0].strip() for text in blocks for line in text.splitlines()]
    # In a table a bar is written \|.
    spans = [span.replace("\\|", "|") for span in _SPAN.findall(prose(page))]
    found = [*filter(None, lines), *(span for span in spans if _COMMAND.match(span))]
    return list(dict.fromkeys(found))
