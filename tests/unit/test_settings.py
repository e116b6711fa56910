"""Settings that cannot be used: which one, where, its value, and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from synccr.errors import ConfigError, UsageError
from synccr.settings import Settings, _accepted, load, origin_of

SECONDS = "a number of seconds above 0 to 10000000; without it, it is 30"


@pytest.mark.parametrize(
    ("name", "value", "what", "todo"),
    [
        ("PREFLIGHT_TIMEOUT", "-1", "cannot be '-1'", SECONDS),
        ("PREFLIGHT_TIMEOUT", "soon", "cannot be 'soon'", SECONDS),
        ("PREFLIGHT_ATTEMPTS", "21", "cannot be '21'", "a whole number from 1 to 20"),
        ("CCR_VERSION", "latest", "cannot be 'latest'", "an exact version, such as 2.0.0 or 3"),
        ("ON_TROUBLE", "flee", "cannot be 'flee'", "a word (move, wait or stop)"),
        ("ON_TROUBLE", "default=flee", "cannot be what stands there", "without it, it is move"),
        ("ON_TROUBLE_FLOOR", "main", "cannot be 'main'", "provider,model; without it, it is none"),
        ("RETRY_BUDGET", "2", "cannot be '2'", "a share from 0 to 1; without it, it is 0.2"),
        ("HOLD_TIMEUOT", "3", "Unknown setting SYNCCR_HOLD_TIMEUOT", "SYNCCR_HOLD_TIMEOUT?"),
    ],
)
def test_a_wrong_variable(name: str, value: str, what: str, todo: str, tmp_path: Path) -> None:
    """The variable as its owner wrote it; others that are right do not matter."""
    environ = {"SYNCCR_HOLD_TIMEOUT": "5", f"SYNCCR_{name}": value}
    with pytest.raises(UsageError, match=f"SYNCCR_{name}") as caught:
        load(tmp_path / "synccr.toml", environ)
    assert what in caught.value.what
    assert "the environment" in caught.value.what
    assert todo in caught.value.todo


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("preflight_timeout = 0", "preflight_timeout in {} cannot be 0."),
        ('preflight_timeout = "30"', "preflight_timeout in {} cannot be '30'."),
        ('notify = ["curl", "https://x/?key=1"]', "notify in {} cannot be what stands there."),
    ],
)
def test_a_wrong_line_of_the_file(line: str, what: str, tmp_path: Path) -> None:
    """The file and the name; of what is no plain value nothing is repeated."""
    path = tmp_path / "synccr.toml"
    path.write_text(f"hold_timeout = 5\n{line}\n")
    with pytest.raises(UsageError) as caught:
        load(path, {})
    assert caught.value.what == what.format(path)


@pytest.mark.parametrize(
    ("file", "environ", "origin"),
    [
        (None, {}, "is the default"),
        ("hold_timeout = 5", {"SYNCCR_HOLD_TIMEOUT": "5"}, "is the default"),
        ('ccr_version = "3.1.1"', {}, "is set by ccr_version in {}"),
        (
            'ccr_version = "3.1.1"',
            {"SYNCCR_CCR_VERSION": "2.0.0"},
            "is set by SYNCCR_CCR_VERSION in the environment",
        ),
        ("broken since", {}, "is the default"),
        (
            "broken since",
            {"SYNCCR_CCR_VERSION": "2.0.0"},
            "is set by SYNCCR_CCR_VERSION in the environment",
        ),
    ],
)
def test_where_a_setting_comes_from(
    file: str | None, environ: dict[str, str], origin: str, tmp_path: Path
) -> None:
    """The layer that counts, in the words that stand there."""
    path = tmp_path / "synccr.toml"
    if file is not None:
        path.write_text(file)
    assert origin_of("ccr_version", path, environ) == origin.format(path)


def test_what_is_accepted_can_be_said_of_every_setting() -> None:
    """Each has words for what it takes."""
    for name in Settings.__struct_fields__:
        assert _accepted(name).startswith("It takes a")


def test_what_becomes_of_a_request_by_route(tmp_path: Path) -> None:
    """One word for all; a table in the file; pairs in the environment, which go before it."""
    path = tmp_path / "synccr.toml"
    assert load(path, {"SYNCCR_ON_TROUBLE": "stop"}).on_trouble_of("think") == "stop"
    path.write_text('[on_trouble]\nthink = "wait"\nnamed = "stop"\n')
    found = load(path, {})
    assert [found.on_trouble_of(r) for r in ("default", "think", "named")] == [
        *("move", "wait", "stop")
    ]
    other = load(path, {"SYNCCR_ON_TROUBLE": "default=stop, think=move"})
    assert other.on_trouble == {"default": "stop", "think": "move"}


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A directory in its place, or a mode: a configuration that cannot be used, no number of
    an error."""
    path = tmp_path / "synccr.toml"
    path.mkdir()
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert caught.value.what == f"{path} cannot be read: is a directory."
    assert caught.value.exit_code == 4
