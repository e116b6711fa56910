"""Full disks, quotas on file size and read-only directories, at each write."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

import fault_kit as kit
from fault_kit import FULL, Ledger
from home import MAIN, Home, message, profile
from provider import FakeProvider

pytestmark = [
    pytest.mark.faults,
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX"),
]

PAGE = 4096
FREE_PAGES = range(41) if FULL else (0, 2, 5, 12)
FREE_PAGES_3 = range(0, 200, 5) if FULL else (10, 24)
"""For a start with CCR already there: until the directory that it runs in, its files, and the
database that CCR 3 makes are what does not fit."""


@pytest.fixture
def small(home: Home) -> Iterator[Path]:
    """The home on a small file system, with room for CCR."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "synccr-test", str(home.root)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no mount here: {mounted.stderr.decode().strip()}")
    yield home.root
    for process in home.processes():
        process.kill()
        process.wait(10)
    subprocess.run(["umount", "--lazy", str(home.root)], check=True)


@pytest.fixture
def installed(home: Home, tmp_path: Path) -> None:
    """CCR itself is on another file system."""
    other = Home(tmp_path / "elsewhere", home.npm_cache, home.ccr_version)
    home.env["XDG_CACHE_HOME"] = str(other.cache.parent)


def fill(root: Path, pages: int) -> Path:
    """Leave so many pages free."""
    filler = root / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * PAGE)
    free = os.statvfs(root).f_bavail
    with filler.open("rb+") as file:
        file.truncate(max(0, filler.stat().st_size - (pages - free) * PAGE))
    return filler


def run_start(home: Home, *wrapper: str) -> tuple[int | None, str]:
    """Start; its exit code, or None when it serves (it is ended then), and what it said."""
    process = subprocess.Popen(
        [*wrapper, sys.executable, "-m", "synccr", "start"],
        env=home.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        kit.until(lambda: process.poll() is not None or kit.serving(home), 90, "ends or serves")
        code = process.poll()
    finally:
        process.terminate()
        said = process.communicate(timeout=30)[1].decode()
    return code, said


def assert_said(code: int | None, said: str) -> None:
    """It serves, or ended with a sentence and something to do."""
    assert "Traceback" not in said, said
    assert "unforeseen" not in said, said
    if code is not None:
        assert code in kit.EXITS, (code, said)
        last = said.strip().splitlines()
        assert any(line.startswith("synccr: ") for line in last[-3:]), said


def test_start_on_a_full_disk(
    home: Home, small: Path, provider: FakeProvider, ledger: Ledger
) -> None:
    """With room for so many pages more: it serves or says why not, the person's configuration
    is whole, and with room again the next start works."""
    _start_with_little_room(home, small, provider, ledger, FREE_PAGES)


@pytest.mark.ccr(kit.CCR3)
def test_start_of_ccr_3_on_a_full_disk(
    home: Home, installed: None, small: Path, provider: FakeProvider, ledger: Ledger
) -> None:
    """The same for what is written once CCR is there: its directory and all that is in it."""
    said = _start_with_little_room(home, small, provider, ledger, FREE_PAGES_3)
    assert any("CCR started no gateway: [config] " in text for text in said), said


def _start_with_little_room(
    home: Home, small: Path, provider: FakeProvider, ledger: Ledger, free_pages: Iterable[int]
) -> list[str]:
    words = kit.hand_written(home, profile(provider.url("openai"), home.port))
    all_said = []
    for pages in free_pages:
        with ledger.fault("full disk during start"):
            for place in (home.root / ".local", home.config, home.root / ".cache"):
                shutil.rmtree(place, ignore_errors=True)
            (home.ccr / "config.json").write_bytes(words)
            (home.ccr / "config.json").chmod(0o600)
            filler = fill(small, pages)
            code, said = run_start(home)
            all_said.append(said)
            assert_said(code, said)
            kit.assert_whole(home, words)
            filler.unlink()
    kit.assert_next_start_works(home)
    kit.assert_whole(home, words)
    return all_said


@kit.cases("free_pages", [FREE_PAGES[:9]], [(0, 2)])
def test_disk_fills_while_it_runs(
    home: Home,
    installed: None,
    small: Path,
    provider: FakeProvider,
    ledger: Ledger,
    free_pages: Sequence[int],
) -> None:
    """In the background, its own output on the full disk too: what serves goes on serving, a
    swap that cannot be written is no loss, and with room again it is made."""
    home.env |= {"SYNCCR_SWAP_COOLDOWN": "0.2", "SYNCCR_DRAIN_TIMEOUT": "2"}
    words = kit.hand_written(home, profile(provider.url("openai"), home.port))
    assert home.run("start", "--detach").returncode == 0
    url = f"http://127.0.0.1:{home.port}/v1/messages"
    try:
        for pages in free_pages:
            with ledger.fault("full disk during a swap"):
                filler = fill(small, pages)
                swapped = home.run("swap", "fallback")
                assert swapped.returncode in (0, 1), swapped.stderr
                assert "Traceback" not in swapped.stderr
                answer = httpx.post(url, json=message("full"), timeout=60)
                assert (answer.status_code, kit.whole(answer)) == (200, "full")
                filler.unlink()
                kit.assert_whole(home, words, ended=False)
                assert home.run("swap", "fallback").returncode == 0
                assert home.run("swap", "primary").returncode == 0
        with ledger.fault("full disk, then the model runs out of credit"):
            filler = fill(small, 0)
            provider.set(MAIN, "billing")
            for turn in range(3):
                answer = httpx.post(url, json=message(f"t{turn}"), timeout=60)
                assert (answer.status_code, kit.whole(answer)) == (200, f"t{turn}")
            filler.unlink()
            provider.set(MAIN, "ok")
            assert kit.status(home)["state"] in ("running", "degraded", "swapping")
    finally:
        stopped = home.run("stop")
    assert stopped.returncode == 0, stopped.stderr
    kit.assert_whole(home, words)
    kit.assert_next_start_works(home)


@kit.cases("size", [0, 64, 700, 4096] if FULL else [0, 700], [700])
def test_files_may_not_grow(home: Home, provider: FakeProvider, ledger: Ledger, size: int) -> None:
    """A limit on the size of files cuts writes in the middle: nothing is half written."""
    words = kit.hand_written(home, profile(provider.url("openai"), home.port))

    # Python itself leaves half a .pyc then, and would stumble over it ever after.
    home.env["PYTHONDONTWRITEBYTECODE"] = "1"
    with ledger.fault("file size limit during start"):
        code, said = run_start(home, *_limited(resource.RLIMIT_FSIZE, size))
        assert_said(code, said)
        kit.assert_whole(home, words)
        kit.assert_next_start_works(home)


@kit.BOTH_IF_FULL
def test_nobody_hears_it(home: Home, provider: FakeProvider, ledger: Ledger) -> None:
    """With its output on a full device it starts, swaps and ends all the same."""
    home.use(provider)
    with ledger.fault("output on a full device"), Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "synccr", "start"], env=home.env, stdout=full, stderr=full
        )
        kit.until(lambda: process.poll() is not None or kit.serving(home), 60, "serves")
        assert home.run("swap", "fallback").returncode == 0
        kit.assert_whole(home, ended=False)
        process.terminate()
        process.wait(30)
        kit.assert_whole(home)


