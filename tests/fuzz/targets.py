"""What is fuzzed: each target takes any bytes and raises when a promise is broken.

Used by Hypothesis (``test_fuzz.py``), by a coverage-guided fuzzer (``guided.py``), and by
the inputs that either of them found (``test_found.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synccr.ccr.v2.log import BODY_LIMIT, CANDIDATES, parse_line
from synccr.ccr.v2.log_follower import LONGEST, LogFollower
from synccr.classify.logged import NetworkFailed, ProviderFailed, UnclearFailure
from synccr.config.edit_merge import merge
from synccr.config.profile import Local, derive_fallback
from synccr.config.reader import parse_profile
from synccr.control import LARGEST_REQUEST
from synccr.control.server import ControlServer
from synccr.errors import ConfigError, NoModelServes, UsageError
from synccr.heal import heal
from synccr.proxy.framing import MAX_HEAD, ProtocolError, RequestFramer, ResponseFramer

PID = 4242


def log_line(data: bytes) -> None:
    """Any line is a trouble of a known kind, bounded, or nothing; and never that of another
    process or of a request's own text."""
    found = parse_line(data, PID)
    if found is None:
        return
    assert data.startswith(CANDIDATES)
    entry = json.loads(data.decode("utf-8", "surrogateescape"))
    assert entry["pid"] == PID
    match found:
        case ProviderFailed():
            assert entry["level"] == 50
            assert "reqId" not in entry or entry["reqId"] is None
            assert entry["msg"].startswith("[provider_response_error] Error from provider(")
            assert 100 <= found.http_status <= 999
            assert len(found.body) <= BODY_LIMIT
            assert found.provider
            assert "," not in found.provider
        case NetworkFailed():
            assert len(found.message) <= BODY_LIMIT
        case UnclearFailure():
            assert found.provider


def log_file(data: bytes) -> None:
    """However a log is cut into writes, the lines handed out are those that a reader of the
    whole file would take, in order, and memory stays bounded. The first byte is the seed
    of the cuts."""
    if not data:
        return
    size, text = data[0] + 1, data[1:]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "ccr.log")
        seen: list[bytes] = []
        with path.open("ab", buffering=0) as writer, LogFollower(path, CANDIDATES) as follower:
            for at in range(0, len(text), size):
                writer.write(text[at : at + size])
                more = True
                while more:
                    lines, more = follower.poll()
                    seen += lines
                if data[0] % 3 == 0 and follower.size > 64:
                    follower.cut(32)
        whole = [line for line in text.split(b"\n")[:-1] if len(line) <= LONGEST]
        assert seen == [line for line in whole if line.startswith(CANDIDATES)]


