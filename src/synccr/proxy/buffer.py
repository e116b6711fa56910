"""The bytes of one request, kept until an answer to it has begun."""

from __future__ import annotations

from typing import Final

_CHUNK_COST: Final = 64
"""What one kept chunk costs beside its bytes: object header and list entry, in bytes."""


class Budget:
    """Bytes kept for all requests together.

    Attributes:
        limit: above it, requests are no longer kept.
        used: bytes kept now.
    """

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class RequestBuffer:
    """The raw bytes of one request, in the chunks in which they came.

    Attributes:
        kept: every byte of the request so far is here, so it can be sent again.
        size: bytes held.
    """

    __slots__ = ("_budget", "_chunks", "_cost", "_limit", "_sent", "kept", "size")

    def __init__(self, budget: Budget, limit: int) -> None:
        self._budget = budget
        self._limit = limit
        self._chunks: list[bytes] = []
        self._sent = 0
        self._cost = 0
        self.size = 0
        self.kept = True

    @property
    def full(self) -> bool:
        """Whether nothing more may be kept: this request's limit or the budget is reached."""
        return self.size > self._limit or self._budget.used > self._budget.limit

    @property
    def unsent(self) -> bool:
        """Whether bytes wait to be sent."""
        return self._sent < len(self._chunks)

    def append(self, chunk: bytes) -> None:
        """Add the next bytes of the request."""
        self._chunks.append(chunk)
        self.size += len(chunk)
        self._cost += len(chunk) + _CHUNK_COST
        self._budget.used += len(chunk) + _CHUNK_COST

    def take(self) -> bytes | None:
        """The next bytes to send, or None. They stay here while the request is kept."""
        if self._sent >= len(self._chunks):
            return None
        chunk = self._chunks[self._sent]
        if self.kept:
            self._sent += 1
        else:
            self._drop(1)
        return chunk

    def stop_keeping(self) -> None:
        """Forget what has been sent, and from now on each chunk once it is sent."""
        self.kept = False
        self._drop(self._sent)
        self._sent = 0

    def rewind(self) -> None:
        """Send again from the first byte. Only for a request that is kept."""
        self._sent = 0

    def replace(self, message: bytes) -> None:
        """Hold *message* in place of what is held, to be sent from its first byte."""
        self.release()
        self.append(message)

    def join(self) -> bytes:
        """Everything held, in one piece."""
        return b"".join(self._chunks)

    def release(self) -> None:
        """Give everything back."""
        self._budget.used -= self._cost
        self._chunks.clear()
        self._sent = self.size = self._cost = 0
        self.kept = True

    def _drop(self, count: int) -> None:
        size = sum(map(len, self._chunks[:count]))
        del self._chunks[:count]
        self.size -= size
        self._cost -= size + count * _CHUNK_COST
        self._budget.used -= size + count * _CHUNK_COST
