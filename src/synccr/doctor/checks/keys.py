"""Provider keys: set, usable, and nowhere in clear."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synccr.ccr.process import identify
from synccr.ccr.v2.log_files import find_log
from synccr.ccr.v2.pid_file import read_pid_file
from synccr.config.combined_providers import entries
from synccr.config.keyring import Keyring, holds_placeholder
from synccr.config.keys import read_keys, variable_for
from synccr.config.profile import Provider, variables
from synccr.doctor import lines
from synccr.doctor.context import Context
from synccr.doctor.result import Diagnosis, fail, ok, skip, together, warn
from synccr.doctor.secrets import key_fields
from synccr.errors import ConfigError
from synccr.files import write_atomic
from synccr.models.report import Status

_PAGES = {
    "api.synthetic.new": "https://synthetic.new",
    "openrouter.ai": "https://openrouter.ai/keys",
    "api.openai.com": "https://platform.openai.com/api-keys",
    "api.anthropic.com": "https://console.anthropic.com/settings/keys",
    "api.deepseek.com": "https://platform.deepseek.com/api_keys",
    "api.groq.com": "https://console.groq.com/keys",
    "generativelanguage.googleapis.com": "https://aistudio.google.com/apikey",
}
_BARE = re.compile(r"[A-Z_][A-Z0-9_]*")
"""Variables that CCR replaces without braces."""
_SHOWN = 6


def are_set(context: Context) -> Diagnosis:
    """Every variable that a provider needs."""
    try:
        read_keys(context.paths.keys)
    except ConfigError as error:
        return fail(error.what, lines.edit(context.paths.keys))
    providers = context.providers()
    used = {ref.provider for ref in context.profiles.primary.routes.values()}
    findings = []
    for provider in providers:
        for name in provider.unset:
            say = fail if provider.name in used or len(providers) == 1 else warn
            findings.append(
                say(
                    f"{name} is not set, so {provider.name} cannot be used.{_page(provider)}",
                    lines.ask_for(name),
                )
            )
        findings += _odd_value(context, provider)
    if findings:
        return together(findings)
    names = sorted(set(_names(context)))
    return ok(f"{', '.join(names)} set" if names else "no key comes from the environment")


def _odd_value(context: Context, provider: Provider) -> Iterator[Diagnosis]:
    """A key that was pasted with its quotes or a line break, or CCR's placeholder for one."""
    key = provider.key
    if holds_placeholder(key):
        name = next((n for n in _names(context) if context.environ.get(n) == key), "")
        yield fail(
            f"{name or provider.name} holds CCR's placeholder for a key, since this shell was "
            "started below CCR. Use another shell, or keep the key: synccr init.",
            lines.ask_for(name) if name else context.edit(context.profiles.primary),
        )
        return
    if provider.unset or (key == key.strip().strip("\"'") and key.isascii() and key.isprintable()):
        return
    names = [name for name in _names(context) if context.environ.get(name) == key]
    what = f"The key of {provider.name} has quotes, spaces or a line break around it"
    if names:
        clean = f'"$(printf %s "${names[0]}" | tr -d \'[:space:]"\'"\'")"'
        yield fail(f"{what} ({names[0]}).", lines.export(names[0], clean))
    else:
        yield fail(f"{what}.", context.edit(context.profiles.primary))


def _names(context: Context) -> Iterator[str]:
    """Variables that the providers' keys come from."""
    profiles = context.profiles
    for profile in (profiles.primary, profiles.fallback):
        for entry in entries(profile.raw):
            yield from variables(entry.get("api_key"))


def _page(provider: Provider) -> str:
    from urllib.parse import urlsplit

    page = _PAGES.get(urlsplit(provider.url).hostname or "")
    return f" Keys are at {page}." if page else ""


@dataclass(frozen=True)
class _Clear:
    """A key in clear.

    Attributes:
        path: where it stands.
        value: the key.
        name: a variable that holds the same value, if there is one.
        ours: a profile or configuration, in which CCR replaces ``$NAME``.
    """

    path: Path
    value: str = field(repr=False)
    name: str | None
    ours: bool


