"""``keys.env``: provider keys for shells and services that do not have them.

``NAME=value`` lines as systemd's ``EnvironmentFile`` and a shell read them, mode
0600, in synccr's own configuration directory. The environment goes before it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from synccr.config.keyring import holds_placeholder
from synccr.errors import ConfigError, UsageError
from synccr.files import write_atomic

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def with_keys(environ: Mapping[str, str], path: Path) -> Mapping[str, str]:
    """``environ``, and below it what the file adds.

    An empty value, and the placeholder that a shell below CCR has for a key, give way to the file.

    Raises:
        ConfigError: the file is there and cannot be read.
    """
    return below(environ, read_keys(path))


def below(environ: Mapping[str, str], kept: Mapping[str, str]) -> Mapping[str, str]:
    """``environ``, and below it keys that are kept; see :func:`with_keys`."""
    if not kept:
        return environ
    own = {
        name: value
        for name, value in environ.items()
        if name not in kept or (value and not holds_placeholder(value))
    }
    return {**kept, **own}


def read_keys(path: Path) -> dict[str, str]:
    """What the file says; nothing when there is none.

    Raises:
        ConfigError: it cannot be read; says the line, never its value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"{path} cannot be read: {why}.", "Mend it, or: synccr init") from error
    found: dict[str, str] = {}
    lines = (line.strip().removeprefix("export ") for line in text.splitlines())
    for number, line in enumerate(lines, 1):
        if not line or line.startswith(("#", ";")):
            continue
        name, equals, value = line.partition("=")
        try:
            words = shlex.split(value)
        except ValueError:
            words = ["", ""]
        if not equals or not _NAME.fullmatch(name.strip()) or len(words) > 1:
            raise ConfigError(
                f"{path}, line {number} is not NAME=value.", "Mend it, or: synccr init"
            )
        found[name.strip()] = words[0] if words else ""
    return found


def write_keys(path: Path, values: Mapping[str, str]) -> None:
    """Add to the file, or replace there.

    Raises:
        UsageError: a value that is no key.
        ConfigError: the present file cannot be read.
    """
    for name, value in values.items():
        if not is_key(value):
            raise UsageError(
                f"What was given for {name} is no key: it is empty, or has blanks or signs "
                "that no key has.",
                "Copy it again from your provider's page.",
            )
    kept = read_keys(path) | dict(values)
    lines = [f"{name}={shlex.quote(value)}" for name, value in kept.items()]
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def is_key(value: str) -> bool:
    """Whether this can be a key: nothing but visible ASCII."""
    return bool(value) and value.isascii() and value.isprintable() and " " not in value


def variable_for(provider: str) -> str:
    """A good name for the variable of a provider's key."""
    word = re.sub(r"[^A-Z0-9]+", "_", provider.upper()).strip("_")
    return f"{word}_API_KEY" if word[:1].isalpha() else "PROVIDER_API_KEY"
