"""Bodies in a file: private, bounded, without keys, and only for a time."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccr.redact import MASK, Redactor
from synccr.turns import capture as module
from synccr.turns.capture import Capture, _parted

KEY = "sk-canary-0123456789abcdef"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def made(path: Path, until: float = 10.0, limit: int = 1 << 20, clock: Any = None) -> Capture:
    return Capture(path, until, limit, Redactor([KEY]), clock or Clock())


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_what_is_written(tmp_path: Path) -> None:
    """Each body under its turn and try, whole, in order."""
    path = tmp_path / "capture"
    capture = made(path)
    capture.write(7, 1, "request", '{"q": "größe"}'.encode())
    capture.end(7, 1, "request")
    for piece in (b"data: a\n\nda", b"ta: b\n\n", b"[DONE]"):
        capture.write(7, 2, "answer", piece)
    capture.close()
    found = entries(path)
    texts: dict[tuple[int, int, str], str] = {}
    for row in found:
        key = (row["turn"], row["try"], row["direction"])
        texts[key] = texts.get(key, "") + row["text"]
    assert texts == {
        (7, 1, "request"): '{"q": "größe"}',
        (7, 2, "answer"): "data: a\n\ndata: b\n\n[DONE]",
    }
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@given(st.data())
def test_a_key_is_masked_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Also where two pieces share it, beside other bodies, and after long texts."""
    text = "x" * data.draw(st.integers(0, 2000)) + f' {{"key": "{KEY}"}} ' + "y" * 50
    raw, path = text.encode(), tmp_path_factory.mktemp("capture") / "file"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    capture = made(path)
    for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        capture.write(1, 1, "answer", raw[begin:end])
        capture.write(2, 1, "answer", b"between ")
    capture.close()
    whole = "".join(row["text"] for row in entries(path) if row["turn"] == 1)
    assert whole == text.replace(KEY, MASK)


@pytest.mark.parametrize("at", range(1, len(KEY)))
def test_a_key_in_two_pieces(tmp_path: Path, at: int) -> None:
    """Neither half is written."""
    capture = made(tmp_path / "capture")
    capture.write(1, 1, "answer", f'before "{KEY[:at]}'.encode())
    capture.write(1, 1, "answer", f'{KEY[at:]}" after'.encode())
    capture.close()
    whole = "".join(row["text"] for row in entries(tmp_path / "capture"))
    assert whole == f'before "{MASK}" after'


def test_what_waits_is_bounded() -> None:
    """A text without a place to cut is cut all the same."""
    ready, rest = _parted(b"x" * 100_000)
    assert len(rest) == 1024
    assert len(ready) + len(rest) == 100_000
    assert _parted(b"x" * 1000) == (b"", b"x" * 1000)


def test_many_bodies_at_once_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that waits longest is written as it is."""
    monkeypatch.setattr(module, "_BODIES", 4)
    capture = made(tmp_path / "capture")
    for number in range(10):
        capture.write(number, 1, "answer", b"x")
    assert len(capture._held) == 4
    capture.close()
    assert [row["turn"] for row in entries(tmp_path / "capture")] == list(range(10))


def test_it_ends_in_time(tmp_path: Path) -> None:
    """At the second; what comes later is not written."""
    clock, path = Clock(), tmp_path / "capture"
    capture = made(path, until=10.0, clock=clock)
    capture.write(1, 1, "request", b"early")
    clock.now = 10.0
    capture.write(1, 1, "request", b"late ")
    assert not capture.active
    assert [row["text"] for row in entries(path)] == ["early"]
    capture.close()


def test_it_ends_at_its_size(tmp_path: Path) -> None:
    """The file never exceeds the limit, and has whole lines only."""
    path = tmp_path / "capture"
    capture = made(path, limit=1000)
    for number in range(100):
        capture.write(number, 1, "answer", b"0123456789 ")
    assert not capture.active
    assert 0 < path.stat().st_size <= 1000
    assert entries(path)


def test_a_full_disk_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traffic goes on."""
    capture = made(tmp_path / "capture")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    capture.write(1, 1, "answer", b"some words ")
    assert not capture.active


def test_a_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    """Nor what a link planted there leads to."""
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    for name in ("theirs", "link"):
        with pytest.raises(FileExistsError):
            made(tmp_path / name)
    assert (tmp_path / "theirs").read_text() == "theirs"
