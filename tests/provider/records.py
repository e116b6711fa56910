"""What arrived at the provider, for tests to assert on. Holds no key."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

_KEY_HEADERS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "cookie"})
_KEPT_BYTES = 64 * 1024 * 1024
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "repetition_penalty": "repetitionPenalty",
    "max_tokens": "maxOutputTokens",
}


class ReceivedRequest(msgspec.Struct, kw_only=True):
    """One request and how it was answered.

    Attributes:
        at: seconds since the epoch.
        path: without the query, which can carry a key.
        model: empty for a list or for a request that could not be read.
        headers: as they came, the values of those that carry keys replaced.
        key_ok: the key is the expected one; when none is expected, there is one.
        behaviour: name of the behaviour that answered.
        status: HTTP status of the answer, 0 when none was sent.
        raw: the body as it came.
        aborted: seconds until the client closed the connection, when it did so before it had
            the whole answer; None when it did not.
    """

    at: float
    method: str
    path: str
    model: str
    stream: bool
    headers: dict[str, str]
    key_ok: bool
    behaviour: str
    status: int
    raw: bytes
    aborted: float | None = None

    @property
    def body(self) -> Any:
        """The decoded body; text when it is no JSON, None when there is none."""
        try:
            return msgspec.json.decode(self.raw) if self.raw else None
        except msgspec.DecodeError:
            return self.raw.decode("utf-8", "replace")

    @property
    def sampling(self) -> dict[str, Any]:
        """Those of temperature, top_p, top_k, repetition_penalty and max_tokens that arrived."""
        body = self.body if isinstance(self.body, dict) else {}
        gemini = body.get("generationConfig")
        fields = gemini if isinstance(gemini, dict) else body
        names = {name: camel if fields is gemini else name for name, camel in _SAMPLING.items()}
        return {name: fields[key] for name, key in names.items() if key in fields}

    def as_json(self) -> dict[str, Any]:
        """For the control endpoint: the fields, with the decoded body instead of ``raw``."""
        fields = msgspec.structs.asdict(self)
        del fields["raw"]
        return fields | {"body": self.body}


def without_keys(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with every value that may be a secret replaced."""
    return {n: "<redacted>" if n in _KEY_HEADERS else value for n, value in headers.items()}


class RequestLog:
    """The latest requests: at most ``limit`` of them and 64 MiB of bodies. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._records: deque[ReceivedRequest] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, record: ReceivedRequest) -> None:
        with self._lock:
            self._records.append(record)
            self._bytes += len(record.raw)
            while len(self._records) > self._limit or self._bytes > _KEPT_BYTES:
                self._bytes -= len(self._records.popleft().raw)

    def get(self, model: str | None = None) -> list[ReceivedRequest]:
        """In order of arrival; only those for ``model`` when given."""
        with self._lock:
            records = list(self._records)
        return [record for record in records if model is None or record.model == model]

    def clear(self) -> None:
        with self._lock:
            self._records.clear()
            self._bytes = 0
