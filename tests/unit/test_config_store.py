"""Both profiles together: edits of CCR's configuration, and providers of one name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from synccr.config.ccr_file import ConfigFile
from synccr.config.profile import Role
from synccr.config.store import (
    FILES,
    Profiles,
    keep_adopted,
    load_profiles,
    read_written,
    recorded,
    shipped,
)
from synccr.heal import heal_supervised
from synccr.paths import Paths


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


def edited(paths: Paths, *, runs: str, edit: str) -> Path:
    """The profile names a, another model may run, and a person writes one into CCR's file: it is
    taken. The profile's own file."""
    own = paths.config / FILES["primary"]
    write(own, document("a"))
    run(paths, runs)
    write(paths.ccr_config, document(edit))
    assert default_of(paths) == f"acme,{edit}"
    return own


def test_an_edit_is_taken_once(paths: Paths) -> None:
    """What a person wrote into CCR's file becomes the profile's, and does not come back over
    what they write into the profile later; a copy of it is kept."""
    own = edited(paths, runs="a", edit="b")
    write(own, document("c"))
    assert default_of(paths) == "acme,c"
    kept = [json.loads(path.read_bytes()) for path in paths.ccr.glob("config.json.*.saved")]
    assert kept == [document("b")]


def test_an_edit_back_to_what_the_profile_says_is_taken_too(paths: Paths) -> None:
    """a is away and b runs; a person puts a back into CCR's file, then c into the profile."""
    own = edited(paths, runs="b", edit="a")
    write(own, document("c"))
    assert default_of(paths) == "acme,c"


def test_a_second_edit_counts_from_the_first(paths: Paths) -> None:
    """Only what is new in it goes into the profile."""
    own = edited(paths, runs="a", edit="b")
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


@pytest.mark.parametrize("first", [True, False])
def test_what_is_kept_is_what_was_understood(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """An editor may save at any moment, also between two looks at the file."""
    saved = iter("bcabcabcabc")
    read_bytes = Path.read_bytes

    def saving(path: Path) -> bytes:
        content = read_bytes(path)
        if path == paths.ccr_config:
            write(path, document(next(saved)))
        return content

    if not first:
        write(paths.config / FILES["primary"], document("a"))
        run(paths, "a")
    write(paths.ccr_config, document(next(saved)))
    monkeypatch.setattr(Path, "read_bytes", saving)
    profiles = load_profiles(paths, {})
    (kept,) = profiles.adopt.values()
    assert json.loads(kept) == profiles.primary.raw
    if profiles.taken:
        assert json.loads(profiles.taken.content) == profiles.taken.theirs
    assert bool(profiles.taken) is not first


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
    """The fallback's account goes by another name, which stands in no file of the person's."""
    write(paths.config / FILES["primary"], document("a"))
    write(paths.config / FILES["fallback"], document("b", api_key="another-key"))
    fallback = read(paths).fallback
    (found,) = fallback.warnings
    assert found.place == "Providers[0].name"
    assert "another key" in found.what
    assert "'acme@fallback'" in found.what
    assert str(fallback.routes["default"]) == "acme@fallback,b"
    write(paths.config / FILES["fallback"], document("b"))
    assert read(paths).fallback.warnings == ()


def run_beside(paths: Paths, role: Role) -> dict[str, Any]:
    """As synccr writes what it runs of two profiles; returns a copy to edit."""
    profiles = read(paths)
    profile, other = profiles.primary, profiles.fallback
    if role == "fallback":
        profile, other = other, profile
    healed = heal_supervised(profile, other, {}, profiles.local)
    with (
        recorded(paths, role, healed.config, profile.source, healed.added),
        ConfigFile(paths).transaction(healed.config),
    ):
        return copy.deepcopy(healed.config)


@pytest.mark.parametrize(("role", "other"), [("primary", "fallback"), ("fallback", "primary")])
def test_an_edit_beside_the_other_profiles_provider(paths: Paths, role: Role, other: Role) -> None:
    """It lands in the profile that runs, under the names there; the other one's provider lands
    nowhere, and what is done to it is told."""
    wishes: dict[Role, dict[str, Any]] = {
        "primary": document("a"),
        "fallback": document("b", api_key="another-key"),
    }
    for name, wish in wishes.items():
        write(paths.config / FILES[name], wish)
    edited = run_beside(paths, role)
    own, theirs = (p["name"] for p in edited["Providers"])
    assert {own, theirs} == {"acme", "acme@fallback"}
    edited["Providers"][0]["models"].append("d")
    edited["Router"] |= {"think": f"{own},d", "background": f"{theirs},a"}
    edited["Providers"][1]["models"].append("e")
    write(paths.ccr_config, edited)
    profiles = read(paths)
    key = wishes[role]["Providers"][0]["api_key"]
    wanted = document("a" if role == "primary" else "b", api_key=key, models=["a", "b", "c", "d"])
    wanted["Router"]["think"] = "acme,d"
    files = {name: json.loads((paths.config / FILES[name]).read_bytes()) for name in FILES}
    assert files == wishes | {role: wanted}
    (told,) = [note for note in profiles.notes if note.startswith("Not taken")]
    assert f"Providers.{theirs}, Router.background of" in told
    assert str(paths.config / FILES[other]) in told
    assert key not in told
    assert read(paths).notes == ()


def test_a_record_of_an_earlier_version(paths: Paths) -> None:
    """It names nothing that was added, and the edits count."""
    write(paths.config / FILES["primary"], document("a"))
    run(paths, "a")
    record = paths.instance / "written.json"
    known = json.loads(record.read_bytes())
    del known["added"]
    write(record, known)
    write(paths.ccr_config, document("b"))
    assert default_of(paths) == "acme,b"


def test_the_shipped_fallback_asks_as_the_primary_does(paths: Paths) -> None:
    """A key that the person named otherwise, or other transformers, make no second account."""
    theirs = json.loads(shipped("primary").read_bytes())
    provider = theirs["Providers"][0]
    provider |= {"api_key": "own-key", "models": provider["models"][:1]}
    del provider["transformer"]
    write(paths.config / FILES["primary"], theirs)
    profiles = read(paths)
    assert profiles.fallback.shipped
    (one,), (two,) = profiles.primary.providers, profiles.fallback.providers
    assert (two.name, two.key, two.transformer) == (one.name, one.key, {})
    assert len(two.models) == 3


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
