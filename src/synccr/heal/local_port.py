"""The second pass: the port that clients know, who may use it, and the proxies."""

from __future__ import annotations

from collections.abc import Iterator

from synccr.config.profile import PROXY_NAMES, Local, Profile
from synccr.heal.change import Write, write

_LOOPBACK = "127.0.0.1"
_KEY = "(a key)"
_PROXY = "(a proxy)"


def write_port(profile: Profile, local: Local) -> Iterator[Write]:
    """``PORT``, ``APIKEY`` and ``HOST``, as far as they are not so already."""
    raw, key, wanted = profile.raw, profile.api_key_text, local.api_key or None
    if local.port != profile.port:
        reason = "the port that clients know"
        yield write("PORT", before=raw.get("PORT"), value=local.port, reason=reason)
    if wanted != key:
        reason = (
            "only programs that know it may use the local port"
            if wanted
            else "the primary profile has none, and clients run without one"
        )
        yield write("APIKEY", before=key, value=wanted, reason=reason, secret=_KEY)
    if raw.get("HOST") not in (None, "", _LOOPBACK):
        reason = "synccr listens there itself and passes requests on to CCR"
        yield write("HOST", before=raw["HOST"], value=_LOOPBACK, reason=reason)


def drop_proxies(profile: Profile) -> Iterator[Write]:
    """Proxies that CCR's own agent refuses, and every request with them: synccr uses them."""
    for name in PROXY_NAMES:
        proxy = profile.raw.get(name)
        if isinstance(proxy, str) and proxy and not proxy.lower().startswith(("http:", "https:")):
            reason = "synccr goes through it itself; CCR knows HTTP proxies only"
            yield write(name, before=proxy, value=None, reason=reason, secret=_PROXY)