def in_clear(context: Context) -> Diagnosis:
    """Keys in files, where a ``$NAME`` would do."""
    found = list(_in_clear(context))
    if not found:
        return ok("no key stands in a file")
    return together(
        _one_file(context, path, [c for c in found if c.path == path])
        for path in dict.fromkeys(c.path for c in found)
    )


def _in_clear(context: Context) -> Iterator[_Clear]:
    local = context.local_keys
    secrets = context.secrets.without(local)
    profiles = set(context.key_files())
    for path in dict.fromkeys([*context.key_files(), *_other_files(context)]):
        values = set(secrets.in_file(path))
        ours = path in profiles and "presets" not in path.relative_to(path.anchor).parts
        if path in profiles:
            values |= set(key_fields(path)) - local
        for value in sorted(values):
            yield _Clear(path, value, secrets.values.get(value), ours)


def _other_files(context: Context) -> Iterator[Path]:
    """What else CCR, Claude Code or synccr read and write; logs have a check of their own."""
    paths = context.paths
    yield from paths.ccr.glob("*/*.json")
    yield from (paths.settings, context.home / ".claude.json")
    for directory in (context.home / ".claude", context.cwd / ".claude"):
        yield from directory.glob("settings*.json")
    yield from (context.cwd / ".mcp.json", context.cwd / "CLAUDE.md")
    for directory in (paths.instance, paths.cache):
        yield from (p for p in directory.glob("*.json*") if p.is_file())
    yield from (context.home / ".config" / "systemd" / "user").glob("synccr*.service")
    yield from (context.home / "Library" / "LaunchAgents").glob("*synccr*.plist")


def _one_file(context: Context, path: Path, found: list[_Clear]) -> Diagnosis:
    what = f"{len(found)} keys in clear" if len(found) > 1 else "a key in clear"
    detail = f"{path} holds {what}."
    names = {c.value: c.name for c in found if c.name is not None}
    if not all(c.ours for c in found):
        return fail(f"{detail} Take it out there.", lines.edit(path))
    if len(names) == len(found):
        return fail(
            f"{detail} {_dollar(names.values())} would do.",
            lines.synccr("doctor", "--fix", "keys.clear"),
            lambda: _replace(path, names),
        )
    wanted = _variable_for(context, next(c.value for c in found if not c.name))
    again = lines.synccr("doctor", "--fix", "keys.clear")
    return fail(
        f"{detail} Put it into the environment as {wanted}; then --fix writes ${wanted} instead.",
        f"{lines.ask_for(wanted)} && {again}",
    )


def _dollar(names: Iterable[str]) -> str:
    return ", ".join(sorted({f"${name}" for name in names}))


def _variable_for(context: Context, value: str) -> str:
    """A good name for the variable of a key that has none."""
    for provider in context.providers():
        if provider.key == value:
            return variable_for(provider.name)
    return "PROVIDER_API_KEY"


def _replace(path: Path, names: Mapping[str, str]) -> str:
    content = path.read_bytes()
    for value, name in names.items():
        form = f"${name}" if _BARE.fullmatch(name) else f"${{{name}}}"
        content = content.replace(value.encode(), form.encode())
    write_atomic(path, content)
    return f"{path} says {_dollar(names.values())} instead of the key."


def literal(context: Context) -> Diagnosis:
    """Keys that a profile holds itself: CCR has them as they are, and no placeholder."""
    profiles = context.profiles
    found = {
        name: profile
        for profile in (profiles.fallback, profiles.primary)
        for name in Keyring.of([profile.raw], context.environ).literal
    }
    if context.generation and context.generation.apart:
        return ok("CCR gets no provider's key; all stay with synccr")
    if not found:
        return ok("CCR gets placeholders; the keys stay with synccr")
    return together(
        warn(
            f"The key of {name} stands in {profile.source} and goes through CCR as it is. Write "
            "$NAME there and put the key into keys.env: synccr init",
            f"{context.edit(profile)} && {lines.synccr('init')}",
        )
        for name, profile in found.items()
    )


