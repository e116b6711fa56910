"""scripts/mutate: what it names is there."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def test_rooms_and_excuses_name_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TESTS / "mutation")
    run = import_module("run")
    files = [TESTS / f"unit/test_{test}.py" for tests in run.ROOMS.values() for test in tests]
    assert [path.name for path in files if not path.is_file()] == []
    assert run._known() - {mutant.key for mutant in run._all_mutants()} == set()
