"""Keeping secrets and terminal escapes out of everything that is shown or stored."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "•••"
_SHORTEST = 6
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_KEY_SHAPED = re.compile(
    r"\b(?:sk|syn|pk|key|ghp|AIza)[-_][A-Za-z0-9_\-]{16,}|\bAIza[0-9A-Za-z_\-]{30,}|(?i:bearer)\s+[A-Za-z0-9._\-]{8,}"
)


class Redactor:
    """Masks known secrets, and what looks like one, in text from outside.

    Args:
        secrets: the values themselves; very short ones are ignored because
            masking them would eat ordinary words.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = sorted({s for s in secrets if len(s) >= _SHORTEST}, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

    def __call__(self, text: str) -> str:
        """``text`` with every secret replaced by a mask."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _KEY_SHAPED.sub(MASK, text)

    def line(self, text: str, limit: int = 300) -> str:
        """One printable line: secrets masked, escapes and line breaks gone, cut at ``limit``."""
        text = " ".join(_CONTROL.sub("", self(text[: 20 * limit])).split())
        return text if len(text) <= limit else text[: limit - 1] + "…"
