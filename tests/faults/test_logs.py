"""CCR's log under everything that can happen to a file, and kept within its limit."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import fault_kit as kit
from fault_kit import FULL, Ledger
from home import MAIN, Home, message
from provider import FakeProvider

pytestmark = [
    pytest.mark.faults,
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.ccr(kit.CCR2),  # CCR 3 keeps no log
]

LONG_LOG = 300 if FULL else 120


def rotate(log: Path) -> None:
    log.rename(log.with_name(log.stem + "_1.log"))
    log.touch()


def append(log: Path, data: bytes) -> None:
    with log.open("ab") as file:
        file.write(data)


def replace(log: Path) -> None:
    other = log.with_suffix(".new")
    other.write_bytes(b'{"level":30,"msg":"somebody else"}\n')
    other.replace(log)


def move(path: Path, suffix: str) -> None:
    path.rename(path.with_name(f"{path.name}.{suffix}"))


def put_directory(log: Path) -> None:
    log.unlink()
    log.mkdir()


def much(log: Path) -> None:
    line = b'{"level":30,"time":1,"pid":1,"msg":"' + b"x" * 1000 + b'"}\n'
    with log.open("ab") as file:
        for _ in range(LONG_LOG):
            file.write(line * 1000)


FAULTS: dict[str, Callable[[Path], None]] = {
    "rotated by name": rotate,
    "moved away": lambda log: move(log, "moved"),
    "truncated": lambda log: os.truncate(log, 0),
    "truncated to the middle": lambda log: os.truncate(log, log.stat().st_size // 2),
    "removed": lambda log: log.unlink(missing_ok=True),
    "replaced": replace,
    f"{LONG_LOG} MB long": much,
    "binary": lambda log: append(log, os.urandom(2_000_000)),
    "a line of 50 MB": lambda log: append(log, b'{"level":50,' + b"y" * 50_000_000 + b"\n"),
    "half a line": lambda log: append(log, b'{"level":50,"time":1795422087117,"pid":26'),
    "made unreadable": lambda log: log.chmod(0),
    "a directory in its place": put_directory,
    "the directory removed": lambda log: move(log.parent, "gone"),
}


SHORT = (
    "rotated",
    "truncated",
    "removed",
    "replaced",
    f"{LONG_LOG} MB",
    "binary",
    "a line",
    "half",
)


@pytest.mark.parametrize("name", [name for name in FAULTS if FULL or name.startswith(SHORT)])
def test_a_402_is_seen_after(home: Home, provider: FakeProvider, ledger: Ledger, name: str) -> None:
    """Whatever happened to the log, a model that runs out of credit is noticed; when the log
    itself can no longer be read, at least requests are answered and a swap works."""
    home.use(provider)
    supervisor = kit.start(home)
    url = f"http://127.0.0.1:{home.port}/v1/messages"
    try:
        with ledger.fault(f"log: {name}"):
            log = Path(next(iter(_open_logs(kit.status(home)["ccr"]["pid"]))))
            append(log, b'{"level":30,"time":1,"pid":1,"msg":"a line that was there before"}\n')
            time.sleep(0.2)
            FAULTS[name](log)
            time.sleep(0.2)
            provider.set(MAIN, "billing")
            # A line that is glued to half a line cannot be read; the next request has its own.
            deadline = time.monotonic() + 40
            while kit.status(home)["profile"] != "fallback":
                assert time.monotonic() < deadline, "the 402 was never seen"
                answer = httpx.post(url, json=message("x"), timeout=60)
                ledger.requests["answered" if answer.status_code == 200 else "lost"] += 1
                assert answer.status_code == 200, answer.text
                time.sleep(0.2)
            kit.assert_whole(home, ended=False)
    finally:
        kit.stop(supervisor)
    kit.assert_whole(home)
    if FULL:
        kit.assert_next_start_works(home)


def _open_logs(pid: int) -> list[str]:
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return [link for link in links if "/logs/" in link]


def test_the_log_stays_within_its_limit(home: Home, provider: FakeProvider, ledger: Ledger) -> None:
    """Failures write the log full many times over: it stays within its limit, every failure is
    seen, old logs go, and no file that is no log of CCR's."""
    limit = 2_000_000
    home.env |= {
        "SYNCCR_CCR_LOG_LIMIT": str(limit),
        "SYNCCR_TROUBLE_COUNT": "1000",
        "SYNCCR_SWAP_COOLDOWN": "0",
    }
    home.use(provider)
    logs = home.ccr / "logs"
    logs.mkdir(parents=True, mode=0o700)
    old = logs / "ccr-20250101000000.log"
    old.write_bytes(b"o" * (limit + 1))
    notes = logs / "notes.txt"
    notes.write_bytes(b"n" * limit)
    os.utime(old, (1, 1))
    supervisor = kit.start(home)
    try:
        with ledger.fault("log: written full"):
            kit.until(lambda: not old.exists(), 30, "the old log is deleted")
            log = Path(_open_logs(kit.status(home)["ccr"]["pid"])[0])
            body = {"error": {"message": "m" * 100_000, "type": "server_error"}}
            provider.set(MAIN, {"kind": "reply", "status": 500, "body": body})
            highest = 0
            with httpx.Client(timeout=60) as http:
                for turn in range(60):
                    answer = http.post(
                        f"http://127.0.0.1:{home.port}/v1/messages", json=message(f"t{turn}")
                    )
                    assert answer.status_code == 200, answer.text[:300]
                    ledger.requests["answered"] += 1
                    highest = max(highest, log.stat().st_size)
            kit.until(lambda: log.stat().st_size <= limit, 30, "it is cut")
            assert highest < 1.5 * limit
            assert notes.exists()
            for line in log.read_bytes().splitlines():
                json.loads(line)
            assert kit.status(home)["ccr"]["restarts"] == 0
            provider.set(MAIN, "billing")

            def seen() -> bool:
                url = f"http://127.0.0.1:{home.port}/v1/messages"
                httpx.post(url, json=message("y"), timeout=60)
                return bool(kit.status(home)["profile"] == "fallback")

            kit.until(seen, 30, "the 402 is seen, once the main model has rested")
    finally:
        kit.stop(supervisor)
    kit.assert_whole(home)
