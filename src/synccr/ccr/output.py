"""The last words of a child process, kept in bounded memory."""

from __future__ import annotations

import os
import re
import threading

_KEPT = 65536
_SAYS_NOTHING = "Loaded JSON config from"  # each start of CCR does
_ERROR = re.compile(r"^(?!\s).*\b\w*(?:Error|error)\b.*$", re.MULTILINE)


class Output:
    """A pipe that a thread empties, so that a child that talks much never waits.

    A plain pipe and not asyncio's: a grandchild that keeps it open must not keep
    the end of its parent from being seen. The last 64 KiB are kept.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._reading, self.writing = os.pipe()
        self._thread = threading.Thread(target=self._drain, name="ccr-output", daemon=True)

    def start(self) -> None:
        """Begin to read, and give up our own end for writing; after the child has its copy."""
        os.close(self.writing)
        self._thread.start()

    def abandon(self) -> None:
        """Close both ends; for a child that could not be started."""
        os.close(self.writing)
        os.close(self._reading)

    def text(self) -> str:
        """What was said last."""
        return self._tail.decode(errors="replace")

    def finish(self, timeout: float = 0.5) -> str:
        """Wait, seconds, until a child that has ended has nothing more to say."""
        self._thread.join(timeout)
        return self.text()

    def _drain(self) -> None:
        try:
            while chunk := os.read(self._reading, _KEPT):
                self._tail = (self._tail + chunk)[-_KEPT:]
        finally:
            os.close(self._reading)


def last_error(text: str) -> str:
    """The line of an output that says most: the last that names an error, else the last."""
    if found := _ERROR.findall(text):
        return str(found[-1]).strip()
    lines = [line.strip() for line in text.splitlines()]
    telling = [line for line in lines if line and not line.startswith(_SAYS_NOTHING)]
    return telling[-1] if telling else ""
