"""Which texts are keys, and where they stand."""

from __future__ import annotations

import mmap
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synccr.redact import KEY_FIELD, LOGGED_KEY, is_secret_variable

_SHORTEST = 8
_CHUNK = 64 * 1024 * 1024


@dataclass(frozen=True)
class Secrets:
    """The keys that are known.

    Attributes:
        values: each with the variable that holds it, if there is one.
    """

    values: Mapping[str, str | None] = field(repr=False)

    @classmethod
    def gather(
        cls, environ: Mapping[str, str], literals: Iterable[str], names: Iterable[str]
    ) -> Secrets:
        """Keys of the environment (``names`` and what is called like a key), and ``literals``."""
        wanted = set(names)
        values: dict[str, str | None] = {text: None for text in literals if len(text) >= _SHORTEST}
        for name, value in environ.items():
            text = value.strip()
            secret = name in wanted or is_secret_variable(name)
            if secret and len(text) >= _SHORTEST and (name in wanted or not values.get(text)):
                values[text] = name
        return cls(values)

    def without(self, values: Collection[str]) -> Secrets:
        """All but some values."""
        return Secrets({v: n for v, n in self.values.items() if v not in values})

    def in_file(self, path: Path) -> list[str]:
        """Which of the values stand in a file; none when it cannot be read."""
        content = read(path)
        return [value for value in self.values if value.encode() in content]

    def logged_in(self, path: Path) -> bool:
        """Whether a log holds one of the values, or a header that carried a key.

        A log may have hundreds of megabytes, so it is looked through where it lies.
        """
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as m:
                if any(m.find(value.encode()) >= 0 for value in self.values):
                    return True
                return re.search(LOGGED_KEY, m) is not None
        except (OSError, ValueError):  # an empty file cannot be mapped
            return False


def key_fields(path: Path) -> Iterator[str]:
    """Values of ``api_key`` fields of a JSON file that are no ``$NAME``."""
    for match in re.finditer(KEY_FIELD, read(path)):
        value = match["value"].decode("utf-8", "replace")
        if not value.startswith("$") and "{{" not in value:
            yield value


def read(path: Path) -> bytes:
    """The first 64 MiB of a file; empty when it cannot be read."""
    try:
        if not path.is_file():  # a pipe or a device would hang
            return b""
        with path.open("rb") as file:
            return file.read(_CHUNK)
    except OSError:
        return b""
