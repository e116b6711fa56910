"""Both profiles as they are now, with what a person changed in the configuration written last.

People, and CCR's own page, edit that configuration where it lies. So each reading is a three-way
merge: of what was written, what stands there now, and the profile that it was made from. The
result is that profile from then on.

Three steps, each from data to data: :func:`find_source`, the file that serves a role, or what
CCR 3 keeps; :func:`~synccr.config.edit_merge.merge`; :func:`local_key`, the key of the local port.
Reading writes nothing; :func:`keep_adopted` does, before CCR's configuration is replaced.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from synccr.config.ccr3.database import DATABASE, Unreadable
from synccr.config.ccr3.offer import offered
from synccr.config.ccr3.profile import Taken
from synccr.config.ccr_file import ConfigFile
from synccr.config.combined_providers import NOTHING, Added, entries, tell_apart
from synccr.config.edit_merge import merge
from synccr.config.keys import below, write_keys
from synccr.config.profile import PROXY_NAMES, Local, Profile, Role, derive_fallback
from synccr.config.reader import parse_profile, read_file, read_profile, require_key, understand
from synccr.errors import SynccrError
from synccr.files import write_atomic
from synccr.paths import Paths

_RECORD = "written.json"
_DECLINED = "ccr3-declined"

FILES: Mapping[Role, str] = {
    "primary": "ccr-config.json",
    "fallback": "ccr-config-fallback.json",
}


@dataclass(frozen=True)
class Source:
    """The file that serves a role.

    Attributes:
        path: the file.
        home: where changes of the profile go; another file when the person has none for it yet.
        shipped: it came with synccr.
        taken: the profile that was made from it, which is a database of CCR 3's.
        note: why it is not another one.
    """

    path: Path
    home: Path
    shipped: bool = False
    taken: Taken | None = None
    note: str = ""

    def read(self) -> bytes:
        """The profile.

        Raises:
            ConfigError: it cannot be read.
        """
        return _dump(self.taken.document) if self.taken else read_file(self.path)


@dataclass(frozen=True)
class Written:
    """The configuration that synccr wrote last; its attributes are the keys of the record.

    Attributes:
        role: the profile it was made from.
        document: what was written.
        source: where that profile came from.
        added: what it had of the other profile.
    """

    role: Role
    document: Mapping[str, Any] = field(repr=False)
    source: str = ""
    added: Added = NOTHING


@dataclass(frozen=True)
class Edit:
    """What somebody made of the configuration that was written last.

    Attributes:
        file: CCR's configuration.
        content: what stands in it.
        base: what was written.
        theirs: the document that stands there now.
    """

    file: ConfigFile
    content: bytes = field(repr=False)
    base: Written
    theirs: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Profiles:
    """The owner's wishes.

    Attributes:
        primary, fallback: the two profiles.
        local: the local port, for both.
        adopt: files to write before CCR's configuration is, so that a person's
            words there are kept: path and content.
        keys: what to add to a file of keys before: path, and values by name.
        taken: an edit of CCR's configuration that is part of the profiles now.
        notes: what a person should know about where the profiles come from.
        watch: files whose change means new wishes.
    """

    primary: Profile
    fallback: Profile
    local: Local
    adopt: Mapping[Path, bytes] = field(default_factory=dict, repr=False)
    keys: Mapping[Path, Mapping[str, str]] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    watch: tuple[Path, ...] = ()
    taken: Edit | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every key of both profiles and of the local port."""
        local = (self.local.api_key,) if self.local.api_key else ()
        return (*self.primary.secrets(), *self.fallback.secrets(), *local)

    @property
    def proxy(self) -> str | None:
        """The proxy that CCR uses for every provider."""
        raw = self.primary.raw
        return next((str(raw[name]) for name in PROXY_NAMES if raw.get(name)), None)


