"""Whom we trust: the system's store, certifi's list, and what the environment adds.

Verification is never switched off, whatever ``NODE_TLS_REJECT_UNAUTHORIZED`` says.
"""

from __future__ import annotations

import functools
import itertools
import os
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SYSTEM_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Debian, Fedora, SUSE, Alpine: a Python that was built elsewhere looks at none of them."""

_UNKNOWN_ISSUER: Final = frozenset({18, 19, 20, 21})
"""OpenSSL's codes: self-signed (alone, in the chain), issuer not found, leaf alone."""


@dataclass(frozen=True)
class Trust:
    """A TLS context, and what was wrong with the variables it was made from.

    Attributes:
        context: for every connection; verifies.
        findings: one sentence part for each variable that leads nowhere.
        unverified_wanted: ``NODE_TLS_REJECT_UNAUTHORIZED`` is 0.
    """

    context: ssl.SSLContext
    findings: tuple[str, ...] = ()
    unverified_wanted: bool = False


_lock = threading.Lock()


def shared_trust() -> Trust:
    """The one of this process, made when it is first needed: 30 to 100 ms, so call it in a
    thread where a loop must go on."""
    with _lock:
        return _made_trust()


@functools.cache
def _made_trust() -> Trust:
    return make_trust(os.environ)


def nowhere(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Variables that should name certificates and do not, each with what is wrong."""
    return dict(_load_named(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), environ))


def make_trust(environ: Mapping[str, str]) -> Trust:
    """Trust as the environment has it. A file that is not there is ignored, as Node does."""
    context = _system()
    context.set_alpn_protocols(["http/1.1"])
    # Python 3.13 made it a default of its own; certificates of inspecting proxies lack what it
    # asks for (key usage, a critical basicConstraints), and Node takes them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    findings = tuple(what for _, what in _load_named(context, environ))
    return Trust(context, findings, environ.get("NODE_TLS_REJECT_UNAUTHORIZED") == "0")


def _system() -> ssl.SSLContext:
    if sys.platform in {"darwin", "win32"}:
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Not truststore: on Linux it reads the store anew for each connection.
    import certifi

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    paths = ssl.get_default_verify_paths()
    system = (name for name in (paths.openssl_cafile, *_SYSTEM_FILES) if Path(name).is_file())
    for name in (*itertools.islice(system, 1), certifi.where()):
        _load(context, name)
    if Path(paths.openssl_capath).is_dir():
        context.load_verify_locations(capath=paths.openssl_capath)
    return context


def _load_named(context: ssl.SSLContext, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"):
        if (path := environ.get(name)) and (trouble := _load(context, path)):
            yield name, f"{name} names {path}, which {trouble} and is ignored"
    name = "SSL_CERT_DIR"
    for path in filter(None, environ.get(name, "").split(os.pathsep)):
        if Path(path).is_dir():
            context.load_verify_locations(capath=path)
        else:
            yield name, f"{name} names {path}, which is no directory and is ignored"


def _load(context: ssl.SSLContext, path: str) -> str | None:
    """Trust the certificates of a file; what is wrong with it, or None."""
    try:
        context.load_verify_locations(path)
    except FileNotFoundError:
        return "is not there"
    except ssl.SSLError:
        return "holds no certificate"
    except (OSError, ValueError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    return None


def why_not_trusted(error: ssl.SSLError, trust: Trust) -> str:
    """What a TLS failure means, and what to do where the certificate is the trouble."""
    said = getattr(error, "verify_message", "") or error.reason or str(error)
    parts = [f"TLS: {said.replace('_', ' ').lower() if said.isupper() else said}"]
    if getattr(error, "verify_code", 0) in _UNKNOWN_ISSUER:
        parts.append("the certificate authority of your network goes into NODE_EXTRA_CA_CERTS")
        if trust.unverified_wanted:
            parts.append("NODE_TLS_REJECT_UNAUTHORIZED=0 is not followed")
        parts += trust.findings  # last: a long path may be cut off where this is shown
    return "; ".join(parts)
