"""The soak, made short: the same load with its troubles closer together."""

from __future__ import annotations

import os
import random

import pytest

from fault_kit import BOTH_IF_FULL, Ledger
from home import Home
from provider import FakeProvider
from soak import Soak

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(900)]

MINUTES = float(os.environ.get("SYNCCR_SOAK_MINUTES", "1.5"))


@BOTH_IF_FULL
def test_soak(home: Home, provider: FakeProvider, ledger: Ledger, dice: random.Random) -> None:
    """Troubles and kills of CCR under load: nothing grows, and no request is lost that could
    be carried over."""
    soak = Soak(home, provider, MINUTES, 8, trouble_every=15, kill_every=25, dice=dice)
    with ledger.fault("soak"):
        soak.run()
    ledger.requests += soak.outcomes
    ledger.requests["cut"] += soak.cut
    ledger.requests["lost"] -= soak.cut
    assert soak.troubles >= 3
    assert soak.kills >= 2
