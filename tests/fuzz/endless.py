"""One target with Hypothesis until it is interrupted: endless.py TARGET. Prints what it ran."""

from __future__ import annotations

import os
import signal
import sys

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from targets import SEEDS, TARGETS
from test_fuzz import changed

if __name__ == "__main__":
    name = sys.argv[1]
    count = 0

    @given(changed(SEEDS[name]) | st.binary(max_size=300))
    @settings(
        max_examples=10_000_000,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    def run(data: bytes) -> None:
        global count
        count += 1
        TARGETS[name](data)

    def finish(*_: object) -> None:
        print(f"{name}: {count} examples, nothing found", flush=True)
        os._exit(0)

    signal.signal(signal.SIGINT, finish)
    run()
