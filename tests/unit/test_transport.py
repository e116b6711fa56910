"""The transport over real sockets: reuse, ends and cuts, packing, pressure, leaving."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_kit import OK, Heard, answering, ask, read_request

from synccr.transport import Answer, Broken, CannotReach, Outgoing, Transport
from synccr.transport.http_types import head_of, target_of
from synccr.transport.inflate import Inflater, Unreadable
from ways import serving

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


def reset(writer: Writer) -> None:
    """End a connection with RST."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


pytestmark = pytest.mark.usefixtures("quiet_loop")


# ---------------------------------------------------------------- requests


def test_the_head_that_goes_out() -> None:
    """Our own headers replace the caller's; those of one connection stay behind."""
    given_headers = (
        (b"Authorization", b"Bearer k"),
        (b"Host", b"evil.test"),
        (b"Accept-Encoding", b"gzip, br"),
        (b"Connection", b"keep-alive"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Expect", b"100-continue"),
        (b"content-length", b"99"),
    )
    url = "https://Provider.test:8443/a b/ü?q=%20x&k=ä#part"
    head = head_of(Outgoing("POST", url, given_headers, b"body"), target_of(url))
    assert head == (
        b"POST /a%20b/%C3%BC?q=%20x&k=%C3%A4 HTTP/1.1\r\nhost: provider.test:8443\r\n"
        b"accept-encoding: identity\r\nAuthorization: Bearer k\r\ncontent-length: 4\r\n\r\n"
    )


@pytest.mark.parametrize("value", [b"x\r\ny: z", b"x\ny", b"x\ry"])
async def test_a_line_break_in_a_header_is_not_sent(value: bytes) -> None:
    """Nothing can be smuggled into a request."""
    async with serving(answering(OK)) as server, Transport() as transport:
        heard = Heard()
        transport.start(Outgoing("GET", server.url, ((b"a", value),)), heard)
        assert not heard.over.is_set()  # never within start
        await heard.over.wait()
    assert isinstance(heard.failure, CannotReach)
    assert (heard.failure.kind, server.taken) == ("address", 0)


@pytest.mark.parametrize(
    "url", ["ftp://a.test/", "x", "http://", "http://a.test:99999/", "http://[/", "http://ü..test/"]
)
async def test_what_is_no_address(url: str) -> None:
    """An address that nothing can be sent to is told to the receiver."""
    async with Transport() as transport:
        heard = await ask(transport, url)
    assert isinstance(heard.failure, CannotReach)
    assert heard.failure.kind == "address"


async def test_a_password_in_an_address_is_refused_and_not_told() -> None:
    """As Node's fetch does it."""
    request = Outgoing("GET", "http://user:hunter22@a.test/?key=hunter22", ((b"k", b"hunter22"),))
    async with Transport() as transport:
        failure = await transport.fetch(request, timeout=5, limit=9)
    assert isinstance(failure, CannotReach)
    assert failure.kind == "address"
    assert "hunter22" not in f"{failure} {request!r}"


async def test_a_large_body_arrives_whole() -> None:
    """A body goes out in pieces, as the provider reads, and no faster."""
    body = bytes(range(256)) * 40_000
    seen = []

    async def slow(reader: Reader, writer: Writer) -> None:
        await asyncio.sleep(0.1)
        seen.append(writer_of.transport.get_write_buffer_size())
        seen.append((await read_request(reader))[1] == body)
        writer.write(OK)

    async with serving(slow) as server, Transport() as transport:
        heard = Heard()
        call = transport.start(Outgoing("POST", server.url, (), body), heard)
        while call._connection is None:
            await asyncio.sleep(0)
        writer_of = call._connection
        await asyncio.wait_for(heard.over.wait(), 10)
    buffered, whole = seen
    assert whole
    assert buffered <= 512 * 1024
    assert heard.bytes == b"ok"


# ---------------------------------------------------------------- reuse


async def test_a_connection_is_used_again() -> None:
    """One after the other share a connection without Nagle's delay; two at once do not."""
    async with serving(answering(OK)) as server, Transport() as transport:
        for _ in range(3):
            heard = await ask(transport, server.url, b"x")
            assert (heard.status, heard.bytes, heard.failure) == (200, b"ok", None)
        assert server.taken == 1
        connection = next(iter(transport.pool._idle.values()))[0]
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await asyncio.gather(ask(transport, server.url), ask(transport, server.url))
        assert server.taken == 2


async def test_idle_connections_are_few_and_young() -> None:
    """Their number and their age have bounds."""
    async with serving(answering(OK)) as server:
        async with Transport(most_idle=2) as transport:
            await asyncio.gather(*(ask(transport, server.url) for _ in range(5)))
            assert len(transport.pool) == 2
        async with Transport(idle_age=0.05) as transport:
            await asyncio.gather(*(ask(transport, server.url) for _ in range(3)))
            assert len(transport.pool) == 3
            await asyncio.sleep(0.2)
            assert len(transport.pool) == 0


@pytest.mark.parametrize("end", [b"", b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"])
async def test_an_idle_connection_that_ended_is_not_used(end: bytes) -> None:
    """With a 408 or without a word: the next request goes over a new one."""

    async def once(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(OK)
        await asyncio.sleep(0.02)
        writer.write(end)

    async with serving(once) as server, Transport() as transport:
        for number in (1, 2, 3):
            heard = await ask(transport, server.url, b"x")
            assert (heard.status, heard.failure, server.taken) == (200, None, number)
            await asyncio.sleep(0.1)


DYING: list[Callable[[Writer], None]] = [
    lambda writer: None,
    reset,
    lambda writer: writer.write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"),
]


@pytest.mark.parametrize("die", DYING, ids=["end", "reset", "408"])
async def test_a_used_connection_that_dies_unseen_is_replaced_once(
    die: Callable[[Writer], None],
) -> None:
    """The request is sent again on a new one; when that dies too, it is told."""
    served: list[bytes] = []
    alive = True

    async def handler(reader: Reader, writer: Writer) -> None:
        for turn in range(2):
            _, body = await read_request(reader)
            served.append(body)
            if turn or not alive:
                die(writer)
                return
            writer.write(OK)

    async with serving(handler) as server, Transport() as transport:
        assert (await ask(transport, server.url, b"one")).bytes == b"ok"
        assert (await ask(transport, server.url, b"two")).bytes == b"ok"
        assert served == [b"one", b"two", b"two"]
        alive = False
        heard = await ask(transport, server.url, b"three")
    assert served[3:] == [b"three", b"three"]
    if heard.status == 408:  # of a connection that had not served: the provider's own answer
        return
    assert isinstance(heard.failure, Broken)
    assert not heard.failure.began


async def test_what_began_is_not_sent_again() -> None:
    """A used connection that breaks after its first byte is told as broken."""
    served = 0

    async def handler(reader: Reader, writer: Writer) -> None:
        nonlocal served
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)
        served += 1
        writer.write(b"HTTP/1.1 2")

    async with serving(handler) as server, Transport() as transport:
        await ask(transport, server.url)
        heard = await ask(transport, server.url, b"x")
    assert isinstance(heard.failure, Broken)
    assert (served, server.taken, heard.failure.began) == (1, 1, False)


async def test_what_follows_an_answer_is_nobodys() -> None:
    """A second answer that came with the first one never meets a request."""
    forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
    async with serving(answering(OK + forged)) as server, Transport() as transport:
        for _ in range(2):
            assert (await ask(transport, server.url)).bytes == b"ok"
        assert server.taken == 2


# ---------------------------------------------------------------- answers


def chunked(*parts: bytes) -> bytes:
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + pieces


WHOLE = {
    "length": (OK, b"ok", 1),
    "chunked": (chunked(b"o", b"k") + b"0\r\nx-trailer: 1\r\n\r\n", b"ok", 1),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", 1),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\n" + OK, b"ok", 1),
    "close": (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", b"ok", 0),
    "1.0": (b"HTTP/1.0 200 OK\r\n\r\nok", b"ok", 0),
    "until close": (b"HTTP/1.1 200 OK\r\n\r\nok", b"ok", 0),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_whole_answers(name: str) -> None:
    """Each framing has its end, and is passed on without its marks; what may be kept is."""
    answer, body, kept = WHOLE[name]
    async with serving(answering(answer, keep=bool(kept))) as server, Transport() as transport:
        heard = await ask(transport, server.url)
        assert (heard.failure, heard.bytes) == (None, body)
        assert heard.status in {200, 204}
        assert not {b"transfer-encoding", b"connection", b"x-trailer", b"a"} & set(heard.headers)
        assert len(transport.pool) == kept


@pytest.mark.parametrize("ending", [b"0\r\n\r\n", b"zz\r\n"])
async def test_pieces_are_joined_once_that_is_asked_for(ending: bytes) -> None:
    """Those of one read, also before something that is not HTTP."""

    class Joining(Heard):
        def body(self, data: bytes) -> None:
            super().body(data)
            call.join_pieces()

    answer = chunked(b"a", b"b", b"c") + ending
    async with serving(answering(answer, keep=False)) as server, Transport() as transport:
        heard = Joining()
        call = transport.start(Outgoing("GET", server.url), heard)
        await asyncio.wait_for(heard.over.wait(), 5)
    assert (heard.pieces, heard.failure is None) == ([b"a", b"bc"], ending.startswith(b"0"))


CUT = {
    "length": OK[:-1],
    "chunked": chunked(b"o"),
    "chunked, last mark missing": chunked(b"o") + b"0\r\n",
    "head": b"HTTP/1.1 200 OK\r\ncontent-",
    "nothing": b"",
}


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("hard", [False, True])
async def test_cut_answers(name: str, hard: bool) -> None:
    """An answer that ends before its framing does was cut; so is any after a reset."""

    async def handler(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(CUT[name])
        await asyncio.sleep(0.02)
        if hard:
            reset(writer)

    async with serving(handler) as server, Transport() as transport:
        heard = await ask(transport, server.url)
    assert isinstance(heard.failure, Broken)
    assert heard.failure.began == (name not in {"head", "nothing"})
    assert ("reset" in heard.failure.detail) == hard
    assert server.taken == 1


async def test_a_reset_is_no_end() -> None:
    """An answer that the end of the connection ends is cut by a reset."""

    async def handler(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhal")
        await asyncio.sleep(0.02)
        reset(writer)

    async with serving(handler) as server, Transport() as transport:
        heard = await ask(transport, server.url)
    assert (heard.bytes, type(heard.failure)) == (b"hal", Broken)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        chunked(b"ok") + b"zz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 15_000 + b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
    ],
    ids=["ssh", "length", "chunk", "upgrade", "endless head", "large head", "interim for ever"],
)
async def test_what_is_not_http(answer: bytes) -> None:
    """It is given up at once, and the connection with it."""
    async with serving(answering(answer)) as server, Transport() as transport:
        heard = await ask(transport, server.url)
        assert isinstance(heard.failure, Broken)
        assert len(transport.pool) == 0


async def test_an_answer_to_head_has_no_body() -> None:
    """Its length is that of another answer."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"
    async with serving(answering(head)) as server, Transport() as transport:
        answer = await transport.fetch(Outgoing("HEAD", server.url), timeout=5, limit=9)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (200, b"")


async def test_a_redirect_is_an_answer() -> None:
    """The key goes nowhere but to the address it was sent to."""
    moved = b"HTTP/1.1 307 Moved\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n"
    async with serving(answering(moved, OK)) as server, Transport() as transport:
        heard = await ask(transport, server.url)
    assert (heard.status, heard.headers[b"location"]) == (307, b"/other")


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 200), max_size=6))
def test_any_cutting_of_the_bytes_is_the_same_answer(cuts: list[int]) -> None:
    """Where reads begin and end changes nothing."""
    packed = gzip.compress(b"hello " * 100)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    parts = (packed[:9], packed[9:])
    answer = head + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"

    async def handler(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        left = answer
        for size in cuts:
            writer.write(left[:size])
            left = left[size:]
            await asyncio.sleep(0.001)
        writer.write(left)
        await reader.read()

    async def go() -> None:
        async with serving(handler) as server, Transport() as transport:
            heard = await ask(transport, server.url)
            assert (heard.bytes, heard.failure) == (b"hello " * 100, None)
            assert len(transport.pool) == 1

    asyncio.run(go())


# ---------------------------------------------------------------- packed answers

TEXT = b'data: {"x": 1}\n\n' * 5000
RAW = zlib.compressobj(wbits=-15)
PACKED = {
    "gzip": (b"gzip", gzip.compress(TEXT)),
    "two members": (b"gzip", gzip.compress(TEXT[:999]) + gzip.compress(TEXT[999:])),
    "deflate": (b"deflate", zlib.compress(TEXT)),
    "raw deflate": (b"Deflate", RAW.compress(TEXT) + RAW.flush()),
}


def with_encoding(name: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %s\r\ncontent-length: %d\r\n\r\n"
    return head % (name, len(body)) + body


@pytest.mark.parametrize("name", PACKED)
async def test_packed_answers_are_unpacked(name: str) -> None:
    """Though we ask for none; what was true of the packed bytes is no longer said."""
    async with serving(answering(with_encoding(*PACKED[name]))) as server, Transport() as transport:
        heard = await ask(transport, server.url)
    assert (heard.bytes, heard.failure, heard.headers) == (TEXT, None, {})


async def test_an_unknown_packing_is_passed_on_with_its_name() -> None:
    """Whoever asked may know it."""
    async with serving(answering(with_encoding(b"br", b"xyz"))) as server, Transport() as transport:
        heard = await ask(transport, server.url)
    assert (heard.bytes, heard.headers[b"content-encoding"]) == (b"xyz", b"br")
    assert heard.headers[b"content-length"] == b"3"


@pytest.mark.parametrize(
    ("body", "unreadable"), [(b"plain text", True), (gzip.compress(TEXT)[:-9], False)]
)
async def test_damaged_packing_is_a_cut(body: bytes, unreadable: bool) -> None:
    """Bytes that are not what they are called, or that end too early."""
    async with serving(answering(with_encoding(b"gzip", body))) as server, Transport() as transport:
        heard = await ask(transport, server.url)
    assert isinstance(heard.failure, Broken)
    assert (heard.failure.began, heard.failure.unreadable) == (True, unreadable)


def test_unpacking_is_bounded() -> None:
    """Pieces are small, and a bomb is given up before it is large."""
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    sizes: list[int] = []
    with pytest.raises(Unreadable):
        sizes.extend(map(len, Inflater(b"gzip").feed(bomb)))
    assert max(sizes) <= 64 * 1024
    assert sum(sizes) <= 16 * 1024 * 1024


# ---------------------------------------------------------------- leaving, pressure, time


async def test_leaving_ends_the_providers_request() -> None:
    """The provider sees the end at once, and the receiver hears nothing more."""
    gone = asyncio.Event()

    async def handler(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(chunked(b"a"))
        await reader.read()
        gone.set()

    async with serving(handler) as server, Transport() as transport:
        heard = Heard()
        call = transport.start(Outgoing("GET", server.url), heard)
        await asyncio.wait_for(heard.begun.wait(), 5)
        call.abort()
        await asyncio.wait_for(gone.wait(), 5)
        assert (heard.ends, len(transport.calls), len(transport.pool)) == (0, 0, 0)


async def test_leaving_while_connecting() -> None:
    """No connection is left behind, whenever it is."""
    async with serving(answering(OK)) as server, Transport() as transport:
        for rounds in range(8):
            heard = Heard()
            call = transport.start(Outgoing("GET", server.url), heard)
            for _ in range(rounds):
                await asyncio.sleep(0)
            call.abort()
            call.abort()
            await asyncio.sleep(0.01)
            assert heard.ends == 0
        assert (len(transport.calls), len(transport.pool)) == (0, 0)
        for writer in server.writers:
            assert writer.transport.is_closing()


async def test_leaving_within_a_callback() -> None:
    """A judge that has seen enough leaves in the middle of a read."""

    class Leaving(Heard):
        def body(self, data: bytes) -> None:
            super().body(data)
            call.abort()

    answer = chunked(b"a", b"b") + b"0\r\n\r\n"
    async with serving(answering(answer)) as server, Transport() as transport:
        heard = Leaving()
        call = transport.start(Outgoing("GET", server.url), heard)
        await asyncio.wait_for(heard.begun.wait(), 5)
        await asyncio.sleep(0.05)
        assert (heard.pieces, heard.ends, len(transport.pool)) == ([b"a"], 0, 0)


async def test_a_pause_holds_the_provider() -> None:
    """Nothing is read while paused, even when asked before there was a connection."""
    sent = 0

    async def handler(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 33554432\r\n\r\n")
        for _ in range(512):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 1

    async with serving(handler) as server, Transport() as transport:
        heard = Heard()
        call = transport.start(Outgoing("GET", server.url), heard)
        call.pause()
        await asyncio.sleep(0.2)
        assert (heard.pieces, sent < 512) == ([], True)
        call.resume()
        await asyncio.wait_for(heard.begun.wait(), 5)
        call.pause()
        await asyncio.sleep(0.05)
        before = len(heard.pieces)
        await asyncio.sleep(0.1)
        assert len(heard.pieces) == before
        call.resume()
        await asyncio.wait_for(heard.over.wait(), 10)
    assert (len(heard.bytes), heard.failure) == (32 * 1024 * 1024, None)


async def test_a_receiver_that_fails_hears_so_and_costs_only_its_call() -> None:
    """The error is the loop's to tell; nothing waits for ever."""

    class Failing(Heard):
        def body(self, data: bytes) -> None:
            raise RuntimeError("mine")

    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(context["exception"])
    )
    async with serving(answering(OK)) as server, Transport() as transport:
        heard = Failing()
        transport.start(Outgoing("GET", server.url), heard)
        await asyncio.wait_for(heard.over.wait(), 5)
        await asyncio.sleep(0.01)
        assert (len(transport.calls), len(transport.pool)) == (0, 0)
    assert isinstance(heard.failure, Broken)
    assert [str(error) for error in told] == ["mine"]


async def test_nobody_listens() -> None:
    """A refusal is told apart from a name that is not known."""
    async with Transport() as transport:
        refused = (await ask(transport, "http://localhost:1/")).failure
        unknown = (await ask(transport, "http://no-such-host.invalid/")).failure
    assert isinstance(refused, CannotReach)
    assert isinstance(unknown, CannotReach)
    assert (refused.kind, unknown.kind) == ("refused", "dns")
    assert unknown.detail.startswith("DNS")


async def test_a_server_that_never_takes_the_connection_is_a_timeout() -> None:
    """The time for connecting has an end of its own."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    with listener, socket.socket() as first, socket.socket() as second:
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with Transport(connect_timeout=0.2) as transport:
            failure = (await ask(transport, url)).failure
    assert isinstance(failure, CannotReach)
    assert failure.kind == "timeout"


async def test_ipv6_and_a_family_that_does_not_answer() -> None:
    """``::1`` is spoken; a name with two addresses is served by the one that listens."""
    async with serving(answering(OK), host="::1") as server, Transport() as transport:
        heard = await ask(transport, f"http://[::1]:{server.port}/")
        assert heard.bytes == b"ok"
    async with serving(answering(OK)) as server, Transport() as transport:
        assert (await ask(transport, f"http://localhost:{server.port}/")).bytes == b"ok"


async def test_fetch_is_bounded_in_bytes_and_time() -> None:
    """The first bytes are enough; silence is a TimeoutError; neither leaves anything behind."""

    async def handler(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000)
        await reader.read()

    async with serving(handler) as server, Transport() as transport:
        request = Outgoing("GET", server.url)
        answer = await transport.fetch(request, timeout=5, limit=100)
        assert isinstance(answer, Answer)
        assert answer.body == b"x" * 100
        with pytest.raises(TimeoutError):
            await transport.fetch(request, timeout=0.1, limit=10_000)
        assert len(transport.calls) == 0


async def test_closing_tells_whoever_waits() -> None:
    """Calls under way and calls that connect are cut, once."""

    async def silent(reader: Reader, writer: Writer) -> None:
        await reader.read()

    async with serving(silent) as server:
        transport = Transport()
        first, second = Heard(), Heard()
        transport.start(Outgoing("GET", server.url), first)
        await asyncio.sleep(0.05)
        transport.start(Outgoing("GET", server.url), second)
        await transport.close()
        assert (first.ends, second.ends) == (1, 1)
        assert isinstance(first.failure, Broken)
