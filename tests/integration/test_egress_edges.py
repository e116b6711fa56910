"""What the provider sees of a client that leaves, and what CCR's process knows of the keys."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path

import httpx
import pytest

from home import KEY, MAIN, Home, Running, ccr_processes, message
from load import said
from provider import FakeProvider, ReceivedRequest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.ccr("2.0.0", "1.0.73", "3.1.1"),
]


def asked_and_left(running: Running, provider: FakeProvider, *, mark: bytes) -> ReceivedRequest:
    """Send a streamed request, close the connection once ``mark`` has come back (without one:
    once the provider has the request), and wait for the provider to hear of it; its record."""
    body = json.dumps(message("leaver-nonce-of-some-length", stream=True)).encode()
    with socket.create_connection(("127.0.0.1", running.home.port)) as client:
        client.sendall(
            b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        running.until(lambda: any(b"leaver" in r.raw for r in provider.requests(MAIN)))
        client.settimeout(20)
        got = b""
        while mark not in got:
            part = client.recv(65536)
            assert part, got
            got += part
    (record,) = (r for r in provider.requests(MAIN) if b"leaver" in r.raw)
    deadline = time.monotonic() + 5  # a third of what the answer takes
    while record.aborted is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return record


@pytest.mark.parametrize("moment", ["before the first byte", "in the middle"])
def test_a_client_that_leaves_ends_the_providers_request(
    home: Home, provider: FakeProvider, moment: str
) -> None:
    """Right after the client has left nothing more is paid for; that is no trouble of the model,
    which serves the next request."""
    home.use(provider)
    before = moment == "before the first byte"
    behaviour = {"delay": 15.0} if before else {"chunks": 25, "chunk_delay": 0.6}
    with home.running() as running:
        provider.set(MAIN, behaviour, times=1)
        record = asked_and_left(running, provider, mark=b"" if before else b"text_delta")
        assert record.aborted is not None
        provider.forget()
        answer = httpx.post(f"{running.url}/v1/messages", json=message("next"), timeout=30)
        assert said(answer.content, stream=False) == "next"
        assert [r.model for r in provider.requests() if b"echo:next" in r.raw] == [MAIN]


def found_in_memory(pid: int, words: list[str]) -> set[str]:
    """Which of the words are in a process's memory, as bytes or as UTF-16. Wants root."""
    forms = {form: w for w in words for form in (w.encode(), w.encode("utf-16-le"))}
    found = set()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode, *_ = line.split()
            start, end = (int(side, 16) for side in span.split("-"))
            if not mode.startswith("r") or "[v" in line:
                continue
            with contextlib.suppress(OSError, OverflowError, ValueError):
                memory.seek(start)
                region = memory.read(end - start)
                found |= {word for form, word in forms.items() if form in region}
    return found


def test_the_key_is_nowhere_in_ccr(home: Home, provider: FakeProvider) -> None:
    """Neither CCR's environment, nor its memory after requests, nor a file of the home holds a
    provider's key, and the provider got the right one."""
    home.use(provider, LOG=True, LOG_LEVEL="debug")
    with home.running() as running:
        for number in range(5):
            body = message(f"marker-{number}-of-memory", stream=number % 2 == 0)
            answer = httpx.post(f"{running.url}/v1/messages", json=body, timeout=30)
            assert answer.status_code == 200
        assert all(record.key_ok for record in provider.requests())
        processes = [process.pid for process in ccr_processes(home)]
        for pid in processes:
            assert KEY.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        if os.geteuid() == 0:
            found = set().union(*(found_in_memory(pid, [KEY, "of-memory"]) for pid in processes))
            assert found == {"of-memory"}
        assert home.where_is(KEY) == []
