"""Following a log through everything that can happen to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synccr.ccr.v2.log_files import LogFile, find_log, last_logged_error, to_delete, trim_logs
from synccr.ccr.v2.log_follower import CHUNK, LONGEST, LogFollower

WANTED = (b"!", b"?")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "ccr.log"


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def everything(follower: LogFollower) -> list[bytes]:
    found: list[bytes] = []
    more = True
    while more:
        lines, more = follower.poll()
        found += lines
    return found


def test_only_lines_that_begin_as_asked(log: Path) -> None:
    """Lines with one of the prefixes are handed out whole, in order, others are not."""
    append(log, b"!one\n x!\n?two\r\n\n!\xff\xfe\nnot !three\n")
    with LogFollower(log, WANTED) as follower:
        assert everything(follower) == [b"!one", b"?two\r", b"!\xff\xfe"]
        assert follower.counts.lines == 3


def test_lines_come_when_they_are_finished(log: Path) -> None:
    """Half a line waits for its other half, wherever it is cut."""
    whole = b"!a line\n"
    for cut in range(len(whole)):
        log.write_bytes(b"")
        with LogFollower(log, WANTED) as follower:
            append(log, whole[:cut])
            assert everything(follower) == []
            append(log, whole[cut:])
            assert everything(follower) == [b"!a line"]


def test_from_the_end(log: Path) -> None:
    """Told to begin at the end, only what is written from now on is seen."""
    append(log, b"!old\n")
    with LogFollower(log, WANTED, at_end=True) as follower:
        append(log, b"!new\n")
        assert everything(follower) == [b"!new"]


def test_a_file_that_comes_later(log: Path) -> None:
    """The file need not exist yet."""
    with LogFollower(log, WANTED) as follower:
        assert everything(follower) == []
        append(log, b"!one\n")
        assert everything(follower) == [b"!one"]


def test_rotation_loses_nothing(log: Path) -> None:
    """After a rotation by rename the old content is read to its end before the new begins."""
    append(log, b"!1\n")
    with LogFollower(log, WANTED) as follower:
        assert everything(follower) == [b"!1"]
        append(log, b"!2\n!3")
        log.rename(log.with_name("ccr_1.log"))
        assert everything(follower) == [b"!2"]
        append(log.with_name("ccr_1.log"), b" end\n")
        append(log, b"!4\n")
        assert everything(follower) == [b"!3 end", b"!4"]


def test_rotation_with_a_reused_inode(log: Path) -> None:
    """Files that come and go under one name are each read from their start.

    File systems give the inode of a deleted file to the next one; ours is held open.
    """
    with LogFollower(log, WANTED) as follower:
        for number in range(20):
            append(log, b"!%d\n" % number)
            assert everything(follower) == [b"!%d" % number]
            log.unlink()


def test_a_writer_that_keeps_the_moved_file(log: Path) -> None:
    """When somebody else moves the log, what CCR goes on writing there is still read."""
    with log.open("ab", buffering=0) as writer:
        writer.write(b"!1\n")
        with LogFollower(log, WANTED) as follower:
            everything(follower)
            log.rename(log.with_suffix(".bak"))
            log.touch()
            assert everything(follower) == []
            writer.write(b"!2\n")
            assert everything(follower) == [b"!2"]


def test_removed_file_is_read_on(log: Path) -> None:
    """What is written to a deleted log is still read."""
    with log.open("ab", buffering=0) as writer, LogFollower(log, WANTED) as follower:
        log.unlink()
        writer.write(b"!1\n")
        assert everything(follower) == [b"!1"]


def test_truncation(log: Path) -> None:
    """A log that was emptied is read from its start, and the half line before is forgotten."""
    append(log, b"!first\n!half")
    with LogFollower(log, WANTED) as follower:
        everything(follower)
        os.truncate(log, 0)
        assert everything(follower) == []
        append(log, b"!x\n")
        assert everything(follower) == [b"!x"]


def test_truncation_and_growth_between_two_looks(log: Path) -> None:
    """A log that was emptied and has grown beyond its old size in the meantime is noticed."""
    append(log, b"!first line of the log\n")
    with LogFollower(log, WANTED) as follower:
        everything(follower)
        log.write_bytes(b"!another one, and it is longer than before\n")
        assert everything(follower) == [b"!another one, and it is longer than before"]


@pytest.mark.parametrize("begin", [b"!", b"x"])
def test_endless_lines_are_passed_over(log: Path, begin: bytes) -> None:
    """A line beyond the limit is skipped to its end and counted; memory stays bounded."""
    append(log, b"!before\n" + begin + b"y" * (5 * LONGEST))
    with LogFollower(log, WANTED) as follower:
        found = everything(follower)
        assert follower._current is not None
        assert len(follower._current.partial) <= LONGEST + CHUNK
        append(log, b"zz\n!after\n")
        assert found + everything(follower) == [b"!before", b"!after"]
        assert follower.counts.too_long == 1


def test_one_look_reads_a_bounded_part(log: Path) -> None:
    """A long backlog is read in parts, so that others get their turn."""
    append(log, b"x\n" * CHUNK)
    with LogFollower(log, WANTED) as follower:
        reads = 1
        while follower.poll()[1]:
            reads += 1
        assert reads >= 2


@pytest.mark.parametrize("offset", range(-3, 4))
def test_lines_across_the_borders_of_parts(log: Path, offset: int) -> None:
    """A line that lies across two parts is one line, at every position."""
    append(log, b"x" * (CHUNK - 5 + offset) + b"\n!border\nx\n!next\n")
    with LogFollower(log, WANTED) as follower:
        assert everything(follower) == [b"!border", b"!next"]


operation = st.one_of(
    st.tuples(st.just("write"), st.binary(max_size=30)),
    st.tuples(st.sampled_from(["rotate", "poll", "newline"]), st.just(b"")),
)


@given(st.lists(operation, max_size=30))
@settings(max_examples=150, deadline=None)
def test_each_line_once(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, bytes]]
) -> None:
    """Through any history of writing, rotating and looking, each line is seen once, in order."""
    log = tmp_path_factory.mktemp("history") / "ccr.log"
    written: list[bytes] = [b""]
    seen: list[bytes] = []
    rotations = 0
    with LogFollower(log, WANTED) as follower:
        for kind, data in history:
            if kind == "write":
                append(log, data)
                written[-1] += data
            elif kind == "newline":
                append(log, b"\n")
                written[-1] += b"\n"
            elif kind == "poll":
                seen += everything(follower)
            elif log.exists():
                # CCR turns over once a day: we have always looked since the last time.
                seen += everything(follower)
                append(log, b"\n")
                written[-1] += b"\n"
                rotations += 1
                log.rename(log.with_name(f"ccr_{rotations}.log"))
                written.append(b"")
        seen += everything(follower)
    finished = [line for part in written for line in part.split(b"\n")[:-1]]
    assert seen == [line for line in finished if line.startswith(WANTED)]


def entry(pid: int, level: int, time: int, msg: str) -> bytes:
    return b'{"level":%d,"time":%d,"pid":%d,"msg":"%s"}\n' % (level, time, pid, msg.encode())


def test_last_error_of_a_process(tmp_path: Path) -> None:
    """The last error of this process since its start is quoted, not another's and no older one."""
    log = tmp_path / "ccr-1.log"
    log.write_bytes(
        entry(7, 50, 1_000_000, "long ago")
        + entry(7, 50, 9_000_000, "this")
        + entry(7, 30, 9_000_000, "no error")
        + entry(8, 50, 9_000_000, "another's")
        + b'{"level":50,"half'
    )
    os.utime(log, (9000, 9000))
    assert last_logged_error(tmp_path, 7, 8990.0) == "this"
    assert last_logged_error(tmp_path, None, 8990.0) == "another's"
    assert last_logged_error(tmp_path, 9, 8990.0) == ""
    assert last_logged_error(tmp_path, 7, 9990.0) == ""
    assert last_logged_error(tmp_path / "none", 7, 0.0) == ""


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_log_of_a_process(tmp_path: Path, platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is the one that the process has open, whatever the names say."""
    monkeypatch.setattr("sys.platform", platform)
    (tmp_path / "ccr-2.log").touch()
    with (tmp_path / "ccr-1.log").open("w"):
        assert find_log(tmp_path, os.getpid(), 0.0) == tmp_path / "ccr-1.log"
    assert find_log(tmp_path, os.getpid(), 0.0) is None


def test_log_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where open files are not shown, the newest log with lines of the process is taken."""
    monkeypatch.setattr("synccr.ccr.v2.log_files._open_files_linux", lambda pid: None)
    monkeypatch.setattr("synccr.ccr.v2.log_files._open_files_elsewhere", lambda pid: None)
    (tmp_path / "a.log").write_bytes(entry(7, 30, 1, "x"))
    (tmp_path / "b.log").write_bytes(entry(8, 30, 1, "x"))
    assert find_log(tmp_path, 7, 0.0) == tmp_path / "a.log"
    assert find_log(tmp_path, 9, 0.0) is None


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8),
    st.integers(0, 100),
    st.sets(st.integers(0, 7)),
)
def test_what_is_deleted(files: list[tuple[int, int]], limit: int, kept: set[int]) -> None:
    """As few old files as needed go, oldest first, and never one that is written to."""
    logs = [LogFile(Path(str(n)), size, time) for n, (size, time) in enumerate(files)]
    keep = {Path(str(n)) for n in kept}
    chosen = to_delete(logs, limit, keep)
    assert not keep & set(chosen)
    ages = {log.path: (log.modified, log.path) for log in logs}
    assert chosen == sorted(chosen, key=ages.__getitem__)
    left = sum(log.size for log in logs if log.path not in chosen)
    deletable = [log for log in logs if log.path not in keep]
    assert left <= limit or len(chosen) == len(deletable)
    if chosen:
        last = next(log for log in logs if log.path == chosen[-1])
        assert left + last.size > limit


