"""``synccr events``: the journal."""

from __future__ import annotations

from typing import Annotated

import typer

from synccr.cli.journal_lines import show_journal
from synccr.cli.options import Follow


def run(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    follow: Follow = False,
) -> None:
    """Show what synccr decided and did, oldest first."""
    show_journal(json=json, follow=follow)
