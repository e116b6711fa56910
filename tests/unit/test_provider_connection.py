"""The HTTP side of the embedded provider, byte by byte."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from provider.connection import Ending, TroubledConnection, TroubledReply
from synccr.demo.server import HttpConnection, HttpRequest


class Server:
    """A listener whose replies are chosen by path and which keeps the requests."""

    def __init__(self, replies: dict[str, TroubledReply]) -> None:
        self.replies = replies
        self.requests: list[HttpRequest] = []
        self.connections: set[HttpConnection] = set()
        self.port = 0

    def handle(self, request: HttpRequest) -> TroubledReply:
        self.requests.append(request)
        return self.replies.get(request.path, TroubledReply(body=request.path.encode()))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, data: bytes) -> bytes:
        """All that comes back for ``data`` on one connection until it closes."""
        reader, writer = await self.connect()
        writer.write(data)
        try:
            return await reader.read()
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    replies = {
        "/stream": TroubledReply(pieces=[b"one", b"two"]),
        "/slow-stream": TroubledReply(pieces=[b"one", b"two"], chunk_delay=0.01),
        "/cut-stream": TroubledReply(pieces=[b"one", b"two"], ending=Ending.CUT),
        "/cut": TroubledReply(body=b"0123456789", ending=Ending.CUT),
        "/late": TroubledReply(body=b"late", delay=0.05),
        "/reset": TroubledReply(ending=Ending.RESET),
        "/silent": TroubledReply(ending=Ending.SILENT),
        "/header": TroubledReply(status=529, headers={"retry-after": "7"}),
    }
    made = Server(replies)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: TroubledConnection(made.handle, made.connections), "127.0.0.1", 0
    )
    made.port = listener.sockets[0].getsockname()[1]
    yield made
    listener.close()
    for connection in list(made.connections):
        connection.abort()
    await asyncio.sleep(0)


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: x", *headers, "", ""]).encode()


LAST = "connection: close"


async def test_a_body_has_its_length_and_close_is_announced(server: Server) -> None:
    """A plain reply carries content-length; the last one says that the connection closes."""
    answer = await server.exchange(get("/abc", LAST))
    assert answer == (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\n/abc")


async def test_requests_on_one_connection_are_answered_in_order(server: Server) -> None:
    """Pipelined requests wait for a slow one before them and keep their order."""
    answer = await server.exchange(get("/late") + get("/a") + get("/b", LAST))
    assert [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [
        b"late",
        b"/a",
        b"/b",
    ]


async def test_a_request_may_arrive_byte_by_byte(server: Server) -> None:
    """Header and body are put together from whatever pieces the network makes."""
    reader, writer = await server.connect()
    for byte in get("/x?key=v", "content-length: 3", LAST, method="POST") + b"abc":
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    await reader.read()
    writer.close()
    (request,) = server.requests
    assert (request.method, request.path, request.query, request.body) == (
        "POST",
        "/x",
        "key=v",
        b"abc",
    )


async def test_a_chunked_request_body_is_joined(server: Server) -> None:
    """A client may send its body chunked."""
    body = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    await server.exchange(get("/x", "transfer-encoding: chunked", LAST, method="POST") + body)
    assert server.requests[0].body == b"abcde"


async def test_header_names_are_lower_case(server: Server) -> None:
    """Header names arrive in one case whatever the client writes."""
    await server.exchange(get("/x", "X-API-Key: Abc", LAST))
    assert server.requests[0].headers["x-api-key"] == "Abc"


@pytest.mark.parametrize("path", ["/stream", "/slow-stream"])
async def test_a_stream_is_chunked_and_ended(server: Server, path: str) -> None:
    """A stream is one chunk a piece and ends with the empty chunk, with delays or without."""
    answer = await server.exchange(get(path, LAST))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert b"content-length" not in head
    assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_a_cut_stream_has_no_end_mark(server: Server) -> None:
    """A cut stream closes after its pieces, which a client can tell from an end."""
    answer = await server.exchange(get("/cut-stream"))
    assert answer.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n")


async def test_a_cut_body_is_shorter_than_it_says(server: Server) -> None:
    """A cut body announces its whole length and stops half-way."""
    answer = await server.exchange(get("/cut"))
    assert answer.endswith(b"content-length: 10\r\n\r\n01234")


async def test_a_reset_is_no_clean_end(server: Server) -> None:
    """Reset means RST, not the end of the stream."""
    with pytest.raises(ConnectionResetError):
        await server.exchange(get("/reset"))


async def test_a_silent_reply_leaves_the_connection_open(server: Server) -> None:
    """Never means: accepted, no byte, not closed, and nothing after it either."""
    reader, writer = await server.connect()
    writer.write(get("/silent") + get("/a"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    assert [request.path for request in server.requests] == ["/silent"]
    assert len(server.connections) == 1
    writer.close()


async def test_a_head_request_gets_no_body(server: Server) -> None:
    """HEAD brings the header alone, so that the connection can go on."""
    answer = await server.exchange(get("/a", method="HEAD") + get("/b", LAST))
    first, second = answer.split(b"HTTP/1.1 200 OK")[1:]
    assert first.endswith(b"content-length: 2\r\n\r\n")
    assert second.endswith(b"/b")


async def test_a_client_that_asks_before_a_large_body_is_told_to_go_on(server: Server) -> None:
    """``Expect: 100-continue`` is answered before the body is there."""
    reader, writer = await server.connect()
    writer.write(get("/x", "expect: 100-continue", "content-length: 2", LAST, method="POST"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"ok")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_status_and_headers_go_out(server: Server) -> None:
    """An unusual status and own headers are sent."""
    answer = await server.exchange(get("/header", LAST))
    assert answer.startswith(b"HTTP/1.1 529 Site is overloaded\r\nretry-after: 7\r\n")


async def test_what_is_no_http_is_refused(server: Server) -> None:
    """Bytes that are no request get 400 and the connection closes."""
    answer = await server.exchange(b"\x16\x03\x01 hello\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_good_requests_before_a_bad_one_are_answered(server: Server) -> None:
    """Trouble in a later request takes nothing from the one before it."""
    answer = await server.exchange(get("/late") + get("/a") + b"nonsense\r\n\r\n")
    assert b"/a" in answer
    assert b"HTTP/1.1 400 " in answer


async def test_a_client_that_leaves_ends_its_reply(server: Server) -> None:
    """A connection lost during a slow reply takes the reply's task with it."""
    before = asyncio.all_tasks()
    _, writer = await server.connect()
    server.replies["/late"] = TroubledReply(body=b"late", delay=60)
    writer.write(get("/late"))
    while not server.requests:
        await asyncio.sleep(0.01)
    writer.close()
    await writer.wait_closed()
    while server.connections:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() <= before
