"""The journal: an entry is there or not, and takes no other with it."""

from __future__ import annotations

from pathlib import Path

from synccr.journal import Journal


def test_a_line_that_was_cut_takes_no_other_with_it(tmp_path: Path) -> None:
    """A full disk, or a kill, ends a file within a line; what is written then is read."""
    path = tmp_path / "journal.jsonl"
    Journal(path).write("started", pid=1)
    with path.open("ab") as file:
        file.write(b'{"at": "2026-01-01T00:00:00Z", "ki')
    journal = Journal(path)
    journal.write("crashed")
    journal.write("restarted")
    assert [entry["kind"] for entry in journal.read()] == ["started", "crashed", "restarted"]
    assert len(path.read_bytes().splitlines()) == 4