def test_trimming(tmp_path: Path) -> None:
    """Old logs of CCR are deleted beyond the limit; one that a process holds open, links and
    files of other names stay."""
    names = [f"ccr-2026010100000{n}.log" for n in range(3)] + ["ccr-20260101000000_1.log"]
    victim = tmp_path / "notes.txt"
    for age, name in enumerate([*names, "notes.txt", "app-20260101000000.log"]):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    link = tmp_path / "ccr-20200101000000.log"
    link.symlink_to(victim)
    with (tmp_path / names[0]).open("ab"):
        assert trim_logs(tmp_path, 300) == [tmp_path / names[1]]
        assert trim_logs(tmp_path, 0) == [tmp_path / names[2], tmp_path / names[3]]
    assert trim_logs(tmp_path / "absent", 0) == []
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["app-20260101000000.log", link.name, names[0], "notes.txt"]


def test_cut(log: Path) -> None:
    """A log that is cut keeps its last lines; the writer, who appends, and the reader go on,
    and each line is seen once."""
    log.touch()
    seen: list[bytes] = []
    with LogFollower(log, WANTED) as follower:
        for number in range(300):
            line = b"!%060d\n" % number
            append(log, line[:40] if number % 7 == 0 else line)
            seen += everything(follower)
            if follower.size > 4000:
                follower.cut(1000)
                assert follower.size <= 1000
            if number % 7 == 0:
                append(log, line[40:])
        seen += everything(follower)
    assert [int(line[1:]) for line in seen] == list(range(300))
    assert log.stat().st_size <= 4100
    assert log.read_bytes().startswith(b"!0")
