"""The tests of what runs in CCR's own process, by Node's runner."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from synccr.ccr.node import find_node

pytestmark = pytest.mark.integration

TESTS = Path(__file__).parents[1] / "node"


def test_by_nodes_runner(tmp_path: Path) -> None:
    """All pass, none is skipped."""
    node = find_node(os.environ, tmp_path)
    files = sorted(str(file) for file in TESTS.glob("*.test.cjs"))
    done = subprocess.run(
        [str(node.path), "--test", "--test-reporter=tap", *files],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(line[2:].split() for line in done.stdout.splitlines()[-8:] if line[:2] == "# ")
    assert int(counts["pass"]) > 0
    assert counts["skipped"] == counts["todo"] == counts["cancelled"] == "0"
