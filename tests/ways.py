"""Ways to a provider, as companies have them: servers with their own CA, forward proxies."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

_T = TypeVar("_T")

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Listens on loopback; ``taken`` counts connections."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.taken = 0
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        self.writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.handler(reader, writer)
        writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextlib.asynccontextmanager
async def serving(
    handler: Handler, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """A server with this handler; its connections are dropped at the end."""
    server = Server(handler)
    listener = await asyncio.start_server(server.serve, host, 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for writer in server.writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)


class ServingThread:
    """A thread in which servers run, while a ``with`` block does."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._servers = contextlib.AsyncExitStack()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._servers.aclose())
        self._do(_end_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(
        self, handler: Handler, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> Server:
        """A server with this handler, until the block ends."""
        return self._do(self._servers.enter_async_context(serving(handler, host=host, tls=tls)))

    def drop(self, server: Server) -> None:
        """End all its connections."""

        async def drop() -> None:
            for writer in server.writers:
                writer.transport.abort()
            server.writers.clear()
            await asyncio.sleep(0.05)

        self._do(drop())

    def _do(self, what: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)


async def _end_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes of one direction."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def through(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, reply: bytes
) -> None:
    """Connect to a port of this machine, say so, and pass bytes on."""
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(reply)
    await asyncio.gather(relay(reader, far_writer), relay(far_reader, writer))


def forwarding(port: int) -> Handler:
    """Pass bytes on to a port of this machine: with TLS in front, what ends it there."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await through(reader, writer, port, b"")

    return handler


class ConnectProxy:
    """A CONNECT proxy that knows every name as this machine, and keeps what it was asked."""

    def __init__(self, *, needs: bytes = b"", refusal: bytes = b"") -> None:
        self.needs = needs
        self.refusal = refusal
        self.asked: list[bytes] = []
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        self.asked.append(head.split(b"\r\n")[0])
        if self.refusal or self.needs not in head:
            writer.write(self.refusal or b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        port = int(head.split()[1].rpartition(b":")[2])
        await through(reader, writer, port, b"HTTP/1.1 200 Connection established\r\n\r\n")


class SocksProxy:
    """SOCKS5 with a name and a password, or SOCKS4; keeps the host it was asked for."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.login = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) == b"\x04":
            rest = await reader.readexactly(7)
            await reader.readuntil(b"\0")
            name = await reader.readuntil(b"\0") if rest[3:6] == b"\0\0\0" else b""
            self.asked.append(name[:-1] or b".".join(b"%d" % byte for byte in rest[3:]))
            port = int.from_bytes(rest[1:3], "big")
            await through(reader, writer, port, b"\x00\x5a" + bytes(6))
            return
        await reader.readexactly((await reader.readexactly(1))[0])
        writer.write(b"\x05\x02")
        await reader.readexactly(1)
        name = await reader.readexactly((await reader.readexactly(1))[0])
        word = await reader.readexactly((await reader.readexactly(1))[0])
        self.login = name + b":" + word
        writer.write(b"\x01\x00")
        kind = (await reader.readexactly(4))[3]
        size = (await reader.readexactly(1))[0] if kind == 3 else 4
        self.asked.append(await reader.readexactly(size))
        port = int.from_bytes(await reader.readexactly(2), "big")
        await through(reader, writer, port, b"\x05\x00\x00\x01" + bytes(6))


_CA = """[req]
distinguished_name=dn
prompt=no
x509_extensions=ca
[dn]
CN=Inspecting box
[ca]
basicConstraints=CA:TRUE
[leaf]
subjectAltName=DNS:localhost,DNS:provider.test,IP:127.0.0.1,IP:::1
"""


def make_authority(where: Path) -> tuple[Path, ssl.SSLContext]:
    """A CA as inspecting boxes make it (no key usage, basicConstraints not critical), and a
    server's context with a leaf of it for localhost and provider.test."""
    (where / "openssl.cnf").write_text(_CA, "ascii")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=where, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    cnf = ("-config", "openssl.cnf")
    openssl("req", "-x509", *key, *cnf, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2")
    openssl("req", "-new", *key, *cnf, "-keyout", "leaf.key", "-out", "leaf.csr")
    signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    extensions = ("-extfile", "openssl.cnf", "-extensions", "leaf")
    openssl("x509", "-req", "-in", "leaf.csr", *signer, *extensions, "-out", "leaf.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(where / "leaf.pem", where / "leaf.key")
    return where / "ca.pem", context