def _limited(which: int, value: int) -> tuple[str, ...]:
    code = (
        f"import os, resource, sys; resource.setrlimit({which}, ({value}, {value}));"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return (sys.executable, "-c", code)


def _closed() -> tuple[str, ...]:
    """What makes modes count for root, too; empty for anybody else."""
    if os.getuid() != 0:
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("root without setpriv")
    return (
        "setpriv",
        "--bounding-set=-dac_override,-dac_read_search",
        "--inh-caps=-dac_override,-dac_read_search",
    )


PLACES = [
    ".claude-code-router",
    ".local/state/synccr/ccr-*",
    ".",
    ".claude-code-router/logs",
    ".config/synccr",
    ".cache/synccr",
    ".config",
    ".cache",
    ".local/state",
    ".local/state/synccr",
]
OF_3 = ".local/state/synccr/ccr-*/ccr3"


@kit.cases("place", [*PLACES, OF_3] if FULL else PLACES[:6], [OF_3])
@pytest.mark.parametrize("fresh", [True, False] if FULL else [False])
def test_read_only_directories(
    home: Home, provider: FakeProvider, ledger: Ledger, place: str, fresh: bool
) -> None:
    """A directory that cannot be written, on the first start and on a later one: it serves or
    says why not; made writable again, the next start works."""
    words = kit.hand_written(home, profile(provider.url("openai"), home.port))
    for name in (
        ".claude-code-router/logs",
        ".config/synccr",
        ".cache/synccr",
        ".local/state/synccr",
    ):
        (home.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    if not fresh:
        kit.assert_next_start_works(home)
    for path in home.root.glob(place) if place != "." else [home.root]:
        with ledger.fault("read-only directory during start"):
            mode = path.stat().st_mode & 0o777
            path.chmod(0o500)
            try:
                code, said = run_start(home, *_closed())
            finally:
                path.chmod(mode)
            assert_said(code, said)
            kit.assert_whole(home, words)
    kit.assert_next_start_works(home)
