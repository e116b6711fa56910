"""Making a connection: directly, or through a proxy, with TLS on top."""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from collections.abc import Callable
from socket import gaierror
from typing import Final

from synccr.transport.connection import Connection
from synccr.transport.messages import CannotReach, Target
from synccr.transport.proxies import ProxyAddress, parse
from synccr.transport.tls import Trust, why_not_trusted

_EYEBALLS: Final = 0.25
"""Seconds before the next address is tried beside the first (RFC 8305)."""


class Failed(Exception):
    """No connection came about."""

    def __init__(self, failure: CannotReach) -> None:
        super().__init__(failure.detail)
        self.failure = failure


async def connect(
    target: Target,
    proxy: str | None,
    *,
    make: Callable[[], Connection],
    trust: Callable[[], Trust],
    timeout: float,
) -> Connection:
    """A connection that is ready for a request.

    Args:
        target: where to.
        proxy: of ``proxy_for``.
        make: makes the protocol.
        trust: tells whom to trust; called only where TLS is spoken.
        timeout: seconds for all of it.

    Raises:
        Failed: says why.
    """
    try:
        async with asyncio.timeout(timeout):
            if proxy is None:
                return await _direct(target, make, trust)
            return await _through(parse(proxy), target, make, trust)
    except TimeoutError:
        detail = "the connection was not established in time"
        if proxy is not None:
            detail += f" (through the proxy {parse(proxy)})"
        raise Failed(CannotReach("timeout", detail)) from None
    except (OSError, UnicodeError) as error:
        raise Failed(_meaning(error, trust)) from error


async def _direct(
    target: Target, make: Callable[[], Connection], trust: Callable[[], Trust]
) -> Connection:
    tls = target.scheme == "https"
    _, connection = await asyncio.get_running_loop().create_connection(
        make,
        target.host,
        target.port,
        ssl=trust().context if tls else None,
        server_hostname=target.host if tls else None,
        happy_eyeballs_delay=_EYEBALLS,
    )
    return connection


async def _through(
    address: ProxyAddress,
    target: Target,
    make: Callable[[], Connection],
    trust: Callable[[], Trust],
) -> Connection:
    from python_socks import ProxyConnectionError, ProxyError, ProxyType
    from python_socks.async_.asyncio.v2 import Proxy

    kinds = {"http": ProxyType.HTTP, "https": ProxyType.HTTP}
    kinds |= {"socks4": ProxyType.SOCKS4, "socks4a": ProxyType.SOCKS4}
    proxy = Proxy(
        kinds.get(address.scheme, ProxyType.SOCKS5),
        address.host,
        address.port,
        address.user,
        address.password,
        # Behind a company's proxy names often have no address on this side.
        rdns=address.scheme != "socks4",
        proxy_ssl=trust().context if address.scheme == "https" else None,
    )
    try:
        tunnel = await proxy.connect(target.host, target.port)
    except ProxyConnectionError as error:
        why = _meaning(error.__cause__ or error, trust).detail
        raise _refused(f"the proxy {address} cannot be reached: {why}") from error
    except ProxyError as error:
        raise _refused(f"the proxy {address} refused: {_one_line(error)}") from error
    except TimeoutError:
        raise
    except (OSError, ValueError) as error:
        why = _meaning(error, trust).detail
        raise _refused(f"the proxy {address} failed: {why}") from error
    connection = make()
    connection.tunnel = tunnel
    transport: asyncio.WriteTransport | None = tunnel.writer.transport
    try:
        if target.scheme == "https":
            transport = await asyncio.get_running_loop().start_tls(
                tunnel.writer.transport,
                connection,
                trust().context,
                server_hostname=target.host,
            )
        if transport is None:
            raise ConnectionResetError("the connection ended within TLS")
    except BaseException:
        tunnel.writer.transport.abort()
        raise
    transport.set_protocol(connection)
    connection.connection_made(transport)
    return connection


def _refused(detail: str) -> Failed:
    return Failed(CannotReach("proxy", detail))


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split())
    return "".join(sign if sign.isprintable() else "?" for sign in words)[:120]


def _meaning(error: BaseException, trust: Callable[[], Trust]) -> CannotReach:
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
