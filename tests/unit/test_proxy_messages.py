"""What the proxy says itself."""

from __future__ import annotations

import json

import pytest

from synccr.proxy.own_answers import Response, encode, error, path_of


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/api/restart", b"/api/restart"),
        (b"/api/restart?now=1", b"/api/restart"),
        (b"/api/restart;x", b"/api/restart"),
        (b"/%61pi/restart", b"/api/restart"),
        (b"http://localhost:3456/api/restart?x", b"/api/restart"),
        (b"http://localhost", b"/"),
        (b"/a%3Fb?c", b"/a?b"),
        (b"*", b"/"),
    ],
)
def test_path_of(target: bytes, path: bytes) -> None:
    """Every way to write a path that reaches the same route is the same path."""
    assert path_of(target) == path


def test_error_shape() -> None:
    """An error has the shape of Anthropic's API and says when to try again."""
    response = error(503, "No backend.", retry_after=2)
    assert json.loads(response.body) == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "No backend."},
    }
    assert response.headers == (("retry-after", "2"),)


@pytest.mark.parametrize("close", [True, False])
def test_encode(close: bool) -> None:
    """A response is written with its length and with what becomes of the connection."""
    raw = encode(Response(200, b"{}"), close=close, bodiless=False)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"content-type: application/json",
        b"content-length: 2",
        b"connection: " + (b"close" if close else b"keep-alive"),
    ]
    assert body == b"{}"


def test_encode_for_head() -> None:
    """HEAD is answered with the head alone, and a status without a name is no error."""
    raw = encode(Response(599, b"{}"), close=True, bodiless=True)
    assert raw.startswith(b"HTTP/1.1 599 \r\n")
    assert raw.endswith(b"\r\n\r\n")
