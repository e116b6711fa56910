"""The record of one attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from synccr.judge.outcome import Failure
from synccr.models.report import ModelRef


@dataclass(slots=True, eq=False)
class Attempt:
    """One try of one turn at one model, with its outcome. Times are monotonic seconds.

    Attributes:
        ref: the model that was asked.
        started: when the egress got the request.
        sent: it was sent to the provider; False when it was answered at once.
        first_byte, ended: of the provider's answer; None while they have not come.
        http_status: of the provider's answer.
        failure: why it was no answer; None while it is under way or when it went well.
        bytes_out, bytes_in: of the request's and the answer's body.
        tokens: in and out, as the provider told.
        headers: rate limits and ``Retry-After`` of the answer.
        streamed, tools: events were asked for, tools were offered.
        went_well: its answer was whole.
        abort: ends the provider's request; None when there is nothing to end.
    """

    ref: ModelRef
    started: float
    sent: bool = False
    first_byte: float | None = None
    ended: float | None = None
    http_status: int | None = None
    failure: Failure | None = None
    bytes_out: int = 0
    bytes_in: int = 0
    tokens: tuple[int | None, int | None] = (None, None)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    streamed: bool = False
    tools: bool = False
    went_well: bool = False
    abort: Callable[[], None] | None = field(default=None, repr=False)
