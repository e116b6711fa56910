"""Which texts the doctor takes for keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synccr.doctor.secrets import Secrets, key_fields

KEY = "canary-0c4e7d19aa"


@pytest.mark.parametrize(
    ("environ", "names", "found"),
    [
        ({"ACME_API_KEY": KEY}, (), {KEY: "ACME_API_KEY"}),
        ({"ACME": KEY}, (), {}),
        ({"ACME": KEY}, ("ACME",), {KEY: "ACME"}),
        ({"ACME": KEY, "OTHER_TOKEN": KEY}, ("ACME",), {KEY: "ACME"}),
        ({"MY_KEY": "short"}, (), {}),
        ({"MY_KEY": f" {KEY}\n"}, (), {KEY: "MY_KEY"}),
        ({"KEYBOARD": "a-long-enough-word"}, (), {}),
    ],
)
def test_keys_of_the_environment(
    environ: dict[str, str], names: tuple[str, ...], found: dict[str, str]
) -> None:
    """Variables that a profile names, and those that are called like a key."""
    secrets = Secrets.gather(environ, (), names)
    assert dict(secrets.values) == found
    assert KEY not in repr(secrets)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"api_key": "literal-key"}', ["literal-key"]),
        ("{api_key: 'literal-key'}", ["literal-key"]),
        ('{"apiKey": "literal-key"}', ["literal-key"]),
        ('{"api_key": "$NAME"}', []),
        ('{"api_key": "${NAME}"}', []),
        ('{"api_key": "{{apiKey}}"}', []),
        ('{"APIKEY": "of-the-local-port"}', []),
    ],
)
def test_key_fields(tmp_path: Path, text: str, found: list[str]) -> None:
    """Literal values of ``api_key``; variables, templates and the local port's are none."""
    path = tmp_path / "x.json"
    path.write_text(text)
    assert list(key_fields(path)) == found


HEADERS = {"headers": {"authorization": "Bearer another-key-1"}}


@pytest.mark.parametrize(
    ("line", "leaks"),
    [
        (f"x {KEY} y", True),
        (json.dumps(HEADERS), True),
        (json.dumps({"msg": json.dumps(HEADERS)}), True),
        (json.dumps({"x-api-key": "another-key-1"}), True),
        (json.dumps({"authorization": "Bearer synccr"}), False),
        (json.dumps({"authorization": "[Redacted] by pino"}), False),
        (json.dumps({"api_key": "$ACME_API_KEY"}), False),
        (json.dumps({"msg": "the authorization failed: 401"}), False),
        ("", False),
    ],
)
def test_logs_that_hold_a_key(tmp_path: Path, line: str, leaks: bool) -> None:
    """A known key, or a header that carried one that nobody knows any more."""
    path = tmp_path / "ccr.log"
    path.write_text(line)
    assert Secrets({KEY: None}).logged_in(path) == leaks
