"""The profiles, and the configuration that CCR reads."""

from __future__ import annotations

import contextlib
import secrets as random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synccr.ccr.v2.override_files import find_overrides, troubles
from synccr.config.ccr_file import ConfigFile
from synccr.config.profile import Profile
from synccr.config.reader import read_profile
from synccr.config.store import keep_copy, read_written
from synccr.control import request
from synccr.doctor import lines
from synccr.doctor.context import Context
from synccr.doctor.result import Diagnosis, fail, ok, skip, together, warn
from synccr.errors import ConfigError, SynccrError
from synccr.jsonc import set_value
from synccr.probe import transformer_hint, url_hint

_LEVELS = ("fatal", "error", "warn", "info", "debug", "trace")


def valid(context: Context) -> Diagnosis:
    """Both profiles can be used, and every name in them means something."""
    for path in context.profile_files():
        if not path.is_file():
            return fail(f"{path} is no file.", lines.put_aside(path))
        try:
            read_profile(path, "primary", context.environ)
        except ConfigError as error:
            return fail(str(error), lines.edit(path))
    try:
        profiles = context.profiles_or_error()
    except ConfigError as error:
        missing = [p for p in (context.config, context.fallback_config) if p and not p.exists()]
        return fail(str(error), lines.edit((missing or [context.paths.ccr_config])[0]))
    odd = [
        warn(line, context.edit(profile))
        for profile in (profiles.primary, profiles.fallback)
        for line in _odd(profile)
    ]
    if odd:
        return together(odd)
    return ok(f"primary: {profiles.primary.source}; fallback: {profiles.fallback.source}")


def _odd(profile: Profile) -> Iterator[str]:
    for warning in profile.warnings:
        yield f"{profile.source}: {warning}"
    for provider in profile.providers:
        if url := url_hint(provider):
            yield (
                f"{profile.source}: api_base_url of {provider.name} lacks its path. "
                f"Did you mean {url!r}?"
            )
        if hint := transformer_hint(provider):
            yield f"{profile.source}: {hint}"


def in_flight(context: Context) -> Diagnosis:
    """A request whose model fails it is sent to another one."""
    profiles = context.profiles
    primary = profiles.primary
    others = {*primary.models(), *profiles.fallback.models()} - {primary.routes.get("default")}
    if not others:
        return warn(
            f"{primary.source} has one model only, so nothing can take over from it. "
            "Add another to models.",
            context.edit(primary),
        )
    word = context.settings.on_trouble_of("default")
    if word != "move":
        return ok(f"on_trouble is {word}: a request of the default route stays with its model")
    return ok(f"{len(others)} more models can take over a request of the default model")


def _read(path: Path) -> dict[str, Any] | None:
    """CCR's configuration; None when there is none that could be read."""
    try:
        return dict(read_profile(path, "primary", {}).raw) if path.is_file() else None
    except ConfigError:
        return None


def log_level(context: Context) -> Diagnosis:
    """What CCR's log keeps on disk."""
    path = context.paths.ccr_config
    document = _read(path)
    if document is None:
        return ok("synccr writes level error at its start")
    level = document.get("LOG_LEVEL")
    if document.get("LOG") is False or level in ("fatal", "error", "warn"):
        return ok("errors only; neither prompts nor keys")
    asked = ((context.status or {}).get("options") or {}).get("log_level")
    if asked and asked == level:
        if context.generation and not context.generation.log:
            return ok("this CCR writes no log")
        return warn(
            f"synccr was started with --log-level {level}: every prompt is written to disk.",
            f"{lines.synccr('stop')} && {lines.synccr('start', '--detach')}",
        )
    fix = lines.synccr("doctor", "--fix", "log.level")

    def mend() -> str:
        set_value(path, "LOG_LEVEL", "error")
        return f"LOG_LEVEL is error in {path}; a CCR that runs takes it at its next start."

    if level == "info":
        return warn(f"{path}: LOG_LEVEL info writes every prompt to disk.", fix, mend)
    what = f"LOG_LEVEL {level}" if level in _LEVELS else "no LOG_LEVEL (which is debug)"
    return fail(
        f"{path}: {what} writes every prompt to disk, and each key that CCR has: those that a "
        "profile holds itself, and all of them in a ccr start without synccr.",
        fix,
        mend,
    )


def api_key(context: Context) -> Diagnosis:
    """Who may use the local port. Clients that already run must go on working, so beside a
    supervisor that would take it at once a key is added only when that is asked for by name."""
    profile = context.profiles.primary
    if profile.api_key_text or profile.shipped:
        return ok("the local port asks for a key")
    path, status = Path(profile.source), context.status
    runs = status is not None and status["sources"]["primary"] == profile.source

    def mend() -> str:
        key = random.token_urlsafe(24)
        keep_copy(path)
        set_value(path, "APIKEY", key)
        if not runs:
            when = "it counts from the next start on (synccr start --detach). Then clients"
        elif _is_taken(context, key):
            when = "the port asks for it from now on. Clients, also those that run,"
        else:
            when = "the synccr that runs has not taken it yet (synccr status). Once it has, clients"
        return (
            f'{path} has an APIKEY now; {when} must send it: eval "$(synccr env)" in each shell. '
            "synccr code does so itself."
        )

    fix = lines.synccr("doctor", "--fix", "apikey.local")
    if pending := context.is_in_ccr3(profile):
        fix = f"{lines.synccr('init')} && {fix}"
    mendable = not pending and (not runs or "apikey.local" in context.named)
    return warn(
        f"{path} has no APIKEY: every program and every user of this machine can use your models "
        f"through port {context.profiles.local.port}, and read and change CCR's configuration "
        "there (/api/config)."
        + (" Once there is one, clients that run now are refused until they send it." * runs),
        fix,
        mend if mendable else None,
    )


def _is_taken(context: Context, key: str) -> bool:
    """Wait until the supervisor that runs has swapped to this key."""
    settings = context.settings
    deadline = time.monotonic() + settings.preflight_timeout + settings.start_timeout
    with contextlib.suppress(SynccrError):
        while request(context.paths.instance, "client")["token"] != key:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True
    return False


def overrides(context: Context) -> Diagnosis:
    """CCR's files for one project, session or preset, whose routes go before all others."""
    found = find_overrides(context.paths.ccr)
    if not found:
        return skip("no project, session or preset has routes of its own")
    reports = context.survey.reports
    providers = {p.name for p in context.providers()}
    findings = []
    for override in found:
        line = lines.edit(override.file)
        if override.problem:
            findings.append(warn(f"{override.file}: {override.problem}.", line))
        findings += [
            fail(f"{override.file}: {bad.route} {bad.target!r} {bad.text}.", line)
            for bad in troubles(override, providers, reports)
        ]
    return together(findings) if findings else ok(f"{len(found)} with routes that serve")


def written(context: Context) -> Diagnosis:
    """The configuration that CCR reads is the one synccr wrote."""
    path = context.paths.ccr_config
    if not path.exists():
        return skip("synccr has not written it yet; it does so at its start")
    document = _read(path)
    if document is None:
        return fail(
            f"{path} cannot be read as a CCR configuration, so a bare ccr start would fail.",
            lines.edit(path),
        )
    if read_written(context.paths) is None:
        return ok("written by hand; synccr takes it for the primary profile unless you have one")
    if ConfigFile(context.paths).changed_by_others():
        return ok("edited since synccr wrote it; the edits become part of your profile")
    return ok("as synccr wrote it")