def exposed(context: Context) -> Diagnosis:
    """Variables with a key that CCR gets as they are, since it needs the value itself."""
    profiles = context.profiles
    found = {
        name: (profile, why)
        for profile in (profiles.fallback, profiles.primary)
        for name, why in Keyring.of([profile.raw], context.environ).exposed.items()
    }
    if not found:
        return ok("CCR needs the value of no key")
    return together(
        warn(
            f"CCR gets {name} as it is, in its environment: {why}. Use it in api_key or in the "
            f"address's query alone ({profile.source}).",
            context.edit(profile),
        )
        for name, (profile, why) in found.items()
    )


def leaks(context: Context) -> Diagnosis:
    """Logs in which a key stands already."""
    secrets = context.secrets.without(context.local_keys)
    found = [path for path in _logs(context) if secrets.logged_in(path)]
    if not found:
        return ok("no key stands in a log")
    live = _being_written(context)
    old = [path for path in found if path not in live]
    advice = "Whoever read them has the key: get a new one from the provider."
    findings = []
    if old:
        fix = lines.synccr("doctor", "--fix", "log.leaks")
        fix = lines.remove(old) if len(old) <= _SHOWN else fix
        names = ", ".join(map(str, old[:_SHOWN])) + (" ..." if len(old) > _SHOWN else "")
        findings.append(fail(f"A key stands in {names}. {advice}", fix, lambda: _remove(old)))
    if len(old) < len(found):
        again = f"{lines.synccr('restart')} && {lines.synccr('doctor', '--fix', 'log.leaks')}"
        names = ", ".join(str(path) for path in found if path in live)
        findings.append(fail(f"A key stands in {names}, which CCR is writing. {advice}", again))
    return together(findings)


def _logs(context: Context) -> Iterator[Path]:
    paths = context.paths
    for pattern in (paths.ccr_logs.glob("*.log*"), paths.ccr.glob("*.log*"), paths.log.glob("*")):
        yield from sorted(path for path in pattern if path.is_file())
    journals = paths.instance.glob("journal*")
    yield from sorted(path for path in journals if path.is_file())


def _being_written(context: Context) -> set[Path]:
    """Logs that a live process has open; on a system that does not tell, the newest."""
    status = context.status
    pids = [read_pid_file(context.paths), status["ccr"]["pid"] if status else None]
    open_now = {
        log
        for pid in pids
        if pid and identify(pid) and (log := find_log(context.paths.ccr_logs, pid, 0.0))
    }
    if status:
        open_now |= set(context.paths.log.glob("*")) | set(context.paths.instance.glob("journal*"))
    return open_now


def _remove(paths: list[Path]) -> str:
    for path in paths:
        path.unlink(missing_ok=True)
    return f"removed {len(paths)} log{'s' if len(paths) > 1 else ''} that held a key."


def accepted(context: Context) -> Diagnosis:
    """Each provider takes its key."""
    reports = context.survey.reports
    findings = []
    for provider in context.providers():
        if provider.unset:
            findings.append(skip(f"{provider.name}: its key is not set"))
            continue
        own = [r for ref, r in reports.items() if ref.provider == provider.name]
        refused = [r for r in own if r.status is Status.AUTH]
        if refused:
            detail = refused[0].detail.rstrip(".")
            findings.append(
                fail(
                    f"{provider.name} refuses the key: {detail}.{_page(provider)}",
                    another_key(context, provider),
                )
            )
        elif any(r.http_status is not None for r in own):
            findings.append(ok(f"{provider.name} takes it"))
        else:
            findings.append(skip(f"{provider.name} could not be asked"))
    return together(findings)


def another_key(context: Context, provider: Provider) -> str:
    """The line that takes another key for a provider."""
    names = [n for n in _names(context) if context.environ.get(n) == provider.key]
    return lines.ask_for(names[0]) if names else context.edit(context.profiles.primary)
