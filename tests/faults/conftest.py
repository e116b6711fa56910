"""The ledger of the fault suite, shown at the end and written as a table when asked."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from fault_kit import SEED, Ledger

_LEDGER = Ledger()


@pytest.fixture(scope="session")
def ledger() -> Ledger:
    """What was tried and survived in this session."""
    return _LEDGER


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """The same numbers for the same test and seed."""
    return random.Random(f"{SEED} {request.node.name}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _LEDGER.tried:
        terminalreporter.write_line(_LEDGER.summary())
    if table := os.environ.get("SYNCCR_FAULT_TABLE"):
        Path(table).write_text(_LEDGER.table())
