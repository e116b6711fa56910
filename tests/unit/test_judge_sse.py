"""Server-sent events in any cutting, with any line ends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synccr.judge.sse import DONE, TOO_LARGE, SseReader, decoded

LIMIT = 200


def read(pieces: Iterable[bytes], limit: int = LIMIT) -> tuple[list[tuple[str, Any]], bytes]:
    """Names and documents, and all the bytes that were released."""
    reader, events, released = SseReader(limit), [], b""
    for piece in pieces:
        held = reader.kept
        found, out = reader.feed(piece)
        assert reader.kept == held + len(piece) - len(out)
        assert reader.kept <= limit
        events += found
        released += out
    found, out = reader.close()
    return [(event.name, event.document) for event in [*events, *found]], released + out


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_fields_comments_and_line_ends(end: str, size: int) -> None:
    """As the standard has it, whatever the pieces are."""
    lines = [
        '\ufeffdata: {"n": 1}',
        ": a comment",
        "",
        "event: named",
        "id: 7",
        'data:{"n": 2}',
        "",
        "data: {",
        'data: "n": 3',
        "data: }",
        "",
        "data: [DONE]",
        "",
        "event: none",
        "",
        "unknown: x",
        "data: garbage before an object is dropped",
        'data: {"n": 4}',
        'data: {"n": 5}',
        "data: no json",
        "",
        'data: {"last": "without blank line"}',
    ]
    data = end.join(lines).encode()
    events, released = read(data[i : i + size] for i in range(0, len(data), size))
    assert released == data
    assert events == [
        ("", {"n": 1}),
        ("named", {"n": 2}),
        ("", {"n": 3}),
        ("", DONE),
        ("", {"n": 4}),
        ("", {"n": 5}),
        ("", "no json"),
        ("", {"last": "without blank line"}),
    ]


def test_what_is_not_understood_is_kept() -> None:
    """A part of a line, and the name of an event that is to come."""
    reader = SseReader(LIMIT)
    assert reader.feed(b": ping\n\neve") == ([], b": ping\n\n")
    assert reader.feed(b'nt: error\ndata: {"error"') == ([], b"")
    (event,), released = reader.feed(b": 1}\n: and a comment")
    assert (event.name, event.document) == ("error", {"error": 1})
    assert released == b'event: error\ndata: {"error": 1}\n'
    assert (event.start, event.end) == (0, len(released) - 1)
    assert reader.kept == len(b": and a comment")


def test_too_large_an_event_is_passed_over_and_the_next_is_read() -> None:
    """One line, and many lines of one event, cut or not."""
    line = b'data: {"a": "' + b"x" * LIMIT + b'"}\n\n'
    lines = b"data: {\n" + b'data: "a": 1,\n' * 20 + b"data: }\n\n"
    for large in (line, lines):
        data = large + b'data: {"n": 1}\n\n'
        for size in (1, 13, 10_000):
            events, released = read(data[i : i + size] for i in range(0, len(data), size))
            assert released == data
            assert events[0] == ("", TOO_LARGE)
            assert events[-1] == ("", {"n": 1})


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_event_of_exactly_the_limit_is_read(end: bytes) -> None:
    """Whole or cut; one byte more is too large. Two bytes are left for the last line's end."""
    text = "x" * (LIMIT - 17)
    line = f'data: {{"a": "{text}"}}'.encode()
    assert len(line) == LIMIT - 2
    for size in (7, 1000):
        for data, documents in (
            (line + 2 * end, [{"a": text}]),
            (line[:-1] + b" }" + 2 * end, [TOO_LARGE]),
        ):
            events, _ = read(data[i : i + size] for i in range(0, len(data), size))
            assert [document for _, document in events] == documents


def test_a_piece_that_looks_whole_may_be_the_rest_of_one() -> None:
    """A name that came alone belongs to the data after it; the next event has none."""
    events, _ = read([b"event: a\n", b'data: {"n": 1}\n\n', b'data: {"n": 2}\n\n'])
    assert events == [("a", {"n": 1}), ("", {"n": 2})]


def test_json_as_it_is_sent_in_the_field() -> None:
    """Half a surrogate pair and NaN are read; what is broken, or too deep, is nothing."""
    assert decoded(b'{"a": "\\ud83d"}') == {"a": "\ud83d"}
    assert decoded(b'{"a": NaN, "b": 1}')["b"] == 1
    assert decoded(b'{"a": "\xff"}') == {"a": "\ufffd"}
    for broken in (b"", b"{", b"[" * 100_000, b"\xff", b"null"):
        assert decoded(broken) is None


_LINES = r"""
: ping|event: error|event:|id: 1|data:|data: [DONE]|data: {|data: }|data: {"a": 1}|data: text
data:  {"b": "\u00e9"}|garbage|error: broken|data: "a": [|data: ]|data: {"c": "a longer one"}
"""
LINES = st.sampled_from(["", *_LINES.strip().replace("\n", "|").split("|")]).map(str.encode)
TEXTS = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12)


@settings(deadline=None)
@given(TEXTS, st.binary(max_size=6), st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_any_cutting_gives_the_same_events(
    lines: list[tuple[bytes, bytes]], rest: bytes, sizes: list[int]
) -> None:
    """Also of garbage; all bytes are released in the end, and what is kept is bounded."""
    data = b"".join(text + end for text, end in lines) + rest
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    whole, one_by_one = read([data] if data else []), read(pieces, LIMIT)
    assert whole == one_by_one
    assert whole[1] == data
    small = read(pieces, 40), read([data], 40)
    assert small[0] == small[1]


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), min_size=1), max_size=9))
def test_events_survive_being_sent(documents: list[dict[str, str]]) -> None:
    """What is written as events is read as such."""
    data = "".join(f"data: {json.dumps(document)}\n\n" for document in documents).encode()
    assert read([data], 1 << 20)[0] == [("", document) for document in documents]
