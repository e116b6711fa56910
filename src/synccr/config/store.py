"""Finding the two profiles, and keeping what a person changes in what was written."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synccr.ccr.config_file import ConfigFile
from synccr.config.combined import NOTHING, Added, entries, tell_apart
from synccr.config.edits import not_taken, rebase
from synccr.config.profile import PROXY_NAMES, Profile, Role, derive_fallback
from synccr.config.reader import read_profile, require_key, understand
from synccr.files import write_atomic
from synccr.heal import Local
from synccr.paths import Paths
from synccr.redact import Redactor

_RECORD = "written.json"

FILES: Mapping[Role, str] = {
    "primary": "ccr-config.json",
    "fallback": "ccr-config-fallback.json",
}


@dataclass(frozen=True)
class Edit:
    """What somebody made of the configuration that was written last.

    Attributes:
        file: CCR's configuration.
        content: what stands in it.
        record: says that this was written last, once it is part of a profile.
        written: the record's new content.
    """

    file: ConfigFile
    content: bytes
    record: Path
    written: bytes


@dataclass(frozen=True)
class Profiles:
    """The owner's wishes.

    Attributes:
        primary, fallback: the two profiles.
        local: the local port, for both.
        adopt: files to write before CCR's configuration is, so that a person's
            words there are kept: path and content.
        taken: an edit of CCR's configuration that is part of the profiles now.
        notes: what a person should know about where the profiles come from.
        watch: files whose change means new wishes.
    """

    primary: Profile
    fallback: Profile
    local: Local
    adopt: Mapping[Path, bytes] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    watch: tuple[Path, ...] = ()
    taken: Edit | None = None

    @property
    def redactor(self) -> Redactor:
        """Masks every key of both profiles and of the local port."""
        local = (self.local.api_key,) if self.local.api_key else ()
        return Redactor([*self.primary.secrets(), *self.fallback.secrets(), *local])

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
) -> Profiles:
    """Read both profiles; writes nothing. ``keyless``: no provider needs to have its key yet.

    Each comes from the first of: its option; its file in synccr's own
    configuration directory; for the primary a ``config.json`` in CCR's
    directory that a person wrote; the shipped one (for a primary that names the
    same provider), else the fallback is derived from the primary.

    With ``keyless`` it does not matter whether any provider has its key.

    Raises:
        ConfigError: a profile cannot be used, or no provider has its key.
    """
    written = read_written(paths)
    adopt: dict[Path, bytes] = {}
    notes: list[str] = []
    primary = _primary(paths, environ, config, written, adopt, notes)
    fallback = _fallback(paths, environ, fallback_config, primary)
    content = ConfigFile(paths).read()
    edited = edited_by_others(paths, written) if written else None
    target = primary if written is None or written.role == "primary" else fallback
    taken = None
    same_origin = not (config or fallback_config) or (written and written.source == target.source)
    if written and edited is not None and same_origin:
        given = {k: v for k, v in written.document.items() if k == "APIKEY" and target.shipped}
        wishes = {**target.raw, **given}
        now = _record(written.role, edited, written.source, written.added)
        taken = Edit(ConfigFile(paths), content or b"", paths.instance / _RECORD, _dump(now))
        merged = rebase(written.document, edited, wishes, environ, written.added)
        passed = not_taken(written.document, edited, environ, written.added)
        if passed:
            other = fallback if target is primary else primary
            notes.append(
                f"Not taken, because it is about the {other.role} profile ({other.source}): "
                f"{', '.join(passed)} of {paths.ccr_config}. Edit that profile instead."
            )
        if merged != wishes:
            mended = understand(merged, str(paths.ccr_config), target.role, environ)
            option = config if target.role == "primary" else fallback_config
            path = option or paths.config / FILES[target.role]
            mended = replace(mended, source=str(path))
            adopt[path] = _dump(merged)
            notes.append(f"Edits of {paths.ccr_config} become part of {path}.")
            if target.role == "primary":
                primary, fallback = mended, _fallback(paths, environ, fallback_config, mended)
            else:
                fallback = mended
    fallback = tell_apart(primary, fallback)
    if not keyless:
        require_key((primary, fallback))
    local = Local(port or primary.port, _api_key(primary, written), log_level)
    watch = (
        config or paths.config / FILES["primary"],
        fallback_config or paths.config / FILES["fallback"],
        paths.ccr_config,
    )
    return Profiles(primary, fallback, local, adopt, tuple(notes), watch, taken)


def shipped(role: Role) -> Path:
    """The profile that comes with synccr: package data, or ``configs/`` of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs" / FILES[role]
    return installed if installed.exists() else package.parents[1] / "configs" / FILES[role]