def profile(data: bytes) -> None:
    """Any text is a profile or an error with a place and a remedy; a profile can be healed,
    and what is healed is a profile again, with the same keys."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return
    environ = {"KEY": "sk-canary-0123456789abcdef"}
    try:
        found = parse_profile(text, "x.json", "primary", environ)
    except ConfigError as error:
        assert error.what
        assert environ["KEY"] not in str(error)
        return
    fallback = derive_fallback(found)
    for one in (found, fallback):
        try:
            healed = heal(one, {}, Local(port=3456, api_key=None))
        except NoModelServes:
            continue
        written = json.dumps(healed.config)
        assert environ["KEY"] not in written or environ["KEY"] in text
        again = parse_profile(written, "x.json", "primary", environ)
        assert [p.name for p in again.providers]
        assert merge(healed.config, healed.config, dict(found.raw), environ).document == dict(
            found.raw
        )


async def _control(data: bytes) -> bytes:
    called: list[tuple[str, dict[str, Any]]] = []

    async def handler(verb: str, args: dict[str, Any]) -> Any:
        called.append((verb, args))
        if verb != "status":
            raise UsageError("no")
        return {"fine": True}

    server = ControlServer(Path("/nowhere"), handler)
    ours, theirs = socket.socketpair()
    client_reader, client_writer = await asyncio.open_connection(sock=ours)
    reader, writer = await asyncio.open_connection(sock=theirs, limit=LARGEST_REQUEST)
    client_writer.write(data)
    client_writer.write_eof()
    await server._serve(reader, writer)
    assert writer.is_closing()
    answer = b""
    with contextlib.suppress(ConnectionError):  # it was cut off
        answer = await client_reader.read()
    client_writer.transport.abort()
    await asyncio.sleep(0)  # for both to close their sockets
    for verb, args in called:
        assert isinstance(verb, str)
        assert isinstance(args, dict)
    return answer


def control(data: bytes) -> None:
    """Any frame gets one whole answer line, or the connection is closed; nothing is raised."""
    answer = asyncio.run(_control(data))
    if answer:
        assert answer.endswith(b"\n")
        document = json.loads(answer)
        assert document["ok"] in (True, False)
        if not document["ok"]:
            assert document["what"]


def _split(framer: RequestFramer | ResponseFramer, pieces: list[bytes]) -> tuple[list[bytes], int]:
    messages: list[bytes] = []
    current = b""
    for rest in pieces:
        while rest:
            try:
                piece, rest = framer.feed(rest)
            except ProtocolError as error:
                assert 400 <= error.status < 600
                return messages, error.status
            current += piece
            if framer.complete:
                messages.append(current)
                current = b""
                if isinstance(framer, ResponseFramer):
                    framer.next(bodiless=False)
                else:
                    framer.next()
            elif not piece:
                assert not rest
            assert framer._partial is None or len(framer._partial) <= MAX_HEAD
    return messages, 0


def requests(data: bytes) -> None:
    """Whatever a client sends, cut as it may be, comes apart into the same messages or is
    refused with the same status. The first byte says how it is cut."""
    _cut_as_it_may_be(RequestFramer, data)


def responses(data: bytes) -> None:
    """The same for what a backend sends."""
    _cut_as_it_may_be(ResponseFramer, data)


def _cut_as_it_may_be(make: Callable[[], RequestFramer | ResponseFramer], data: bytes) -> None:
    if not data:
        return
    size, stream = data[0] % 32 + 1, data[1:]
    whole, status = _split(make(), [stream] if stream else [])
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert all(message in stream for message in whole)
    again, other = _split(make(), pieces)
    assert (again, other) == (whole, status)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "log_line": log_line,
    "log_file": log_file,
    "profile": profile,
    "control": control,
    "requests": requests,
    "responses": responses,
}

_ENTRY = (
    b'{"level":50,"time":1795422087117,"pid":4242,"hostname":"vm","msg":"[provider_response_error]'
    b' Error from provider(acme,m: 402): {}"}'
)
_POST = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
_CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
_STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\na\r\n\r\nb\r\n0\r\n\r\n"
_PROFILE = (
    b'{"PORT": 1, "Providers": [{"name": "a", "api_base_url": "http://x/v1/chat/completions",'
    b' "api_key": "$KEY", "models": ["m", "n"], "transformer": {"use": ["openrouter"]}}],'
    b' "Router": {"default": "a,m", "longContextThreshold": 1}, "fallback": {"default": ["a,n"]}}'
)

_FAILED = (
    b'{"level":50,"time":1,"pid":4242,"reqId":"r","err":{"type":"TypeError","message":'
    b'"fetch failed"},"msg":"fetch failed"}'
)
_FELL = (
    b'{"level":40,"time":1,"pid":4242,"reqId":"r","msg":"Fallback model a,m failed: fetch failed"}'
)

SEEDS: dict[str, tuple[bytes, ...]] = {
    "log_line": (
        _ENTRY,
        _ENTRY.replace(b"402", b"402): x: 404"),
        _FAILED,
        _FELL,
    ),
    "log_file": (b"\x05" + _ENTRY + b"\n" + _ENTRY + b"\nhalf", b"\x06\n\n" + _ENTRY + b"\n"),
    "profile": (_PROFILE, b"// c\n" + _PROFILE.replace(b"}}", b"},}")),
    "control": (b'{"v": 1, "do": "status", "args": {}}\n', b'{"v": 1, "do": "swap", "args": []}\n'),
    "requests": (b"\x03" + _POST + _CHUNKED, b"\x00" + _CHUNKED + b"GET / HTTP/1.0\r\n\r\n"),
    "responses": (b"\x03" + _ANSWER + _STREAM, b"\x07HTTP/1.1 100 Continue\r\n\r\n" + _ANSWER),
}
