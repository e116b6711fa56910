"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Numbers of things.

    Attributes:
        runs: of each event.
        clients: at once.
        steady: seconds of the quiet state before each event.
        rounds: pairs of blocks for each kind of load on the relay.
        block: requests of one client in one block; many clients together do ten times that.
        idle: seconds over which idle CPU is taken.
        requests: load before memory is read again.
        streams: answers that are under way at once.
    """

    runs: int = 5
    clients: int = 20
    steady: float = 3.0
    rounds: int = 20
    block: int = 40
    idle: float = 20.0
    requests: int = 2000
    streams: int = 2000


QUICK = Scale(runs=1, clients=4, steady=0.3, rounds=2, block=3, idle=1.0, requests=20, streams=20)
"""Enough to see that everything runs; the figures mean nothing."""
