"""Keeping secrets and terminal escapes out of everything that is shown or stored.

The one home of what counts as a secret: by the name of a variable or of a parameter, by its
own shape, or by the field in a document or log that carries it. And of what makes text from
outside safe on a terminal: :func:`printable` for one line of prose, :func:`escape_controls`
where nothing may be lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "•••"
_SHORTEST = 6
"""Characters below which a secret is not masked: it would eat ordinary words."""

_VARIABLE = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)S?$", re.IGNORECASE)
_PARAMETER = re.compile(r"key|token|secret|passw|auth|sig", re.IGNORECASE)
_KEY_SHAPED = re.compile(
    r"\b(?:sk|syn|pk|key|ghp|AIza)[-_][A-Za-z0-9_\-]{16,}|\bAIza[0-9A-Za-z_\-]{30,}|(?i:bearer)\s+[A-Za-z0-9._\-]{8,}"
)
KEY_FIELD = re.compile(
    rb"""["']?(?P<name>api_?key|apiKey)["']?\s*:\s*["'](?P<value>[^"'\\\n]{4,})["']"""
)
"""A provider's key in a JSON document, comments and single quotes allowed."""
LOGGED_KEY = re.compile(
    rb"""(?i)\\*"(?:authorization|x-api-key|x-goog-api-key|api_?key)\\*"\s*:\s*\\*"(?:bearer\s+)?"""
    rb"""(?!\$|\[redacted|\xe2\x80\xa2)[^"\\\s]{8,}"""
)
"""A header or field with a key in a line of CCR's log, nested JSON included."""

_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
_CONTROLS = re.compile(_CONTROL)
_CONTROLS_OR_COLOUR = re.compile(rf"\x1b\[[0-7;]*m|({_CONTROL})")  # without 8, which hides


def is_secret_variable(name: str) -> bool:
    """Whether an environment variable is called as one that holds a secret."""
    return bool(_VARIABLE.search(name))


def is_secret_parameter(name: str) -> bool:
    """Whether a parameter of an address is called as one that holds a secret."""
    return bool(_PARAMETER.search(name))


def printable(text: str) -> str:
    """``text`` as one line of printable characters: white space becomes a blank, escape
    sequences and whatever else a terminal might obey go."""
    words = _ESCAPE_SEQUENCE.sub("", text).split()
    shown = ("".join(c for c in word if c.isprintable()) for word in words)
    return " ".join(word for word in shown if word)


def escape_controls(text: str, *, coloured: bool = False) -> str:
    r"""``text`` with what a terminal would obey shown as ``\u001b`` and the like, which is what
    JSON calls it, too; newline and tab stay, and with ``coloured`` so do colours."""
    if coloured:
        return _CONTROLS_OR_COLOUR.sub(lambda m: _name(m[1]) if m[1] else m[0], text)
    return _CONTROLS.sub(lambda m: _name(m[0]), text)


def _name(character: str) -> str:
    return f"\\u{ord(character):04x}"


class Redactor:
    """Masks known secrets, and what looks like one, in text from outside.

    Args:
        secrets: the values themselves; very short ones are ignored.
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
        """One printable line: secrets masked, cut at ``limit`` characters."""
        text = printable(self(text[: 20 * limit]))
        return text if len(text) <= limit else text[: limit - 1] + "…"
