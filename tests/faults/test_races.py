"""Two of everything at once, and an end in the middle of a beginning."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from functools import partial

import pytest

import fault_kit as kit
from fault_kit import FULL, Ledger, Traffic
from home import Home, profile
from provider import FakeProvider

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(900)]

ROUNDS = dict.fromkeys((kit.CCR2, kit.CCR3), 10) if FULL else {kit.CCR2: 2, kit.CCR3: 1}


@pytest.fixture
def words(home: Home, provider: FakeProvider) -> bytes:
    home.env |= {"SYNCCR_SWAP_COOLDOWN": "0", "SYNCCR_DRAIN_TIMEOUT": "2"}
    return kit.hand_written(home, profile(provider.url("openai"), home.port))


def _one_is_left(starts: list[subprocess.Popen[bytes]]) -> bool:
    return [start.poll() for start in starts].count(None) == 1


@kit.BOTH
def test_starts_at_once(home: Home, words: bytes, ledger: Ledger, dice: random.Random) -> None:
    """Of starts at the same time one serves, and the others say so with exit code 7."""
    for turn in range(ROUNDS[home.ccr_version]):
        with ledger.fault("starts at once"):
            starts = []
            for _ in range(2 + turn % 2):
                starts.append(kit.spawn(home, "start"))
                time.sleep(dice.random() * 0.3)
            kit.until(partial(_one_is_left, starts), 60, "one is left")
            kit.until(lambda: kit.serving(home), 60, "it serves")
            assert sorted(s.returncode for s in starts if s.poll() is not None) == [7] * (
                len(starts) - 1
            )
            assert len(kit.ccr_processes(home)) == 1
            kit.assert_whole(home, words, ended=False)
            kit.stop(next(s for s in starts if s.poll() is None))
            kit.assert_whole(home, words)


@kit.BOTH
def test_detached_starts_at_once(home: Home, words: bytes, ledger: Ledger) -> None:
    """The same in the background: whoever does not serve says so, and one stop ends it."""
    with ledger.fault("detached starts at once"):
        starts = [kit.spawn(home, "start", "--detach") for _ in range(3)]
        codes = sorted(start.wait(90) for start in starts)
        assert codes == [0, 7, 7], kit.terminal(home)
        assert len(kit.ccr_processes(home)) == 1
        assert home.run("stop").returncode == 0
        kit.assert_whole(home, words)


@kit.BOTH
def test_swaps_and_restarts_at_once(
    home: Home, words: bytes, ledger: Ledger, dice: random.Random
) -> None:
    """Swaps and restarts asked for at the same moment: one after the other, no request lost,
    one CCR at the end, of the configuration that status names."""
    supervisor = kit.start(home)
    try:
        for _ in range(ROUNDS[home.ccr_version]):
            orders = dice.choices(
                [("swap", "fallback"), ("swap", "primary"), ("restart",)], k=dice.randint(2, 4)
            )
            with ledger.fault("orders at once"), Traffic(home) as traffic:
                asked = [kit.spawn(home, *order) for order in orders]
                codes = [order.wait(120) for order in asked]
                assert set(codes) <= {0, 1}, kit.terminal(home)
            ledger.requests += traffic.outcomes
            assert traffic.outcomes["lost"] == 0, traffic.wrong
            kit.until(lambda: kit.serving(home), 30, "it serves")
            kit.until(lambda: len(kit.ccr_processes(home)) == 1, 20, "one CCR")
            status = kit.status(home)
            written = kit.written(home)["Router"]["default"]
            assert written == status["routes"]["default"], orders
            kit.assert_whole(home, words, ended=False)
    finally:
        kit.stop(supervisor)
    kit.assert_whole(home, words)


@kit.cases("how", ["SIGTERM", "SIGINT", "SIGHUP", "stop"], ["SIGTERM", "stop"])
def test_stop_during_start(
    home: Home, words: bytes, ledger: Ledger, dice: random.Random, how: str
) -> None:
    """Told to end at any moment of its start, it ends at once, with nothing left."""
    begun = time.monotonic()
    kit.stop(kit.start(home))
    took = time.monotonic() - begun
    for _ in range(2 * ROUNDS[home.ccr_version]):
        with ledger.fault(f"{how} during start"):
            process = kit.spawn(home, "start")
            # Before Python has come to our code a signal ends it as it ends any program.
            time.sleep(0.25 + dice.random() * took)
            if how == "stop":
                assert home.run("stop").returncode == 0
                if process.poll() is None and not kit.serving(home):
                    process.terminate()  # it had not begun to listen: there was nobody to ask
                    assert home.run("stop").returncode == 0
            else:
                process.send_signal(getattr(signal, how))
            if how == "stop" and kit.serving(home):
                assert home.run("stop").returncode == 0
            code = process.wait(20)
            assert code in {0, 130, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}, code
            kit.assert_whole(home, words)
    kit.assert_next_start_works(home)
