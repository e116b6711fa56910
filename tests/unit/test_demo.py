"""What ``synccr demo`` shows, as far as nothing has to be started for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from synccr.demo import story
from synccr.errors import SynccrError


@pytest.mark.parametrize(
    ("version", "what", "code"),
    [
        ("4.0.0", "4.0.0 is not supported: synccr runs 1.x, 2.x and 3.x. It is set by --ccr.", 6),
        ("3.1", "in the command line cannot be '3.1'", 2),
        ("3.1.1", "Claude Code Router 3.1.1 needs it; that version is set by --ccr.", 6),
    ],
)
def test_a_version_that_cannot_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, what: str, code: int
) -> None:
    """It is told before anything is shown, with the option, and nothing is left."""
    monkeypatch.setattr("synccr.ccr.node.places", lambda _: iter(()))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(story, "DemoProvider", lambda *_, **__: pytest.fail("shown"))
    with pytest.raises(SynccrError, match=what.replace(".", r"\.")) as caught:
        story.run_demo(ccr=version)
    assert caught.value.exit_code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", [None, "1.0.73"])
def test_which_ccr_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    """The one that is asked for, whatever this shell says."""
    monkeypatch.setenv("SYNCCR_CCR_VERSION", "3.1.1")
    assert story.environment(tmp_path, "key", version).get("SYNCCR_CCR_VERSION") == version
