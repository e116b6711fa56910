"""One top-level value of a JSON5 document changed in its text: comments and form stay.

The result is read again and compared, so a text that is written in a way this does not
foresee is refused and never damaged.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from synccr.errors import SynccrError
from synccr.files import write_atomic

_OBJECTS = 8
"""Braces that are tried for the outermost one; a comment may hold some."""


def with_value(text: str, name: str, value: str) -> str:
    """``text`` with the top-level ``name`` set to ``value``.

    Raises:
        SynccrError: the text cannot be changed safely.
    """
    wanted = _load(text)
    if not isinstance(wanted, dict):
        raise SynccrError("The document is no object.")
    wanted = wanted | {name: value}
    pair = f"{json.dumps(name)}: {json.dumps(value)}"
    present = re.compile(
        rf"""(?P<before>["']?)\b{re.escape(name)}(?P=before)\s*:\s*"""
        r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|true|false|null|-?\d+)"""
    )
    candidates = [text[: m.start()] + pair + text[m.end() :] for m in present.finditer(text)]
    for opening in list(re.finditer(r"\{", text))[:_OBJECTS]:
        rest = text[opening.end() :]
        comma = "" if re.match(r"\s*\}", rest) else ","
        candidates.append(f"{text[: opening.end()]}\n  {pair}{comma}{rest}")
    for candidate in candidates:
        try:
            if _load(candidate) == wanted:
                return candidate
        except ValueError:
            continue
    raise SynccrError(f"{name} cannot be set without rewriting the file.")


def set_value(path: Path, name: str, value: str) -> None:
    """Do that in a file, which is its owner's alone afterwards.

    Raises:
        SynccrError, OSError: the file is as it was.
    """
    text = path.read_bytes().decode("utf-8")
    write_atomic(path, with_value(text, name, value).encode("utf-8"))


def _load(text: str) -> Any:
    try:
        return json.loads(text.lstrip("\ufeff"))
    except ValueError:
        import json5

        return json5.loads(text.lstrip("\ufeff"))