def load_profiles(
    paths: Paths,
    environ: Mapping[str, str],
    *,
    config: Path | None = None,
    fallback_config: Path | None = None,
    port: int | None = None,
    log_level: str | None = None,
    keyless: bool = False,
    source: Source | None = None,
) -> Profiles:
    """Read both profiles; writes nothing. ``keyless``: no provider needs to have its key yet.
    ``source``: what is the primary, in the place of what :func:`find_source` finds.

    Raises:
        ConfigError: a profile cannot be used, or no provider has its key.
    """
    written = read_written(paths)
    named = config or fallback_config or source
    source = source or find_source(paths, "primary", config, environ, first_run=written is None)
    second = find_source(paths, "fallback", fallback_config)
    content = source.read()
    keys = source.taken.keys if source.taken else {}
    environ = below(environ, keys)
    primary = parse_profile(content, str(source.path), "primary", environ, shipped=source.shipped)
    fallback = _read_fallback(second, primary, environ)
    adopt, notes = _found_in_ccr(source, content, paths)
    edit = find_edit(paths, written)
    edited, other = primary, fallback
    if edit and edit.base.role == "fallback":
        edited, other = fallback, primary
    if edit and named and edit.base.source != edited.source:
        edit = None  # of another profile than the one that is named now
    if edit:
        home = (source if edited is primary else second).home
        merged, notes = _with_edit(edit, edited, other, home, environ)
        if merged is not edited:
            adopt = {home: _dump(merged.raw)}
            if edited is primary:
                primary, fallback = merged, _read_fallback(second, merged, environ)
            else:
                fallback = merged
    fallback = tell_apart(primary, fallback)
    if not keyless:
        require_key((primary, fallback))
    local = Local(port or primary.port, local_key(primary, written), log_level)
    watch = (source.home, second.home, paths.ccr_config)
    kept = {paths.keys: keys} if keys else {}
    return Profiles(primary, fallback, local, adopt, kept, notes, watch, edit)


def find_source(
    paths: Paths,
    role: Role,
    option: Path | None,
    environ: Mapping[str, str] = MappingProxyType({}),
    *,
    first_run: bool = False,
) -> Source:
    """The file that serves a role: the first of the option, the one in synccr's own configuration
    directory, at the first run for the primary what a person configured in CCR's directory
    (``config.json``, else in CCR 3), and the shipped one.

    Raises:
        Torn: CCR 3 is writing its configuration.
    """
    home = option or paths.config / FILES[role]
    if option or home.exists():
        return Source(home, home)
    note = ""
    if first_run:
        if ConfigFile(paths).changed_by_others():
            return Source(paths.ccr_config, home)
        try:
            if not is_declined(paths) and (found := source_in_ccr3(paths, environ)):
                return found
        except Unreadable as error:
            note = f"{error} The profile that comes with synccr is used."
    return Source(shipped(role), home, shipped=True, note=note)


def source_in_ccr3(paths: Paths, environ: Mapping[str, str]) -> Source | None:
    """What CCR 3 keeps, as the primary profile; None when there is nothing to use.

    Raises:
        Unreadable, Torn: it is there, and cannot be read.
    """
    if taken := offered(paths, environ):
        return Source(paths.ccr / DATABASE, paths.config / FILES["primary"], taken=taken)
    return None


def offered_keys(
    paths: Paths, environ: Mapping[str, str], config: Path | None = None
) -> Mapping[str, str]:
    """Keys of CCR 3's that are not in ``keys.env`` yet, as long as its configuration is the
    primary profile."""
    try:
        first_run = read_written(paths) is None
        source = find_source(paths, "primary", config, environ, first_run=first_run)
    except (SynccrError, OSError):  # load_profiles says it
        return {}
    return source.taken.keys if source.taken else {}


def is_declined(paths: Paths) -> bool:
    """Whether the person does not want CCR 3's configuration."""
    return (paths.instance / _DECLINED).exists()


def decline(paths: Paths) -> None:
    """CCR 3's configuration is not to become the primary profile."""
    write_atomic(paths.instance / _DECLINED, b"")


def shipped(role: Role) -> Path:
    """The profile that comes with synccr: package data, or ``configs/`` of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs" / FILES[role]
    return installed if installed.exists() else package.parents[1] / "configs" / FILES[role]


def find_edit(paths: Paths, written: Written | None) -> Edit | None:
    """What somebody made of CCR's configuration since it was written; None when nobody did.

    Raises:
        ConfigError, SynccrError: it is there and cannot be read.
    """
    file = ConfigFile(paths)
    content = file.read()
    if written is None or content is None or file.is_ours(content):
        return None
    theirs = parse_profile(content, str(file.path), written.role, {}).raw
    return None if theirs == written.document else Edit(file, content, written, theirs)


def local_key(primary: Profile, written: Written | None) -> str | None:
    """The key of the local port; a shipped profile gets a random one that stays."""
    if primary.api_key_text or not primary.shipped:
        return primary.api_key_text
    kept = written.document.get("APIKEY") if written else None
    return kept if isinstance(kept, str) and kept else secrets.token_urlsafe(24)


def keep_adopted(profiles: Profiles) -> None:
    """Write what must be kept; a file that is replaced leaves a dated copy."""
    for path, values in profiles.keys.items():
        write_keys(path, values)
    for path, content in profiles.adopt.items():
        if path.exists():
            keep_copy(path)
        write_atomic(path, content, follow=True)
    # Else it would be taken again, over what the person writes into the profile from now on.
    if (edit := profiles.taken) and edit.file.take(edit.content):
        record = _dump(asdict(replace(edit.base, document=edit.theirs)))
        write_atomic(edit.file.paths.instance / _RECORD, record)


def keep_copy(path: Path) -> None:
    """A dated copy of a person's file beside it, before it is changed."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    write_atomic(path.with_name(f"{path.name}.{stamp}.bak"), path.read_bytes())


