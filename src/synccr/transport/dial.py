"""TCP, proxies and TLS, one on top of the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar, cast

from synccr.redact import printable
from synccr.transport.outbound_proxy import ProxyAddress
from synccr.transport.tls import Trust

if TYPE_CHECKING:
    from python_socks.async_.asyncio.v2 import Proxy

_EYEBALLS: Final = 0.25
"""Seconds before the next address is tried beside the first (RFC 8305)."""
_GRACE: Final = 1.0
"""Seconds that a connection nobody waits for any more may take to come and be dropped."""
_WORDS: Final = 120
"""Characters that are kept of what a proxy says."""

_Made = TypeVar("_Made", bound=asyncio.Protocol)


class ProxyRefusal(Exception):
    """A proxy leads nowhere: its own words, or what caused this.

    Attributes:
        what: what is the matter with it.
    """

    def __init__(self, what: str, words: str = "") -> None:
        super().__init__(words)
        self.what = what


async def dial(make: Callable[[], _Made], host: str, port: int) -> tuple[asyncio.Transport, _Made]:
    """TCP, to the address that answers first.

    asyncio loses a socket when it is cancelled between the race's end and its return, so that
    the race is left alone, and what it brings is dropped.

    Raises:
        OSError: no address answers.
    """
    loop = asyncio.get_running_loop()
    race = loop.create_task(
        loop.create_connection(make, host, port, happy_eyeballs_delay=_EYEBALLS)
    )
    try:
        return await asyncio.shield(race)
    except asyncio.CancelledError:
        race.add_done_callback(_drop)
        loop.call_later(_GRACE, race.cancel)
        raise


def _drop(race: asyncio.Task[tuple[asyncio.Transport, _Made]]) -> None:
    if not race.cancelled() and race.exception() is None:
        race.result()[0].abort()


async def encrypt(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    host: str,
    trust: Callable[[], Trust],
) -> asyncio.Transport:
    """TLS on top of a connection, be it a tunnel within TLS.

    Raises:
        OSError: as ssl.SSLError where the certificate is not trusted.
    """
    try:
        context = (await asyncio.to_thread(trust)).context
        encrypted = await asyncio.get_running_loop().start_tls(
            transport, protocol, context, server_hostname=host
        )
    except BaseException:
        transport.abort()
        raise
    if encrypted is None:
        raise ConnectionResetError("the connection ended within TLS")
    protocol.connection_made(encrypted)
    return encrypted


async def tunnel(
    address: ProxyAddress, host: str, port: int, trust: Callable[[], Trust]
) -> asyncio.Transport:
    """A way through a proxy; python-socks speaks with it, over a stream of ours.

    Raises:
        ProxyRefusal: the proxy is not there, or does not do it.
        TimeoutError: as the loop's.
    """
    from python_socks import ProxyError, ProxyType
    from python_socks.async_.asyncio.v2 import Proxy

    kinds = {"http": ProxyType.HTTP, "https": ProxyType.HTTP}
    kinds |= {"socks4": ProxyType.SOCKS4, "socks4a": ProxyType.SOCKS4}
    dialer = _Dialer(address, trust)
    proxy = Proxy(
        kinds.get(address.scheme, ProxyType.SOCKS5),
        address.host,
        address.port,
        address.user,
        address.password,
        # Behind a company's proxy names often have no address on this side.
        rdns=address.scheme != "socks4",
        forward=cast("Proxy", dialer),
    )
    try:
        await proxy.connect(host, port)
    except ProxyError as error:
        raise ProxyRefusal("refused", printable(str(error))[:_WORDS]) from None
    except EOFError:
        raise ProxyRefusal("refused", "it ended the connection") from None
    except (TimeoutError, ProxyRefusal):
        raise
    except (OSError, ValueError) as error:
        raise ProxyRefusal("failed") from error
    return dialer.transport


class _Dialer:
    """The connection to a proxy, in the form in which python-socks asks for one."""

    transport: asyncio.Transport

    def __init__(self, address: ProxyAddress, trust: Callable[[], Trust]) -> None:
        self._address = address
        self._trust = trust
        self._reader = asyncio.StreamReader()

    async def connect(self, dest_host: str, dest_port: int) -> _Dialer:
        protocol = asyncio.StreamReaderProtocol(self._reader)
        try:
            if self._address.scheme == "https":
                below, _ = await dial(asyncio.Protocol, dest_host, dest_port)
                self.transport = await encrypt(below, protocol, dest_host, self._trust)
            else:
                self.transport, _ = await dial(lambda: protocol, dest_host, dest_port)
        except TimeoutError:
            raise
        except OSError as error:
            raise ProxyRefusal("cannot be reached") from error
        return self

    async def write(self, data: bytes) -> None:
        self.transport.write(data)

    async def read(self, max_bytes: int = 65_536) -> bytes:
        return await self._reader.read(max_bytes)

    async def read_exactly(self, n: int) -> bytes:
        return await self._reader.readexactly(n)

    async def close(self) -> None:
        """At once: TLS would wait for the other side's farewell."""
        self.transport.abort()
