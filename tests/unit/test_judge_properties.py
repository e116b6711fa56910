"""What holds of any answer in any cutting: one verdict, the same bytes, bounded memory."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from judge_kit import (
    DOCUMENT,
    DONE,
    ENDINGS,
    ERROR,
    JSON,
    LEAD,
    LENGTH,
    NAMES,
    STREAM,
    TAIL,
    TEXT,
    Heard,
    event,
    hear,
    judge,
)

from synccr.judge import Abort, Done, Event, Fail

LIMIT = 600
REMARK = b": " + b"-" * 120 + b"\n\n"
LARGE = event({"large": "x" * 700})
COMPLAINT = event({"code": 1113, "message": "no balance"})
SPREAD = event('{\ndata: "spread": [1,\ndata: 2]}')


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, bytes, bool]:
    """A dialect, a stream in it of parts in any order, and whether an end mark may be in it."""
    name = draw(st.sampled_from(NAMES))
    odd = [REMARK, COMPLAINT, SPREAD, b"data: garbage\n\n", b"\n", b"event: ping\n\n"]
    ends = [b"".join(TAIL[name]), b"".join(LENGTH[name]), LARGE]
    kinds = [*LEAD[name], *TEXT[name], ERROR[name], DONE, *odd]
    mayend = draw(st.booleans())
    parts = draw(st.lists(st.sampled_from(kinds + (ends if mayend else [])), max_size=9))
    if draw(st.booleans()):
        parts = [*LEAD[name], *TEXT[name], *parts]
    data = b"".join(parts)
    if draw(st.booleans()):
        data = data.replace(b"\n", draw(st.sampled_from([b"\r\n", b"\r"])))
    return name, data[: len(data) - draw(st.integers(0, 40))], mayend


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The pieces between these places; they may lie anywhere."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


PLACES = st.lists(st.integers(0, 1 << 16), max_size=12)
OPTIONS = st.fixed_dictionaries({"done_alone": st.booleans(), "accept_empty": st.booleans()})


def same(one: Heard, other: Heard) -> None:
    assert one.verdict == other.verdict
    assert one.passed == other.passed
    assert one.judge.usage == other.judge.usage


@settings(max_examples=4 * settings().max_examples)
@given(answers(), PLACES, st.sampled_from(ENDINGS), OPTIONS)
def test_any_cutting_of_a_stream(
    answer: tuple[str, bytes, bool], places: list[int], ending: Event, options: dict[str, bool]
) -> None:
    """The same verdict and bytes; an error never passes; nothing of a failure does."""
    name, data, may_end = answer
    whole = hear(judge(name, limit=LIMIT, **options), [data] if data else [], ending)
    for pieces in (cut(data, places), [data[i : i + 1] for i in range(len(data))]):
        heard = hear(judge(name, limit=LIMIT, **options), pieces, ending)
        same(whole, heard)
        longest = max(map(len, pieces), default=0)
        assert heard.most <= LIMIT + longest
    if isinstance(whole.last, Fail):
        assert whole.passed == b""
    assert data.startswith(whole.passed)
    if isinstance(whole.last, Abort):
        error = ERROR[name].splitlines()[-2]
        assert error not in whole.passed
    if isinstance(whole.last, Done) and not options["done_alone"]:
        assert may_end, "no end mark, and yet it is called whole"


@settings(deadline=None)
@given(answers(), PLACES, st.sampled_from(ENDINGS))
def test_a_healthy_answer_comes_out_as_it_went_in(
    answer: tuple[str, bytes, bool], places: list[int], ending: Event
) -> None:
    """Whatever harmless things stand in it, and however it is cut."""
    name, noise, _ = answer
    harmless = b"".join(part for part in (REMARK, SPREAD, COMPLAINT) if part in noise)
    data = b"".join([*LEAD[name], *TEXT[name], harmless, *TEXT[name], *TAIL[name]])
    heard = hear(judge(name), cut(data, places), ending)
    assert isinstance(heard.last, Done)
    assert heard.passed == data


@settings(deadline=None)
@given(
    st.sampled_from(NAMES),
    st.sampled_from(["whole", "half", "error", "page", "blank"]),
    PLACES,
    st.sampled_from(ENDINGS),
    st.sampled_from([JSON, STREAM, ""]),
    st.booleans(),
)
def test_any_cutting_of_a_document(
    name: str, what: str, places: list[int], ending: Event, kind: str, streamed: bool
) -> None:
    """Nothing passes before it is judged."""
    body = json.dumps(DOCUMENT[name], indent=1).encode()
    data = {
        "whole": b"\n" + body,
        "half": body[:-2],
        "error": b'{"error": {"code": 402}}',
        "page": b"  <html>data: x\n\n",
        "blank": b" \n",
    }[what]
    whole = hear(judge(name, streamed=streamed), [data], ending, kind=kind)
    heard = hear(judge(name, streamed=streamed), cut(data, places), ending, kind=kind)
    same(whole, heard)
    assert isinstance(whole.last, Done if what == "whole" else Fail)


@settings(deadline=None)
@given(st.integers(300, 599), st.binary(max_size=300), PLACES, st.sampled_from(ENDINGS))
def test_any_cutting_of_a_refusal(
    status: int, words: bytes, places: list[int], ending: Event
) -> None:
    """The status and the words."""
    whole = hear(judge(), [words] if words else [], ending, status=status)
    same(whole, hear(judge(), cut(words, places), ending, status=status))
    assert whole.failure.http_status == status
    assert whole.failure.body == words or not words
