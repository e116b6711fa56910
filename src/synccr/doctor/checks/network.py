"""The way to each provider, in steps: name, proxy, connection, clock."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from synccr.config.profile import PROXY_NAMES
from synccr.doctor import lines
from synccr.doctor.context import Context
from synccr.doctor.result import Diagnosis, fail, ok, skip, together, warn
from synccr.errors import ConfigError
from synccr.probe.transport import ProbeReply
from synccr.transport.outbound_proxy import NAMES, is_loopback, parse, proxy_for
from synccr.transport.tls import nowhere

SKEW = 120.0
"""Seconds: quota times are told to the minute."""
BROKEN_SKEW = 3600.0
"""Seconds: certificates that were issued lately count as not yet valid."""

_PORTS = {"http": 80, "https": 443}


def dns(context: Context) -> Diagnosis:
    """Each provider's host has an address."""
    diagnoses = []
    for provider in context.providers():
        host, port = _address(provider.url)
        if way := _way_to(context, provider.url):
            diagnoses.append(skip(f"{provider.name}: the proxy {parse(way)} looks it up"))
            continue
        try:
            found = context.resolve(host, port)
        except socket.gaierror as error:
            diagnoses.append(
                fail(
                    f"{provider.name}: {host} has no address ({error.strerror}). Is the network "
                    "up, and the name in api_base_url right?",
                    _address_line(context, provider.url),
                )
            )
        except (OSError, UnicodeError) as error:
            diagnoses.append(
                fail(f"{provider.name}: {host}: {error}.", context.edit(context.profiles.primary))
            )
        else:
            diagnoses.append(ok(f"{provider.name}: {host} is {found[0][4][0]}"))
    return together(diagnoses)


def connect(context: Context) -> Diagnosis:
    """Each provider's server answers: TCP, TLS, HTTP."""
    diagnoses = []
    for name, answer in context.visits.items():
        if isinstance(answer, ProbeReply):
            diagnoses.append(ok(f"{name} answers in {1000 * answer.seconds:.0f} ms"))
        elif answer.detail.startswith("DNS"):
            diagnoses.append(skip(f"{name}: cannot be looked at before provider.dns is in order"))
        else:
            diagnoses.append(fail(f"{name}: {answer.detail}.", _way(context, name, answer.detail)))
    return together([*diagnoses, *_of_certificates(context)])


def _of_certificates(context: Context) -> Iterator[Diagnosis]:
    """Variables that name no certificates, where there are certificates to verify."""
    if any(provider.url.startswith("https:") for provider in context.providers()):
        for name, what in nowhere(context.environ).items():
            yield warn(f"{what}.", lines.unset([name]))


def _way(context: Context, name: str, trouble: str) -> str:
    """What mends a connection that did not come about."""
    if trouble.startswith("TLS"):
        # The file of a company's certificate authority.
        return lines.ask_for("NODE_EXTRA_CA_CERTS", shown=True)
    if trouble.startswith("the proxy"):
        return _proxy_line(context)
    return _address_line(context, next(p.url for p in context.providers() if p.name == name))


def _address_line(context: Context, url: str) -> str:
    """Where a wrong address is put right; that of a shipped profile is right, so it is tried."""
    if context.profiles.primary.shipped:
        host, port = _address(url)
        return f"curl -sSI {lines.quote(f'{urlsplit(url).scheme}://{host}:{port}/')}"
    return context.edit(context.profiles.primary)


def _proxy_line(context: Context) -> str:
    """Where the proxy that counts is put right."""
    if ccr_proxy(context):
        return context.edit(context.profiles.primary)
    return lines.unset(name for name in NAMES if context.environ.get(name))


def ccr_proxy(context: Context) -> tuple[str, str] | None:
    """The profile's own proxy, which leads to every provider, and the name it stands under."""
    raw = context.profiles.primary.raw
    return next(((name, str(raw[name])) for name in PROXY_NAMES if raw.get(name)), None)


def _way_to(context: Context, url: str) -> str | None:
    """The proxy that leads to a provider; None where there is none, or none that can be used."""
    try:
        return proxy_for(url, context.environ, context.profiles.proxy)
    except (ConfigError, ValueError):  # told by provider.proxy and provider.connect
        return None


def proxy(context: Context) -> Diagnosis:
    """Which proxy leads to the providers, and that the clients know what is on this machine."""
    named = [name for name in NAMES if context.environ.get(name)]
    way = ccr_proxy(context)
    try:
        for provider in context.providers():
            with contextlib.suppress(ValueError):
                proxy_for(provider.url, context.environ, context.profiles.proxy)
    except ConfigError as error:
        return fail(error.what, _proxy_line(context))
    if not named and not way:
        return ok("no proxy")
    diagnoses = [*_of_local(context, way), *_of_clients(context, named)]
    if diagnoses:
        return together(diagnoses)
    ways = {_way_to(context, provider.url) for provider in context.providers()}
    used = sorted(str(parse(url)) for url in ways if url)
    return ok(f"through {', '.join(used)}" if used else "the providers need none")


def _of_local(context: Context, way: tuple[str, str] | None) -> Iterator[Diagnosis]:
    local = [p.name for p in context.providers() if is_loopback(_address(p.url)[0])]
    if way and local:
        profile = context.profiles.primary
        yield fail(
            f"{profile.source}: {', '.join(local)}, which is on this machine, is asked through "
            f"the proxy too: {way[0]} knows no exceptions, as CCR has it. HTTPS_PROXY in the "
            "environment does.",
            context.edit(profile),
        )


def _of_clients(context: Context, named: list[str]) -> Iterator[Diagnosis]:
    environ = context.environ
    name = "no_proxy" if environ.get("no_proxy") else "NO_PROXY"  # clients read it first
    exempt = environ.get(name, "").split(",")
    if named and not {"127.0.0.1", "*"} & {word.strip() for word in exempt}:
        yield warn(
            f"{name} does not name 127.0.0.1, so clients that you start yourself would ask the "
            "proxy for the router (synccr code sets it).",
            lines.export(name, f'"${{{name}:+${name},}}127.0.0.1,localhost"'),
        )


def clock(context: Context) -> Diagnosis:
    """This machine's clock agrees with the providers'."""
    skews = {}
    for name, answer in context.visits.items():
        if isinstance(answer, ProbeReply) and (date := answer.headers.get("date")):
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
