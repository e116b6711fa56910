"""The public port: bound before anything else, and whose it is when it is taken."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import socket
import sys
from collections.abc import Callable
from typing import Any

from synccr.errors import SynccrError, Taken
from synccr.ports import listener_of
from synccr.proxy import Guard, Response, error
from synccr.proxy.framing import Head
from synccr.proxy.own_answers import path_of

_FILES = 65536
_OWN_FILES = 40
_FILES_A_CLIENT = 4
_NAMES = ("127.0.0.1", "localhost", "[::1]")
_STRANGE = (
    "A page of another origin may not use this router; "
    "to allow it, set an APIKEY in the profile and send it."
)
_OPEN = (b"/", b"/health")
"""Paths for which CCR 2.0.0 asks for no key."""
_CLOSED = (b"/__ccr/", b"/v1/oauth/")


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket.

    Raises:
        Taken: another process listens there; says which, as far as the system tells.
        SynccrError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform != "win32":  # there it would let two programs share a port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            owner = listener_of(port)
            raise Taken(
                f"Port {port} is taken by {owner or 'another process'}.",
                "End that, or choose another port: synccr start --port N",
            ) from error
        raise SynccrError(
            f"Port {port} of {host} cannot be used: {error.strerror}.",
            "Choose another: synccr start --port N",
        ) from error
    return listener


def most_clients() -> int:
    """How many clients there may be at one time, so that files are left for a swap.

    Takes as many open files as this user may have, as Node does: a client needs four, two of
    them for its provider request.
    """
    if sys.platform == "win32":
        return _FILES // _FILES_A_CLIENT
    else:
        import resource

        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES if most == resource.RLIM_INFINITY else min(most, _FILES)
        with contextlib.suppress(OSError, ValueError):
            if now < wanted:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return max(4, (min(allowed, _FILES) - _OWN_FILES) // _FILES_A_CLIENT)


def exhaustion_told(
    tell: Callable[[str, str, str, bool], None],
) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """For the event loop: without files left new clients wait outside, which is one line and
    no traceback each time."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            tell("error_seen", f"New clients have to wait: {error.strerror}.", "", False)
        else:
            loop.default_exception_handler(context)

    return handle


def browser_guard(port: int, host: str = "127.0.0.1") -> Guard:
    """Refuses what a web page makes a browser send here; for a port without an ``APIKEY``,
    where nothing else would stop it.

    A page can send requests to 127.0.0.1 under a name of its own (DNS rebinding): the
    ``Host`` must be a name of this machine's loopback, unless the port is open to other
    machines. And it can send simple requests across origins, as CCR takes a body of any
    type: what names another ``Origin``, or another site as its start, is refused. CCR's own
    page, and clients that are no browser and name neither, pass.
    """
    names = {f"{name}:{port}".encode() for name in _NAMES} | {n.encode() for n in _NAMES}
    local = host in ("127.0.0.1", "::1", "localhost")

    def guard(method: bytes, _target: bytes, head: Head) -> Response | None:
        addressed = (head.get(b"host") or b"").lower()
        if local and addressed and addressed not in names:
            return error(403, f"This address is not known here; use http://127.0.0.1:{port}")
        origin = head.get(b"origin")
        own = b"http://" + addressed if addressed else b""
        if origin is not None and (not own or origin.lower() != own):
            return error(403, _STRANGE)
        site = head.get(b"sec-fetch-site")
        walked = method == b"GET" and head.get(b"sec-fetch-mode") == b"navigate"  # a link
        if site in (b"cross-site", b"same-site") and not walked:
            return error(403, _STRANGE)
        return None

    return guard


def page_refusal(head: Head, port: int, api_key: str | None) -> tuple[int, str] | None:
    """Why CCR would not let its page's requests in, as status and text; None when it would.

    With an ``APIKEY`` CCR asks for it; without one it takes them from its own pages
    and from programs, which send no ``Origin``.
    """
    if not api_key:
        own = {f"http://{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}
        origin = head.get(b"origin")
        foreign = origin is not None and origin not in own
        return (403, "CORS not allowed for this origin") if foreign else None
    return _key_refusal(head, api_key)


def key_guard(api_key: str) -> Guard:
    """Ask for the ``APIKEY`` as CCR 2.0.0 does, in the place of a CCR that knows it not."""

    def guard(_method: bytes, target: bytes, head: Head) -> Response | None:
        refusal = None if path_of(target) in _OPEN else _key_refusal(head, api_key)
        return error(*refusal) if refusal else None

    return guard


def closed_path(target: bytes) -> Response | None:
    """Refuse what CCR 3 has beside the model interface on its port: remote control and logins,
    which its own key opens, and the proxy shows that for everybody."""
    closed = path_of(target).startswith(_CLOSED)
    return error(404, "There is nothing at this address.") if closed else None


def _key_refusal(head: Head, api_key: str) -> tuple[int, str] | None:
    given = head.get(b"authorization") or head.get(b"x-api-key")
    if not given:
        return 401, "APIKEY is missing"
    token = given.removeprefix(b"Bearer").strip()
    return None if hmac.compare_digest(token, api_key.encode()) else (401, "Invalid API key")
