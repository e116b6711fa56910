"""What the streams of one proxy have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from synccr.proxy.buffer import Budget
from synccr.proxy.resend import TurnKeeper
from synccr.proxy.switch import Switch


@dataclass(slots=True)
class Stats:
    """What the proxy has done since it was made, as counts.

    Attributes:
        requests: requests with a whole head.
        held: requests that had to wait for a backend.
        carried: times a request was taken back from a backend and sent again.
        not_carried: requests too large to be kept.
        cut: connections aborted because an answer that had begun broke off.
        refused: requests, malformed ones included, that the proxy answered with an error.
        statuses: answers by status class; index 2 counts 2xx.
    """

    requests: int = 0
    held: int = 0
    carried: int = 0
    not_carried: int = 0
    cut: int = 0
    refused: int = 0
    statuses: list[int] = field(default_factory=lambda: [0] * 10)


@dataclass(slots=True)
class Shared:
    """Settings, counters and services of one proxy.

    Attributes:
        switch: knows the backends.
        clock: monotonic seconds.
        hold_timeout: seconds a request waits for a backend before it is answered 503.
        carry_limit: bytes of one request that are kept; a larger one is not sent again.
        budget: bytes kept for all requests together.
        turns: keeps account of requests to models; None when CCR asks providers by itself.
        stats: counts since the start.
        closing: the proxy ends: what waits is refused, and each answer ends its connection.
    """

    switch: Switch
    clock: Callable[[], float]
    hold_timeout: float
    carry_limit: int
    budget: Budget
    turns: TurnKeeper | None
    stats: Stats = field(default_factory=Stats)
    closing: bool = False
