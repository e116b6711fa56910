"""A machine that sleeps, clocks that jump, and a network that goes and comes back."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

import fault_kit as kit
from fault_kit import FULL, Ledger, Traffic
from home import MAIN, Home, message
from provider import FakeProvider

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(900)]

ASLEEP = 120.0 if FULL else 8.0


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Seconds that the wall clock, and the clock that counts sleep, are ahead: "WALL BOOT". */
static void ahead(long *wall, long *boot) {
    FILE *file = fopen(getenv("CLOCKS_AHEAD"), "re");
    *wall = *boot = 0;
    if (file) {
        if (fscanf(file, "%ld %ld", wall, boot) < 2) *boot = 0;
        fclose(file);
    }
}
int clock_gettime(clockid_t which, struct timespec *at) {
    long wall, boot, done = syscall(SYS_clock_gettime, which, at);
    if (which == CLOCK_REALTIME || which == CLOCK_BOOTTIME) {
        ahead(&wall, &boot);
        at->tv_sec += which == CLOCK_REALTIME ? wall : boot;
    }
    return done;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
HOUR, DAY = 3600, 86400


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that moves the clocks of what is started with it."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or not compiler:
        pytest.skip("needs Linux and a C compiler")
    place = tmp_path_factory.mktemp("shim")
    (place / "clocks.c").write_text(SHIM)
    library = place / "clocks.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(place / "clocks.c")]
    subprocess.run(command, check=True)
    return library


@kit.BOTH
def test_suspend_and_resume(home: Home, provider: FakeProvider, ledger: Ledger) -> None:
    """The whole tree stops for a while and goes on: requests that came meanwhile are answered,
    CCR is not taken for dead, and a 402 right after is noticed."""
    home.env["SYNCCR_HEALTH_INTERVAL"] = "1"
    home.use(provider)
    supervisor = kit.start(home)
    answers: list[tuple[int, str]] = []

    def ask(number: int) -> None:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.post(
                f"http://127.0.0.1:{home.port}/v1/messages", json=message(f"s{number}"), timeout=300
            )
            answers.append((answer.status_code, kit.whole(answer)))

    try:
        for _ in range(3 if FULL else 1):
            answers.clear()
            with ledger.fault("suspended and resumed"):
                tree = home.processes()
                for process in tree:
                    process.send_signal(signal.SIGSTOP)
                threads = [threading.Thread(target=ask, args=(n,)) for n in range(10)]
                for thread in threads:
                    thread.start()
                time.sleep(ASLEEP)
                for process in reversed(tree):
                    process.send_signal(signal.SIGCONT)
                for thread in threads:
                    thread.join(60)
                ledger.requests["answered"] += len(answers)
                ledger.requests["lost"] += 10 - len(answers)
                assert sorted(answers) == sorted((200, f"s{n}") for n in range(10))
                time.sleep(2)
                status = kit.status(home)
                assert (status["state"], status["ccr"]["restarts"]) == ("running", 0)
        provider.set(MAIN, "billing")
        httpx.post(f"http://127.0.0.1:{home.port}/v1/messages", json=message("x"), timeout=60)
        kit.until(lambda: kit.status(home)["profile"] == "fallback", 30, "the 402 is seen")
    finally:
        kit.stop(supervisor)
    kit.assert_whole(home)


ASLEEP_FOR = [(6 * HOUR, 6 * HOUR), (5 * DAY, 5 * DAY)]
SET = [(6 * HOUR, 0), (-2 * DAY, 0), (400 * DAY, 0), (0, 0)]


@kit.cases("jumps", [ASLEEP_FOR, SET], [SET[:2]])
def test_the_clocks_jump(
    home: Home,
    provider: FakeProvider,
    ledger: Ledger,
    tmp_path: Path,
    shim: Path,
    jumps: list[tuple[int, int]],
) -> None:
    """The machine slept for hours (both clocks are ahead), or its clock was set, back as well:
    everything goes on, and a swap and the way back work after each jump."""
    control = tmp_path / "clocks"
    control.write_text("0 0")
    home.env |= {
        "LD_PRELOAD": str(shim),
        "CLOCKS_AHEAD": str(control),
        "SYNCCR_RECOVERY_INTERVAL": "1",
        "SYNCCR_RECOVERY_INTERVAL_MAX": "1",
        "SYNCCR_SWAP_COOLDOWN": "0.3",
        "SYNCCR_SWAP_LIMIT": "100",
    }
    home.use(provider)
    supervisor = kit.start(home)
    url = f"http://127.0.0.1:{home.port}/v1/messages"
    try:
        for wall, boot in jumps:
            with ledger.fault("clock jump"):
                control.write_text(f"{wall} {boot}")
                time.sleep(0.5)
                provider.set(MAIN, "billing")
                answer = httpx.post(url, json=message("jump"), timeout=60)
                assert (answer.status_code, kit.whole(answer)) == (200, "jump")
                kit.until(lambda: kit.status(home)["profile"] == "fallback", 40, f"402, {wall} s")
                provider.set(MAIN, "ok")
                kit.until(lambda: kit.status(home)["profile"] == "primary", 40, f"back, {wall} s")
                kit.assert_whole(home, ended=False)
        times = [entry["at"] for entry in home.events("swapped")]
        assert len({at[:10] for at in times}) > 1  # the clocks did jump
        assert kit.status(home)["ccr"]["restarts"] == 0
    finally:
        kit.stop(supervisor)
    kit.assert_whole(home)
    kit.assert_next_start_works(home)


@kit.BOTH
def test_the_network_goes_and_comes_back(
    home: Home, provider: FakeProvider, ledger: Ledger
) -> None:
    """The provider cannot be reached for a while: the router stays, says so, and serves again
    by itself once it can."""
    home.env |= {
        "SYNCCR_RECOVERY_INTERVAL": "1",
        "SYNCCR_RECOVERY_INTERVAL_MAX": "1",
        "SYNCCR_SWAP_COOLDOWN": "0.5",
        "SYNCCR_PREFLIGHT_TIMEOUT": "3",
        "SYNCCR_TROUBLE_COUNT": "3",
    }
    home.use(provider)
    supervisor = kit.start(home)
    url = f"http://127.0.0.1:{home.port}/v1/messages"
    try:
        with ledger.fault("network gone and back"):
            provider.set_all({"kind": "reset"})
            for turn in range(8):
                with contextlib.suppress(httpx.HTTPError):
                    httpx.post(url, json=message(f"gone{turn}"), timeout=10)
            kit.until(lambda: kit.status(home)["state"] == "degraded", 30, "it says so")
            assert supervisor.poll() is None
            provider.set_all(None)
            kit.until(lambda: kit.status(home)["state"] == "running", 40, "it serves again")
            with Traffic(home) as traffic:
                kit.until(lambda: traffic.outcomes.total() > 10, 60, "traffic")
            ledger.requests += traffic.outcomes
            assert traffic.outcomes["lost"] == 0, traffic.wrong
            kit.assert_whole(home, ended=False)
    finally:
        kit.stop(supervisor)
    kit.assert_whole(home)
