"""When CCR 3's configuration becomes the primary profile, and that nothing of CCR 3's changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ccr3_capture import UPGRADED
from ccr3_kit import checksums, lay_out, write_database
from synccr.config.ccr3 import database
from synccr.config.ccr3.database import DATABASE, Torn
from synccr.config.ccr3.offer import offered
from synccr.config.ccr_file import ConfigFile
from synccr.config.keys import read_keys
from synccr.config.store import (
    FILES,
    Profiles,
    decline,
    keep_adopted,
    load_profiles,
    offered_keys,
    recorded,
)
from synccr.paths import Paths

PROVIDER = {
    "name": "acme",
    "api_base_url": "https://a.test/v1",
    "api_key": "key-of-acme-7a1c",
    "models": ["m"],
}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    names = ("config", "state", "cache", "log")
    home = tmp_path / "home"
    return Paths(home / ".claude-code-router", *(tmp_path / name for name in names))


def own_file(paths: Paths) -> Path:
    return paths.config / FILES["primary"]


def adopted(paths: Paths, **environ: str) -> Profiles:
    profiles = load_profiles(paths, environ)
    keep_adopted(profiles)
    return profiles


@pytest.mark.parametrize("name", ["native", "upgraded"])
def test_the_first_start_takes_it(paths: Paths, name: str) -> None:
    """Its keys count at once; the profile and the keys are kept, and said to be, and from then on
    CCR 3 is not asked any more. In CCR's directory nothing changes."""
    directory = lay_out(paths.ccr.parent, name)
    before = checksums(directory)
    profiles = adopted(paths)
    assert not any(p.unset for p in profiles.primary.providers)
    assert profiles.primary.source == str(directory / DATABASE)
    assert str(profiles.primary.routes["default"]) == "acme,vendor/main-480b"
    (note,) = profiles.notes
    for word in (str(directory / DATABASE), str(own_file(paths)), str(paths.keys)):
        assert word in note
    assert ("Not taken: provider off" in note) == (name == "native")
    assert "key-of" not in note
    assert "key-of" not in own_file(paths).read_text()
    assert own_file(paths).stat().st_mode & 0o777 == 0o600
    assert paths.keys.stat().st_mode & 0o777 == 0o600
    assert checksums(directory) == before
    (directory / DATABASE).unlink()
    again = load_profiles(paths, read_keys(paths.keys))
    assert again.notes == ()
    assert again.primary.raw == profiles.primary.raw
    assert again.secrets == profiles.secrets


def test_reading_writes_nothing(paths: Paths) -> None:
    lay_out(paths.ccr.parent, "native")
    load_profiles(paths, {})
    assert not paths.config.exists()
    assert not paths.state.exists()


def has_own(paths: Paths) -> None:
    own_file(paths).parent.mkdir()
    own_file(paths).write_text(json.dumps(UPGRADED))


def has_config_json(paths: Paths) -> None:
    paths.ccr_config.write_text(json.dumps(UPGRADED))


def has_run(paths: Paths) -> None:
    with recorded(paths, "primary", {}):
        pass


def has_no_provider(paths: Paths) -> None:
    (paths.ccr / f"{DATABASE}-wal").unlink()
    (paths.ccr / DATABASE).unlink()
    write_database(paths.ccr, {"Providers": []}).close()


@pytest.mark.parametrize("make", [has_own, has_config_json, has_run, decline, has_no_provider])
def test_what_goes_before_it(paths: Paths, make: Callable[[Paths], None]) -> None:
    """A profile of synccr's own, a config.json, an earlier start, and the person's no."""
    lay_out(paths.ccr.parent, "native")
    make(paths)
    profiles = load_profiles(paths, {}, keyless=True)
    assert profiles.keys == {}
    assert profiles.primary.source != str(paths.ccr / DATABASE)
    assert offered_keys(paths, {}) == {}


def test_a_named_file_goes_before_it(paths: Paths, tmp_path: Path) -> None:
    lay_out(paths.ccr.parent, "native")
    named = tmp_path / "mine.json"
    named.write_text(json.dumps(UPGRADED))
    profiles = load_profiles(paths, {}, config=named, keyless=True)
    assert (profiles.primary.source, profiles.keys) == (str(named), {})
    assert offered_keys(paths, {}, named) == {}


