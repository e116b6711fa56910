"""Both profiles together: edits of CCR's configuration, and providers of one name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synccr.ccr.config_file import ConfigFile
from synccr.paths import Paths
from synccr.profiles import FILES, Profiles, keep_adopted, load_profiles, read_written, recorded


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """An empty home's."""
    names = ("config", "state", "cache", "log")
    return Paths(tmp_path / ".claude-code-router", *(tmp_path / name for name in names))


def document(default: str, **changes: Any) -> dict[str, Any]:
    """A configuration with three models."""
    provider = {
        "name": "acme",
        "api_base_url": "http://127.0.0.1:1/v1/chat/completions",
        "api_key": "key-of-acme",
        "models": ["a", "b", "c"],
    }
    return {"Providers": [provider | changes], "Router": {"default": f"acme,{default}"}}


def write(path: Path, content: dict[str, Any]) -> None:
    """A person's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def run(paths: Paths, default: str) -> None:
    """As synccr writes what it runs."""
    healed = document(default)
    with recorded(paths, "primary", healed), ConfigFile(paths).transaction(healed):
        pass


def read(paths: Paths) -> Profiles:
    """Read and keep, as at a start and after each edit."""
    profiles = load_profiles(paths, {})
    keep_adopted(profiles)
    return profiles


def default_of(paths: Paths) -> str:
    """Of the primary profile, as it is read now."""
    return str(read(paths).primary.routes["default"])


def test_an_edit_is_taken_once(paths: Paths) -> None:
    """What a person wrote into CCR's file becomes the profile's, and does not come back over
    what they write into the profile later; a copy of it is kept."""
    own = paths.config / FILES["primary"]
    write(own, document("a"))
    run(paths, "a")
    write(paths.ccr_config, document("b"))
    assert default_of(paths) == "acme,b"
    write(own, document("c"))
    assert default_of(paths) == "acme,c"
    kept = [json.loads(path.read_bytes()) for path in paths.ccr.glob("config.json.*.saved")]
    assert kept == [document("b")]


def test_an_edit_back_to_what_the_profile_says_is_taken_too(paths: Paths) -> None:
    """a is away and b runs; a person puts a back into CCR's file, then c into the profile."""
    own = paths.config / FILES["primary"]
    write(own, document("a"))
    run(paths, "b")
    write(paths.ccr_config, document("a"))
    assert default_of(paths) == "acme,a"
    write(own, document("c"))
    assert default_of(paths) == "acme,c"


def test_a_second_edit_counts_from_the_first(paths: Paths) -> None:
    """Only what is new in it goes into the profile."""
    own = paths.config / FILES["primary"]
    write(own, document("a"))
    run(paths, "a")
    write(paths.ccr_config, document("b"))
    assert default_of(paths) == "acme,b"
    write(own, document("c"))
    write(paths.ccr_config, document("b") | {"API_TIMEOUT_MS": 1000})
    assert default_of(paths) == "acme,c"
    assert read(paths).primary.raw["API_TIMEOUT_MS"] == 1000


def test_an_edit_that_comes_while_another_is_read_is_not_lost(paths: Paths) -> None:
    """What is kept is what was read; what stands there by then is read the next time."""
    write(paths.config / FILES["primary"], document("a"))
    run(paths, "a")
    write(paths.ccr_config, document("b"))
    profiles = load_profiles(paths, {})
    write(paths.ccr_config, document("c"))
    keep_adopted(profiles)
    assert default_of(paths) == "acme,c"


def test_what_was_written_meanwhile_stays_known(paths: Paths) -> None:
    """An edit that synccr itself has replaced by now is not taken for what was written last."""
    write(paths.config / FILES["primary"], document("a"))
    run(paths, "a")
    write(paths.ccr_config, document("b"))
    profiles = load_profiles(paths, {})
    run(paths, "c")
    keep_adopted(profiles)
    written = read_written(paths)
    assert written
    assert written.document == document("c")


def test_two_providers_of_one_name_are_told_of(paths: Paths) -> None:
    """The fallback's account would never be asked."""
    write(paths.config / FILES["primary"], document("a"))
    write(paths.config / FILES["fallback"], document("b", api_key="another-key"))
    (found,) = read(paths).fallback.findings
    assert found.place == "Providers[0].name"
    assert "another key" in found.what
    write(paths.config / FILES["fallback"], document("b"))
    assert read(paths).fallback.findings == ()


@pytest.mark.parametrize(
    ("address", "secrets"),
    [
        ("http://gw/v1/chat/completions?token=secret-1&v=2", {"secret-1"}),
        ("http://user:secret-2@gw/v1/chat/completions", {"user", "secret-2"}),
        ("http://gw/v1/chat/completions?api-version=2024-10-21", set()),
    ],
)
def test_what_an_address_hides(paths: Paths, address: str, secrets: set[str]) -> None:
    """A secret in it is one like the key; a key that is the provider's name is none."""
    write(paths.config / FILES["primary"], document("a", api_base_url=address, api_key="acme"))
    assert set(read(paths).primary.secrets()) == secrets
