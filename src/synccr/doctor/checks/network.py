"""The way to each provider, in steps: name, proxy, connection, clock."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from synccr.doctor import lines
from synccr.doctor.context import Context
from synccr.doctor.json_text import set_value
from synccr.doctor.result import Finding, fail, ok, skip, together, warn
from synccr.errors import ConfigError
from synccr.profiles import PROXY_NAMES

SKEW = 120.0
"""Seconds: quota times are told to the minute."""
BROKEN_SKEW = 3600.0
"""Seconds: certificates that were issued lately count as not yet valid."""

_PORTS = {"http": 80, "https": 443}


def dns(context: Context) -> Finding:
    """Each provider's host has an address."""
    findings = []
    for provider in context.providers():
        host, port = _address(provider.url)
        if way := ccr_proxy(context):
            findings.append(skip(f"{provider.name}: the proxy {_shown(way[1])} looks it up"))
            continue
        try:
            found = context.resolve(host, port)
        except socket.gaierror as error:
            findings.append(
                fail(
                    f"{provider.name}: {host} has no address ({error.strerror}). Is the network "
                    "up, and the name in api_base_url right?",
                    _address_line(context, provider.url),
                )
            )
        except (OSError, UnicodeError) as error:
            findings.append(
                fail(f"{provider.name}: {host}: {error}.", context.edit(context.profiles.primary))
            )
        else:
            findings.append(ok(f"{provider.name}: {host} is {found[0][4][0]}"))
    return together(findings)


def connect(context: Context) -> Finding:
    """Each provider's server answers: TCP, TLS, HTTP."""
    from synccr.preflight.transport import Reply

    findings = []
    for name, answer in context.visits.items():
        if isinstance(answer, Reply):
            findings.append(ok(f"{name} answers in {1000 * answer.seconds:.0f} ms"))
        elif answer.detail.startswith("DNS"):
            findings.append(skip(f"{name}: cannot be looked at before provider.dns is in order"))
        else:
            findings.append(fail(f"{name}: {answer.detail}.", _way(context, name, answer.detail)))
    return together(findings)


def _way(context: Context, name: str, trouble: str) -> str:
    """What mends a connection that did not come about."""
    if trouble.startswith("TLS"):
        # The file of a company's certificate authority: CCR (Node) and synccr both take it.
        return lines.ask_for("NODE_EXTRA_CA_CERTS", shown=True)
    if proxies := [name for name in _PROXIES if context.environ.get(name)]:
        return lines.unset(proxies)
    return _address_line(context, next(p.url for p in context.providers() if p.name == name))


def _address_line(context: Context, url: str) -> str:
    """Where a wrong address is put right; that of a shipped profile is right, so it is tried."""
    if context.profiles.primary.shipped:
        host, port = _address(url)
        return f"curl -sSI {lines.quote(f'{urlsplit(url).scheme}://{host}:{port}/')}"
    return context.edit(context.profiles.primary)


_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def ccr_proxy(context: Context) -> tuple[str, str] | None:
    """The proxy that CCR sends every provider's requests through, and the name it stands under."""
    raw = context.profiles.primary.raw
    return next(((name, str(raw[name])) for name in PROXY_NAMES if raw.get(name)), None)


def proxy(context: Context) -> Finding:
    """The proxy variables mean the same to CCR and to Claude Code."""
    from synccr.preflight.transport import make_client

    named = [name for name in _PROXIES if context.environ.get(name)]
    way = ccr_proxy(context)
    try:
        make_client(context.providers(), proxy=context.profiles.proxy)
    except ConfigError as error:
        profile = context.profiles.primary
        return fail(error.what, context.edit(profile) if way else lines.unset(["SSL_CERT_FILE"]))
    if not named and not way:
        return ok("no proxy")
    findings = [*_of_ccr(context, way, named), *_of_clients(context, named)]
    if findings:
        return together(findings)
    return ok(f"CCR goes through {_shown(way[1])}" if way else "CCR needs none")


def _of_ccr(context: Context, way: tuple[str, str] | None, named: list[str]) -> Iterator[Finding]:
    from synccr.transport.proxies import is_loopback

    providers, profile = context.providers(), context.profiles.primary
    local = [p.name for p in providers if is_loopback(_address(p.url)[0])]
    if way and way[1].lower().startswith("socks"):
        yield fail(
            f"{profile.source}: CCR cannot use a SOCKS proxy ({way[0]}: {_shown(way[1])}).",
            context.edit(profile),
        )
    elif way and local:
        yield fail(
            f"{profile.source}: CCR sends {', '.join(local)}, which is on this machine, through "
            f"the proxy {_shown(way[1])} too ({way[0]}): it knows no exceptions.",
            context.edit(profile),
        )
    elif not way and named and len(local) < len(providers):
        yield _not_read(context, named[0])


def _not_read(context: Context, name: str) -> Finding:
    """A proxy that the shell knows and CCR does not."""
    value, profile = context.environ[name], context.profiles.primary
    what = (
        f"CCR does not read {name} from the environment and goes to the provider without the "
        'proxy; it reads "PROXY_URL" of its configuration.'
    )
    unusable = value.lower().startswith("socks") or "@" in value  # a password is for no file
    if profile.shipped or unusable:
        return warn(what, context.edit(profile))
    path = Path(profile.source)

    def mend() -> str:
        set_value(path, "PROXY_URL", value)
        return f"PROXY_URL stands in {path}."

    return warn(what, lines.synccr("doctor", "--fix", "provider.proxy"), mend)


def _of_clients(context: Context, named: list[str]) -> Iterator[Finding]:
    environ = context.environ
    exempt = (environ.get("NO_PROXY") or environ.get("no_proxy") or "").split(",")
    if named and not {"127.0.0.1", "*"} & {word.strip() for word in exempt}:
        yield warn(
            "NO_PROXY does not name 127.0.0.1, so clients that you start yourself would ask the "
            "proxy for the router (synccr code sets it).",
            lines.export("NO_PROXY", '"${NO_PROXY:+$NO_PROXY,}127.0.0.1,localhost"'),
        )


def clock(context: Context) -> Finding:
    """This machine's clock agrees with the providers'."""
    from synccr.preflight.transport import Reply

    skews = {}
    for name, answer in context.visits.items():
        if isinstance(answer, Reply) and (date := answer.headers.get("date")):
            try:
                skews[name] = (context.now() - parsedate_to_datetime(date)).total_seconds()
            except (TypeError, ValueError):
                continue
    if not skews:
        return skip("no provider told its time")
    name, skew = min(skews.items(), key=lambda item: abs(item[1]))
    if abs(skew) <= SKEW:
        return ok(f"within {abs(skew):.0f} s of {name}")
    fix = {
        "darwin": "sudo sntp -sS time.apple.com",
        "win32": "w32tm /resync",
    }.get(sys.platform, "sudo timedatectl set-ntp true")
    what = (
        f"This machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {name}"
    )
    if abs(skew) > BROKEN_SKEW:
        return fail(f"{what}: certificates and quota times are judged wrongly.", fix)
    return warn(f"{what}.", fix)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    return parts.hostname or "", port or _PORTS.get(parts.scheme, 443)


def _shown(url: str) -> str:
    """A proxy without its password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.scheme else url
