"""When an attempt notices that its provider is silent, by a clock of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from egress_kit import MAIN, delta, sse

from synccr.config.profile import Provider
from synccr.egress.attempt_runner import GRACE, AttemptRunner, AttemptServices
from synccr.egress.provider_lookup import ProviderLookup
from synccr.egress.server import CcrConnection
from synccr.egress.silence_limits import ENOUGH, FLOOR, SilenceLimits
from synccr.judge.outcome import Trouble
from synccr.transport import Transport
from synccr.turns.attempt import Attempt
from synccr.turns.turn import Turns

URL = "http://127.0.0.1:1/v1/chat/completions"
PIECE = sse(delta("x"))[0]
FIRST = 40.0
"""Seconds that the model took for its first word lately: it is granted some more."""


@dataclass(eq=False)
class Timer:
    """One that has been set."""

    due: float
    callback: Callable[[], None]
    over: bool = False

    def cancel(self) -> None:
        self.over = True


@dataclass
class Clock:
    """The time, and the timers of a loop in it."""

    now: float = 1000.0
    timers: list[Timer] = field(default_factory=list)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + delay, callback))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [one for one in self.timers if not one.over and one.due <= until]:
            timer = min(due, key=lambda one: one.due)
            timer.over = True
            self.now = timer.due
            timer.callback()
        self.now = until


@dataclass
class Ccr:
    """CCR's connection; it takes everything."""

    method: str = "POST"
    target: bytes = b"/v1/messages"
    body: bytes = b'{"model": "main", "stream": true, "messages": []}'
    full: bool = False
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    aborted: bool = False

    def header(self, name: bytes) -> bytes | None:
        return URL.encode() if name == b"x-synccr-to" else None

    def begin(self, *_: object) -> None: ...
    def write(self, *_: object) -> None: ...
    def answer(self, *_: object) -> None: ...
    def end(self, *_: object) -> None: ...

    def abort(self) -> None:
        self.aborted = True


class SilentProvider:
    """A transport, and the call that it makes: nothing comes by itself."""

    def start(self, *_: object) -> Any:
        return self

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...
    def join_pieces(self) -> None: ...


@dataclass
class Scene:
    clock: Clock
    ccr: Ccr
    runner: AttemptRunner
    ended: list[Attempt]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """An attempt under way, at a model that begins late and then has no gaps."""
    clock, ended = Clock(), list[Attempt]()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    silence = SilenceLimits(45.0, 180.0)
    for _ in range(ENOUGH):
        silence.answered(MAIN, 1000, FIRST, 0.1, streamed=True)
    lookup = ProviderLookup((Provider("acme", URL, "real-key", ("main",)),))
    services = AttemptServices(
        turns=Turns(),
        transport=cast("Transport", SilentProvider()),
        silence=silence,
        providers=lambda: lookup,
        substitute=lambda url, fields: (url, fields),
        permit=lambda _attempt, _turn: None,
        on_ended=lambda _turn, attempt: ended.append(attempt),
        clock=lambda: clock.now,
    )
    ccr = Ccr()
    runner = AttemptRunner(services, cast("CcrConnection", ccr))
    runner.start()
    return Scene(clock, ccr, runner, ended)


def test_the_first_word_may_take_long(scene: Scene) -> None:
    """As long as it took lately, and longer; not for ever."""
    scene.clock.advance(2 * FIRST)
    assert not scene.ended
    scene.clock.advance(180.0)
    assert scene.ended[0].failure is not None
    assert scene.ended[0].failure.trouble is Trouble.SILENT


def test_a_stall_after_the_first_word_is_noticed_by_the_limit_between_pieces(scene: Scene) -> None:
    """It is not granted what was left of the time for the first one."""
    scene.clock.advance(1.0)
    scene.runner.head(200, [(b"content-type", b"text/event-stream")])
    scene.runner.body(PIECE)
    scene.clock.advance(FLOOR - 0.1)
    assert not scene.ended
    scene.clock.advance(0.2)
    assert scene.ended[0].failure is not None
    assert scene.ended[0].failure.trouble is Trouble.SILENT
    assert scene.ended[0].failure.passed
    assert scene.ccr.aborted


def test_pieces_that_come_set_no_timer(scene: Scene) -> None:
    """One is set for the first word and one for the pieces after it; that one looks again."""
    scene.runner.head(200, [(b"content-type", b"text/event-stream")])
    for _ in range(1000):
        scene.runner.body(PIECE)
    assert len(scene.clock.timers) == 2
    for _ in range(30):
        scene.clock.advance(FLOOR / 10)
        scene.runner.body(PIECE)
    assert len(scene.clock.timers) <= 6
    assert not scene.ended


def test_a_slow_reader_is_no_silence(scene: Scene) -> None:
    """While CCR does not take what comes, nothing is watched; afterwards it is again."""
    scene.runner.head(200, [(b"content-type", b"text/event-stream")])
    scene.ccr.full = True
    scene.runner.body(PIECE)
    scene.clock.advance(10 * FLOOR)
    assert not scene.ended
    scene.runner.throttle(full=False)
    scene.clock.advance(FLOOR + 0.1)
    assert len(scene.ended) == 1


def test_an_end_mark_without_an_end(scene: Scene) -> None:
    """The answer is whole a moment later."""
    scene.runner.head(200, [(b"content-type", b"text/event-stream")])
    scene.runner.body(sse(delta("x", "stop"))[0])
    scene.clock.advance(GRACE + 0.1)
    assert scene.ended[0].went_well
