"""JSON with comments: read, and one value of it changed in its text.

CCR reads its configuration as JSON5, so people write comments, trailing commas and single
quotes into theirs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synccr.errors import SynccrError
from synccr.files import write_atomic

_LARGEST = 512 * 1024
"""Characters; the JSON5 reader takes about 20 seconds a million."""
_OBJECTS = 8
"""Braces that are tried for the outermost one; a comment may hold some."""


class Malformed(ValueError):
    """A text that is no JSON, not even with comments; says the place.

    Attributes:
        plain: the text is too large for the JSON5 reader, so only JSON was tried.
    """

    def __init__(self, what: str, *, plain: bool = False) -> None:
        super().__init__(what)
        self.plain = plain


def loads(text: str) -> Any:
    """Read a document; JSON first, which is ten times as quick and nearly always right.

    Raises:
        Malformed: it is none.
    """
    text = text.removeprefix("\ufeff")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if len(text) > _LARGEST:
            raise Malformed(str(error), plain=True) from error
    import json5

    try:
        return json5.loads(text)
    except (ValueError, RecursionError) as error:
        where = str(error).removeprefix("<string>:") or "nested too deeply"
        raise Malformed(f"line {where}" if where[:1].isdigit() else where) from error


def with_value(text: str, name: str, value: str) -> str:
    """``text`` with the top-level ``name`` set to ``value``; comments and form stay.

    The result is read again and compared, so a text that is written in a way this does not
    foresee is refused and never damaged.

    Raises:
        SynccrError: the text cannot be changed safely.
        Malformed: it cannot be read.
    """
    document = loads(text)
    if not isinstance(document, dict):
        raise SynccrError("The document is no object.")
    wanted = document | {name: value}
    for candidate in _candidates(text, name, value):
        try:
            if loads(candidate) == wanted:
                return candidate
        except Malformed:
            continue
    raise SynccrError(f"{name} cannot be set without rewriting the file.")


def set_value(path: Path, name: str, value: str) -> None:
    """As :func:`with_value`, in a file, which is its owner's alone afterwards.

    Raises:
        SynccrError, Malformed, OSError: the file is as it was.
    """
    text = path.read_bytes().decode("utf-8")
    write_atomic(path, with_value(text, name, value).encode("utf-8"))


def _candidates(text: str, name: str, value: str) -> Iterator[str]:
    """Texts with the value in the place of one that may be its own, or in front of all others."""
    pair = f"{json.dumps(name)}: {json.dumps(value)}"
    present = re.compile(
        rf"""(?P<before>["']?)\b{re.escape(name)}(?P=before)\s*:\s*"""
        r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|true|false|null|-?\d+)"""
    )
    for match in present.finditer(text):
        yield text[: match.start()] + pair + text[match.end() :]
    for opening in list(re.finditer(r"\{", text))[:_OBJECTS]:
        rest = text[opening.end() :]
        comma = "" if re.match(r"\s*\}", rest) else ","
        yield f"{text[: opening.end()]}\n  {pair}{comma}{rest}"
