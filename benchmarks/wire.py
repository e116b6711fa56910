"""The few bytes of HTTP/1.1 that the load generators speak."""

from __future__ import annotations

import json
import re

KEY = "benchmark-key"

PROMPT = "Say hello. " * 200
"""About what a short turn of a conversation carries, in place of 100 KB of history."""

TEXT = b'"content_block_delta"'
"""What the first text of a stream comes in."""

MODEL = re.compile(rb'"model"\s*:\s*"([^"]+)"')
"""Where an answer names the model that gave it."""


def request(path: str, body: bytes = b"", *, close: bool = False) -> bytes:
    """A request with about the header fields of a real client."""
    lines = [
        f"{'POST' if body else 'GET'} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Accept: application/json",
        "Content-Type: application/json",
        "User-Agent: benchmark/1.0 (external, cli)",
        f"X-Api-Key: {KEY}",
        "anthropic-version: 2023-06-01",
        "anthropic-beta: interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14",
        *(f"X-Stainless-{name}: value" for name in ("Arch", "Lang", "OS", "Runtime", "Timeout")),
        f"Connection: {'close' if close else 'keep-alive'}",
        *([f"Content-Length: {len(body)}"] if body else []),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def message(prompt: str = PROMPT, *, stream: bool = False) -> bytes:
    """The body of a request for one message; ``echo:WORD`` is answered with that word."""
    return json.dumps(
        {
            "model": "claude-sonnet-4",
            "max_tokens": 64,
            "stream": stream,
            "messages": [{"role": "user", "content": prompt}],
        }
    ).encode()


class Answer:
    """One response as it arrives.

    Attributes:
        data: every byte so far.
    """

    __slots__ = ("_end", "data")

    def __init__(self) -> None:
        self.data = b""
        self._end = 0  # of the whole response; 0 while unknown, -1 for a chunked one

    def add(self, data: bytes) -> bool:
        """Take the next bytes; True when the response is whole."""
        self.data = self.data + data if self.data else data
        if self._end == 0:
            head = self.data.find(b"\r\n\r\n") + 4
            if head < 4:
                return False
            lower = self.data[:head].lower()
            at = lower.find(b"\r\ncontent-length:")
            if at < 0:
                self._end = -1
            else:
                self._end = head + int(lower[at + 17 : lower.index(b"\r\n", at + 2)])
        if self._end > 0:
            return len(self.data) >= self._end
        return self.data.endswith(b"\r\n0\r\n\r\n")

    @property
    def status(self) -> int:
        """The status code; 0 before the status line is there."""
        return int(self.data[9:12] or 0)