def read_written(paths: Paths) -> Written | None:
    """What was written last; None when nothing was, or nobody knows any more."""
    try:
        record = json.loads((paths.instance / _RECORD).read_bytes())
        role, document = record["role"], record["document"]
        source, added = record.get("source"), Added.read(record.get("added"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if role not in FILES or not isinstance(document, dict):
        return None
    return Written(role, document, source if isinstance(source, str) else "", added)


@contextlib.contextmanager
def recorded(
    paths: Paths,
    role: Role,
    document: Mapping[str, Any],
    source: str = "",
    added: Added = NOTHING,
) -> Iterator[None]:
    """Note what is about to be written; forgotten again when the block fails."""
    path = paths.instance / _RECORD
    before = path.read_bytes() if path.exists() else None
    write_atomic(path, _dump(asdict(Written(role, document, source, added))))
    try:
        yield
    except BaseException:
        if before is not None:
            write_atomic(path, before)
        raise


def _read_fallback(source: Source, primary: Profile, environ: Mapping[str, str]) -> Profile:
    """The fallback beside a primary; derived from it where the shipped one has other providers."""
    profile = read_profile(source.path, "fallback", environ, shipped=source.shipped)
    if not source.shipped:
        return profile
    own = {p.name: e for p, e in zip(primary.providers, entries(primary.raw), strict=True)}
    named = {(p.name, p.url) for p in primary.providers}
    if any((p.name, p.url) not in named for p in profile.providers):
        return derive_fallback(primary)
    # With the primary's own entries: their key and transformers are what the person wants there.
    providers = [
        own[p.name] | {"models": list(dict.fromkeys([*own[p.name]["models"], *p.models]))}
        for p in profile.providers
    ]
    raw = {**profile.raw, "Providers": providers}
    return understand(raw, profile.source, "fallback", environ, shipped=True)


def _found_in_ccr(
    source: Source, content: bytes, paths: Paths
) -> tuple[dict[Path, bytes], tuple[str, ...]]:
    """What to write when a person's configuration of CCR becomes the primary; and a note."""
    if source.shipped or source.path == source.home:
        return {}, (source.note,) if source.note else ()
    note = f"{source.path} is the primary profile; it is kept as {source.home}."
    if source.taken:
        what = f"CCR 3's configuration ({source.path})"
        if source.taken.upgraded:
            what = f"The config.json that CCR 3 took over ({source.path}), with its routes,"
        keys = f", its keys in {paths.keys}" if source.taken.keys else ""
        first = f"{what} is the primary profile; it is kept as {source.home}{keys}."
        note = " ".join((first, *source.taken.details()))
    return {source.home: content}, (note,)


def _with_edit(
    edit: Edit, profile: Profile, other: Profile, home: Path, environ: Mapping[str, str]
) -> tuple[Profile, tuple[str, ...]]:
    """``profile`` with the edit in it, itself when that changes nothing; and notes."""
    base, file = edit.base, edit.file.path
    # The random key of a shipped profile stays; see `local_key`.
    given = {k: v for k, v in base.document.items() if k == "APIKEY" and profile.shipped}
    ours = {**profile.raw, **given}
    merged, left_out = merge(base.document, edit.theirs, ours, environ, base.added)
    notes = []
    if left_out:
        notes.append(
            f"Not taken, because it is about the {other.role} profile ({other.source}): "
            f"{', '.join(left_out)} of {file}. Edit that profile instead."
        )
    if merged == ours:
        return profile, tuple(notes)
    notes.append(f"Edits of {file} become part of {home}.")
    found = understand(merged, str(file), profile.role, environ)
    return replace(found, source=str(home)), tuple(notes)


def _dump(document: object) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()
