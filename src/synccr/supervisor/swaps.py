"""The swaps of one supervisor: what became of them, and who waits for one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from synccr.policy.events import PolicyEvent, SwapAsked
from synccr.policy.state import Phase, PolicyState


class SwapResult(NamedTuple):
    """What came of a person's wish.

    Attributes:
        swapped: a swap was done meanwhile; else the profile served already, or cannot.
        failure: why one did not come up.
    """

    swapped: bool = False
    failure: str | None = None


_NO_SWAP = SwapResult()


@dataclass
class _Request:
    event: SwapAsked
    answer: asyncio.Future[SwapResult]
    heard: bool = False
    result: SwapResult = _NO_SWAP


@dataclass
class SwapLog:
    """Swaps that came up, and requests for one.

    Attributes:
        count: how many came up.
        last: the latest, as the contract's ``status --json`` has it.
    """

    count: int = 0
    last: dict[str, Any] | None = None
    _requests: list[_Request] = field(default_factory=list)
    _ended: bool = False

    async def result(self, event: SwapAsked, patience: float) -> SwapResult:
        """What comes of this event, which has just been posted.

        Args:
            patience: seconds; what is known by then is the result.
        """
        request = _Request(event, asyncio.get_running_loop().create_future())
        if self._ended:
            return request.result
        self._requests.append(request)
        try:
            await asyncio.wait({request.answer}, timeout=patience)
        finally:
            self._requests.remove(request)
        return request.result

    def done(self, entry: dict[str, Any]) -> None:
        """A swap came up."""
        self.count, self.last = self.count + 1, entry
        for request in self._requests:
            request.result = SwapResult(swapped=True)

    def failed(self, why: str) -> None:
        """A swap did not come up."""
        for request in self._requests:
            if not request.result.swapped:
                request.result = SwapResult(failure=why)

    def decided(self, event: PolicyEvent, state: PolicyState) -> None:
        """The policy has taken an event: who waits is answered once nothing is on its way."""
        settled = state.asked is None and not _starts_a_backend(state)
        for request in self._requests:
            request.heard = request.heard or request.event is event
            if request.heard and settled:
                _answer(request)

    def end(self, state: PolicyState) -> None:
        """There are no more swaps: nobody is kept waiting."""
        if state.asked:
            self.failed("this supervisor ends")
        self._ended = True
        for request in self._requests:
            _answer(request)


def _answer(request: _Request) -> None:
    if not request.answer.done():
        request.answer.set_result(request.result)


def _starts_a_backend(state: PolicyState) -> bool:
    starting = state.phase is Phase.RESTARTING and state.restart_at is None
    return starting or state.phase is Phase.SWAPPING
