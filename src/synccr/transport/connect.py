"""A connection that is ready for a request, or why there is none."""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from collections.abc import Callable
from socket import gaierror

from synccr.transport.connection import ProviderConnection
from synccr.transport.dial import ProxyRefusal, dial, encrypt, tunnel
from synccr.transport.http_types import CannotReach, Target
from synccr.transport.outbound_proxy import NamedProxy, parse
from synccr.transport.tls import Trust, why_not_trusted


class ConnectFailed(Exception):
    """No connection came about."""

    def __init__(self, failure: CannotReach) -> None:
        super().__init__(failure.detail)
        self.failure = failure


async def connect(
    target: Target,
    proxy: NamedProxy | None,
    *,
    make: Callable[[], ProviderConnection],
    trust: Callable[[], Trust],
    timeout: float,
) -> ProviderConnection:
    """A connection that is ready for a request.

    Args:
        target: where to.
        proxy: of ``named_proxy_for``.
        make: makes the protocol.
        trust: tells whom to trust; called only where TLS is spoken.
        timeout: seconds for all of it.

    Raises:
        ConnectFailed: says why.
    """
    try:
        async with asyncio.timeout(timeout):
            if proxy is None:
                return await _direct(target, make, trust)
            return await _through(proxy, target, make, trust)
    except TimeoutError:
        detail = "the connection was not established in time"
        if proxy is not None:
            detail += f" through the proxy {proxy}"
        raise ConnectFailed(CannotReach("timeout", detail)) from None
    except (OSError, UnicodeError) as error:
        raise ConnectFailed(meaning(error, trust)) from error


async def _direct(
    target: Target, make: Callable[[], ProviderConnection], trust: Callable[[], Trust]
) -> ProviderConnection:
    if target.scheme == "http":
        _, connection = await dial(make, target.host, target.port)
        return connection
    transport, _ = await dial(asyncio.Protocol, target.host, target.port)
    connection = make()
    await encrypt(transport, connection, target.host, trust)
    return connection


async def _through(
    proxy: NamedProxy,
    target: Target,
    make: Callable[[], ProviderConnection],
    trust: Callable[[], Trust],
) -> ProviderConnection:
    try:
        transport = await tunnel(parse(proxy.url), target.host, target.port, trust)
    except ProxyRefusal as error:
        why = str(error) if error.__cause__ is None else meaning(error.__cause__, trust).detail
        detail = f"the proxy {proxy} {error.what}: {why}"
        raise ConnectFailed(CannotReach("proxy", detail)) from error
    connection = make()
    if target.scheme == "https":
        await encrypt(transport, connection, target.host, trust)
    else:
        transport.set_protocol(connection)
        connection.connection_made(transport)
    return connection


def meaning(error: BaseException, trust: Callable[[], Trust]) -> CannotReach:
    if isinstance(error, gaierror):
        return CannotReach("dns", f"DNS: the host was not found ({error.strerror or error})")
    if isinstance(error, UnicodeError):
        return CannotReach("dns", "DNS: the host's name cannot be asked for")
    if isinstance(error, ssl.SSLError):
        return CannotReach("tls", why_not_trusted(error, trust()))
    # Several addresses failed: asyncio tells of all of them in words alone.
    numbers = {int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))}
    if isinstance(error, ConnectionRefusedError) or numbers == {errno.ECONNREFUSED}:
        return CannotReach("refused", "refused: nothing listens there")
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return CannotReach("network", f"no connection: {said}")
