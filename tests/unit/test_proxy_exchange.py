"""The judgement on one request, as histories."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccr.proxy.exchange import MAX_GENERATIONS, MAX_SENDS, Action, Exchange


def given_to(*generations: int) -> Exchange:
    exchange = Exchange()
    for generation in generations:
        assert exchange.place(generation, paused=True) is Action.FORWARD
        exchange.sent(generation)
    return exchange


def answered(
    exchange: Exchange,
    status: int,
    *,
    kept: bool = True,
    serving: bool = True,
    closes: bool = False,
) -> Action:
    return exchange.answered(status, kept=kept, serving=serving, closes=closes)


def test_forwards_to_the_current_backend() -> None:
    """A request goes to the backend that serves, and waits while none does."""
    assert Exchange().place(1) is Action.FORWARD
    assert Exchange().place(None) is Action.WAIT


def test_reconnects_once_then_pauses_then_fails() -> None:
    """The same backend gets a request twice at once, a third time after a pause, then no more."""
    exchange = given_to(1)
    assert exchange.place(1) is Action.FORWARD
    exchange.sent(1)
    assert exchange.place(1) is Action.WAIT
    assert exchange.place(1, paused=True) is Action.FORWARD
    exchange.sent(1)
    assert exchange.place(1, paused=True) is Action.FAIL
    assert exchange.place(2) is Action.FORWARD


def test_a_new_backend_starts_the_count_again() -> None:
    """A new generation gets a request at once, however often the old one had it."""
    exchange = given_to(1, 1, 1)
    assert exchange.place(2) is Action.FORWARD
    exchange.sent(2)
    assert exchange.place(2) is Action.FORWARD


def test_no_request_goes_through_every_backend() -> None:
    """A request that has seen the limit of backends die is not given to another one."""
    exchange = given_to(*range(MAX_GENERATIONS))
    assert exchange.place(None) is Action.FAIL
    assert exchange.place(MAX_GENERATIONS) is Action.FAIL
    assert exchange.place(MAX_GENERATIONS - 1) is Action.FORWARD


@pytest.mark.parametrize(
    ("begun", "kept", "lost", "garbage"),
    [
        (False, True, Action.RESEND, Action.FAIL),
        (False, False, Action.FAIL, Action.FAIL),
        (True, True, Action.CUT, Action.CUT),
        (True, False, Action.CUT, Action.CUT),
    ],
)
def test_a_backend_that_breaks(begun: bool, kept: bool, lost: Action, garbage: Action) -> None:
    """What happens when a backend is lost or talks nonsense depends on what has been passed."""
    exchange = given_to(1)
    if begun:
        assert answered(exchange, 200) is Action.PASS
    assert exchange.lost(kept=kept) is lost
    assert exchange.garbage() is garbage


@pytest.mark.parametrize(("status", "action"), [(100, Action.SWALLOW), (103, Action.INTERIM)])
def test_interim_responses_do_not_begin_an_answer(status: int, action: Action) -> None:
    """After an interim response a request can still be sent again."""
    exchange = given_to(1)
    assert answered(exchange, status) is action
    assert exchange.lost(kept=True) is Action.RESEND


@pytest.mark.parametrize("status", [200, 302, 404, 500, 529])
@pytest.mark.parametrize("serving", [True, False])
def test_answers_are_passed(status: int, serving: bool) -> None:
    """Any answer but 503 is passed on, even from a backend whose time is over."""
    exchange = given_to(1)
    assert answered(exchange, status, serving=serving, closes=True) is Action.PASS
    assert exchange.begun


@pytest.mark.parametrize(
    ("serving", "closes", "kept", "action"),
    [
        (True, False, True, Action.PASS),
        (True, True, True, Action.VERIFY),
        (True, True, False, Action.PASS),
        (False, False, True, Action.RESEND),
        (False, True, True, Action.RESEND),
        (False, True, False, Action.PASS),
    ],
)
def test_503(serving: bool, closes: bool, kept: bool, action: Action) -> None:
    """A 503 that may only mean "I am closing" is not taken for the answer."""
    exchange = given_to(1)
    assert answered(exchange, 503, serving=serving, closes=closes, kept=kept) is action
    assert exchange.begun is (action is Action.PASS)


@pytest.mark.parametrize("listening", [True, False])
def test_verified(listening: bool) -> None:
    """A 503 is passed when its backend still listens, else the request is sent again."""
    exchange = given_to(1)
    action = exchange.verified(listening=listening, kept=True)
    assert action is (Action.PASS if listening else Action.RESEND)


def test_503_at_the_limit_is_passed() -> None:
    """When no further backend may get the request, a 503 is the honest answer."""
    exchange = given_to(*range(MAX_GENERATIONS))
    assert answered(exchange, 503, serving=False) is Action.PASS
    exchange = given_to(*range(MAX_GENERATIONS))
    assert exchange.verified(listening=False, kept=True) is Action.PASS


EVENTS = st.one_of(
    st.tuples(st.just("place"), st.none() | st.integers(1, 6), st.booleans()),
    st.tuples(st.just("lost"), st.booleans()),
    st.tuples(st.just("garbage")),
    st.tuples(
        st.just("answered"),
        st.sampled_from([100, 103, 200, 503]),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    st.tuples(st.just("verified"), st.booleans(), st.booleans()),
)


@given(st.lists(EVENTS, max_size=60))
def test_what_never_happens(events: list[tuple[Any, ...]]) -> None:
    """Whatever comes: no answer begins twice, nothing begun is sent again, sends are bounded."""
    exchange = Exchange()
    state, sends, seen = "placing", 0, set()
    for name, *rest in events:
        action = None
        if state == "placing" and name == "place":
            action = exchange.place(rest[0], paused=rest[1])
            assert action in {Action.FORWARD, Action.WAIT, Action.FAIL}
            if action is Action.FORWARD:
                exchange.sent(rest[0])
                seen.add(rest[0])
                sends += 1
                state = "sent"
        elif state in {"sent", "begun", "verifying"} and name == "lost":
            action = exchange.lost(kept=rest[0])
            assert (action is Action.CUT) == (state == "begun")
        elif state in {"sent", "begun"} and name == "garbage":
            action = exchange.garbage()
            assert (action is Action.CUT) == (state == "begun")
        elif state == "sent" and name == "answered":
            action = exchange.answered(rest[0], kept=rest[1], serving=rest[2], closes=rest[3])
            if action is Action.VERIFY:
                state = "verifying"
        elif state == "verifying" and name == "verified":
            action = exchange.verified(listening=rest[0], kept=rest[1])
        if action is Action.RESEND:
            assert not exchange.begun
            state = "placing"
        elif action is Action.PASS:
            assert state != "begun"
            state = "begun"
        elif action in {Action.CUT, Action.FAIL}:
            break
    assert sends <= MAX_GENERATIONS * MAX_SENDS * 2
    assert exchange.generations <= MAX_GENERATIONS
