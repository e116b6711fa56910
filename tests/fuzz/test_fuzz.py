"""The targets with Hypothesis: any bytes, and seeds that are changed a little.

``SYNCCR_FUZZ_EXAMPLES`` is how many examples each gets.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from targets import SEEDS, TARGETS

EXAMPLES = int(os.environ.get("SYNCCR_FUZZ_EXAMPLES", "60"))
_WORDS = [
    b"",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"0",
    b": ",
    b'"',
    b"\\u0000",
    b"{",
    b"[",
    b"\xff",
    b"e9",
]


@st.composite
def changed(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with some pieces cut out, doubled, or replaced."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.integers(0, 12)))
        middle = draw(st.sampled_from(_WORDS) | st.binary(max_size=6) | st.just(data[at:to] * 2))
        data = data[:at] + middle + data[to:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name: str) -> None:
    """The target's promise holds for every input that Hypothesis thinks of."""

    @given(changed(SEEDS[name]) | st.binary(max_size=300))
    @example(b"")
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    """Every seed is accepted as it is."""
    for seed in SEEDS[name]:
        TARGETS[name](seed)
