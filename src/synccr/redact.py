"""Keeping secrets and terminal escapes out of everything that is shown or stored.

The one home of what counts as a secret: by the name of a variable or of a parameter, by its
own shape, or by the field in a document or log that carries it. And of what makes text from
outside safe on a terminal: :func:`printable` for one line of prose, :func:`escape_controls`
where nothing may be lost.

Patterns are compiled where they are first used: quick commands load this for the terminal alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "•••"
_SHORTEST = 6
"""Characters below which a secret is not masked: it would eat ordinary words."""

_VARIABLE = r"(?i)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)S?$"
_PARAMETER = r"(?i)key|token|secret|passw|auth|sig"
_KEY_SHAPED = (
    r"\b(?:sk|syn|pk|key|ghp|AIza)[-_][A-Za-z0-9_\-]{16,}|\bAIza[0-9A-Za-z_\-]{30,}"
    r"|(?i:bearer)\s+[A-Za-z0-9._\-]{8,}|(?<=token=)[A-Za-z0-9._\-]{8,}"
)
KEY_FIELD = rb"""["']?(?P<name>api_?key|apiKey)["']?\s*:\s*["'](?P<value>[^"'\\\n]{4,})["']"""
"""A provider's key in a JSON document, comments and single quotes allowed."""
LOGGED_KEY = (
    rb"""(?i)\\*"(?:authorization|x-api-key|x-goog-api-key|api_?key)\\*"\s*:\s*\\*"(?:bearer\s+)?"""
    rb"""(?!\$|\[redacted|\xe2\x80\xa2)[^"\\\s]{8,}"""
)
"""A header or field with a key in a line of CCR's log, nested JSON included."""

_ESCAPE_SEQUENCE = r"\x1b\[[0-9;?]*[ -/]*[@-~]"
_OBEYED = (
    *(*range(9), *range(0x0B, 0x20), *range(0x7F, 0xA0)),
    *(0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),
)
"""Control characters but newline and tab, and what turns or breaks the direction of a line."""
_SHOWN = {code: f"\\u{code:04x}" for code in _OBEYED}


def is_secret_variable(name: str) -> bool:
    """Whether an environment variable is called as one that holds a secret."""
    return bool(re.search(_VARIABLE, name))


def is_secret_parameter(name: str) -> bool:
    """Whether a parameter of an address is called as one that holds a secret."""
    return bool(re.search(_PARAMETER, name))


def printable(text: str) -> str:
    """``text`` as one line of printable characters: white space becomes a blank, escape
    sequences and whatever else a terminal might obey go."""
    words = re.sub(_ESCAPE_SEQUENCE, "", text).split()
    shown = ("".join(c for c in word if c.isprintable()) for word in words)
    return " ".join(word for word in shown if word)


def escape_controls(text: str, *, coloured: bool = False) -> str:
    r"""``text`` with what a terminal would obey shown as ``\u001b`` and the like, which is what
    JSON calls it, too; newline and tab stay, and with ``coloured`` so do colours."""
    if not coloured:
        return text.translate(_SHOWN)
    parts = re.split(r"(\x1b\[[0-7;]*m)", text)  # without 8, which hides
    return "".join(part if n % 2 else part.translate(_SHOWN) for n, part in enumerate(parts))


class Redactor:
    """Masks known secrets, and what looks like one, in text from outside.

    Args:
        secrets: the values themselves; very short ones are ignored.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: list[str] = []
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Mask these from now on, too."""
        found = {s for s in (*self._secrets, *secrets) if len(s) >= _SHORTEST}
        self._secrets = sorted(found, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

    def __call__(self, text: str) -> str:
        """``text`` with every secret replaced by a mask."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return re.sub(_KEY_SHAPED, MASK, text)

    def line(self, text: str, limit: int = 300) -> str:
        """One printable line: secrets masked, cut at ``limit`` characters."""
        text = printable(self(text[: 20 * limit]))
        return text if len(text) <= limit else text[: limit - 1] + "…"
