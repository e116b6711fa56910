"""What the transport tests share: a receiver that keeps what it hears, and tiny servers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from synccr.transport import Broken, CannotReach, Outgoing, Transport
from synccr.transport.messages import Headers

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Heard:
    """A receiver."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self.failure: CannotReach | Broken | None = None
        self.ends = 0
        self.over = asyncio.Event()
        self.begun = asyncio.Event()

    @property
    def bytes(self) -> bytes:
        return b"".join(self.pieces)

    def head(self, status: int, headers: Headers) -> None:
        assert not self.over.is_set()
        self.status, self.headers = status, dict(headers)

    def body(self, data: bytes) -> None:
        assert not self.over.is_set()
        self.pieces.append(data)
        self.begun.set()

    def end(self) -> None:
        self.ends += 1
        self.over.set()

    def cut(self, failure: CannotReach | Broken) -> None:
        self.failure = failure
        self.ends += 1
        self.over.set()


async def ask(transport: Transport, url: str, body: bytes = b"", **options: str) -> Heard:
    """One request, to its end."""
    heard = Heard()
    transport.start(Outgoing("POST" if body else "GET", url, (), body), heard, **options)
    await asyncio.wait_for(heard.over.wait(), 10)
    await asyncio.sleep(0)
    assert heard.ends == 1
    return heard


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


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of a request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    return head, await reader.readexactly(length)


def answering(*answers: bytes, keep: bool = True) -> Handler:
    """Each request gets the next answer, the last one for ever; then the end or the next one."""
    left = list(answers)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()
            if not keep:
                return

    return handler


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


class ConnectProxy:
    """A CONNECT proxy that knows every name as this machine, and keeps what it was asked."""

    def __init__(self, *, needs: bytes = b"", refusal: bytes = b"") -> None:
        self.needs = needs
        self.refusal = refusal
        self.asked: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
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
subjectAltName=DNS:localhost,DNS:provider.test,IP:127.0.0.1
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