def keep_adopted(profiles: Profiles) -> None:
    """Write what must be kept; a file that is replaced leaves a dated copy."""
    for path, content in profiles.adopt.items():
        if path.exists():
            keep_copy(path)
        write_atomic(path, content, follow=True)
    # Else it would be taken again, over what the person writes into the profile from now on.
    if (edit := profiles.taken) and edit.file.take(edit.content):
        write_atomic(edit.record, edit.written)


def keep_copy(path: Path) -> None:
    """A dated copy of a person's file beside it, before it is changed."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    write_atomic(path.with_name(f"{path.name}.{stamp}.bak"), path.read_bytes())


@dataclass(frozen=True)
class Written:
    """The configuration that synccr wrote last.

    Attributes:
        role: the profile it was made from.
        document: what was written.
        source: where that profile came from.
        added: what it had of the other profile.
    """

    role: Role
    document: dict[str, Any] = field(repr=False)
    source: str = ""
    added: Added = NOTHING


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
    write_atomic(path, _dump(_record(role, document, source, added)))
    try:
        yield
    except BaseException:
        if before is not None:
            write_atomic(path, before)
        raise


def edited_by_others(paths: Paths, written: Written) -> dict[str, Any] | None:
    """CCR's configuration when somebody changed it since it was written; None when
    nobody did.

    Raises:
        ConfigError: it is there and cannot be read.
    """
    if not ConfigFile(paths).changed_by_others():
        return None
    document = dict(read_profile(paths.ccr_config, written.role, {}).raw)
    return None if document == written.document else document


def _primary(
    paths: Paths,
    environ: Mapping[str, str],
    option: Path | None,
    written: Written | None,
    adopt: dict[Path, bytes],
    notes: list[str],
) -> Profile:
    own = paths.config / FILES["primary"]
    if option or own.exists():
        return read_profile(option or own, "primary", environ)
    if written is None and ConfigFile(paths).changed_by_others():
        profile = read_profile(paths.ccr_config, "primary", environ)
        adopt[own] = paths.ccr_config.read_bytes()
        notes.append(f"{paths.ccr_config} is the primary profile; it is kept as {own}.")
        return profile
    return read_profile(shipped("primary"), "primary", environ, shipped=True)


def _fallback(
    paths: Paths, environ: Mapping[str, str], option: Path | None, primary: Profile
) -> Profile:
    own = paths.config / FILES["fallback"]
    if option or own.exists():
        return read_profile(option or own, "fallback", environ)
    profile = read_profile(shipped("fallback"), "fallback", environ, shipped=True)
    named = {(p.name, p.url) for p in primary.providers}
    if all((p.name, p.url) in named for p in profile.providers):
        return _as_at(primary, profile, environ)
    return derive_fallback(primary)


def _as_at(primary: Profile, fallback: Profile, environ: Mapping[str, str]) -> Profile:
    """The shipped fallback with the primary's own entries of its providers: their key and
    transformers are what the person wants there."""
    own = {p.name: e for p, e in zip(primary.providers, entries(primary.raw), strict=True)}
    providers = [
        own[p.name] | {"models": list(dict.fromkeys([*own[p.name]["models"], *p.models]))}
        for p in fallback.providers
    ]
    raw = {**fallback.raw, "Providers": providers}
    return understand(raw, fallback.source, "fallback", environ, shipped=True)


def _api_key(primary: Profile, written: Written | None) -> str | None:
    """The key of the local port; a shipped profile gets a random one that stays."""
    if primary.api_key_text or not primary.shipped:
        return primary.api_key_text
    kept = written.document.get("APIKEY") if written else None
    return kept if isinstance(kept, str) and kept else secrets.token_urlsafe(24)


def _record(
    role: Role, document: Mapping[str, Any], source: str, added: Added
) -> dict[str, object]:
    return {"role": role, "document": document, "source": source, "added": added.document()}


def _dump(document: object) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()