def test_the_keys_of_a_first_start(paths: Paths) -> None:
    """A process that has them already keeps them all the same; once they are kept, none is
    added."""
    lay_out(paths.ccr.parent, "native")
    keys = offered_keys(paths, {})
    assert set(keys) == {"ACME_API_KEY", "ANTH_API_KEY", "POOL_API_KEY", "CCR_LOCAL_KEY"}
    adopted(paths, **keys)
    assert read_keys(paths.keys) == keys
    assert offered_keys(paths, read_keys(paths.keys)) == {}


def test_one_that_cannot_be_read_is_told(paths: Paths) -> None:
    """The shipped profile is used as before."""
    paths.ccr.mkdir(parents=True)
    (paths.ccr / DATABASE).write_bytes(b"no database")
    profiles = load_profiles(paths, {}, keyless=True)
    assert profiles.primary.shipped
    (note,) = profiles.notes
    assert str(paths.ccr / DATABASE) in note
    assert "comes with synccr" in note
    keep_adopted(profiles)
    assert not own_file(paths).exists()


def test_one_that_is_being_written_ends_the_start(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next start would not look there any more."""
    lay_out(paths.ccr.parent, "native")
    numbers = iter(range(1000))
    monkeypatch.setattr(database, "_PAUSE", 0)
    monkeypatch.setattr(database, "_state", lambda _: ((next(numbers),), None))
    with pytest.raises(Torn, match="Try again"):
        load_profiles(paths, {}, keyless=True)
    assert offered_keys(paths, {}) == {}


def test_keys_env_that_is_there_already(paths: Paths) -> None:
    """What it has stays; a name that has another value there is not used."""
    lay_out(paths.ccr.parent, "native")
    paths.config.mkdir()
    paths.keys.write_text("MINE=1\nACME_API_KEY=another-key\n")
    adopted(paths, **read_keys(paths.keys))
    kept = read_keys(paths.keys)
    assert (kept["MINE"], kept["ACME_API_KEY"]) == ("1", "another-key")
    assert kept["ACME_API_KEY_2"] == "key-of-acme-7a1c"
    assert '"$ACME_API_KEY_2"' in own_file(paths).read_text()


def test_what_synccr_wrote_is_no_file_of_the_persons(paths: Paths) -> None:
    """CCR 3 has taken over a config.json that was synccr's own."""
    ConfigFile(paths).write(UPGRADED)
    content = paths.ccr_config.read_bytes()
    paths.ccr_config.unlink()
    with closing(write_database(paths.ccr, {"Providers": [PROVIDER]}, imported=(content,))):
        found = offered(paths, {})
    assert found
    assert not found.upgraded


def test_the_newest_file_with_routes_counts(paths: Paths) -> None:
    """CCR 3 may have taken over several."""
    older = UPGRADED | {"PORT": 4000}
    files = tuple(json.dumps(d).encode() for d in (older, UPGRADED, {"Providers": [PROVIDER]}))
    with closing(write_database(paths.ccr, {"Providers": [PROVIDER]}, imported=files)):
        found = offered(paths, {})
    assert found
    assert found.upgraded
    assert found.document["PORT"] == UPGRADED["PORT"]


def test_an_old_file_that_cannot_be_used(paths: Paths) -> None:
    """What CCR 3 has now is taken, and why the old routes are not is told."""
    broken = UPGRADED | {"Router": {"default": "nobody,m"}}
    files = (json.dumps(broken).encode(),)
    with closing(write_database(paths.ccr, {"Providers": [PROVIDER]}, imported=files)):
        found = offered(paths, {})
    assert found
    assert not found.upgraded
    assert "nobody" in found.left[-1]
    assert found.document["Router"] == {"default": "acme,m"}


def test_what_cannot_be_written_again(paths: Paths) -> None:
    """Half a character, for one: it is told as what cannot be read."""
    text = json.dumps({"Providers": [PROVIDER | {"models": ["\ud800"]}]})
    with closing(write_database(paths.ccr, text)):
        profiles = load_profiles(paths, {}, keyless=True)
    assert profiles.primary.shipped
    assert "half a character" in profiles.notes[0]
