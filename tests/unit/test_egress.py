"""The egress with real sockets: what CCR gets, what the provider gets, what is told."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from egress_kit import MAIN, STREAM, completion, delta, piece, sse, stage
from proxy_kit import Seen, chunked, read_message, response, status

from synccr.egress import server
from synccr.egress.silence_limits import SilenceLimits
from synccr.judge.outcome import Failure, Trouble, failure

WHOLE = [*sse(delta("Hel"), delta("lo", "stop")), b"data: [DONE]\n\n"]
PATIENT_FOR = 0.2


class ImpatientInTheMiddle(SilenceLimits):
    """Silence is noticed soon once an answer has begun, however long that takes."""

    def gap(self, ref: object, *, streamed: bool) -> float:
        return PATIENT_FOR


class Impatient(ImpatientInTheMiddle):
    """Silence is noticed soon. Only for a provider that is silent: a busy machine is, too."""

    def first(self, ref: object, size: int, *, streamed: bool) -> float:
        return PATIENT_FOR


async def healthy(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(STREAM + piece(WHOLE[0]))
    await asyncio.sleep(0.02)
    writer.write(piece(WHOLE[1]) + piece(WHOLE[2]) + b"0\r\n\r\n")


async def whole(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(response(completion("Hello"), "Content-Type: application/json", "X-Id: 7"))


async def test_an_answer_passes_with_the_real_key() -> None:
    """The stream arrives byte for byte; the provider sees the key, and nothing of ours."""
    async with stage(healthy) as scene:
        turn = scene.turn()
        answer = await scene.ask(turn)
        assert (status(answer), answer.body) == (200, b"".join(WHOLE))
        head = scene.seen[0].head.lower()
        assert b"authorization: bearer real-key" in head
        assert b"x-synccr" not in head
        assert b"accept-encoding: identity" in head
        (one,) = turn.attempts
        assert (one.ref, one.went_well, one.failure, one.http_status) == (MAIN, True, None, 200)
        assert scene.ended == [(turn, one)]
        assert turn.served_by == MAIN


async def test_an_answer_that_is_not_streamed() -> None:
    """Held until it is whole, then passed with its headers."""
    async with stage(whole) as scene:
        answer = await scene.ask(scene.turn(), stream=False)
        assert answer.body == completion("Hello")
        assert b"x-id: 7" in answer.head.lower()


async def test_one_connection_serves_request_after_request() -> None:
    """Ten turns of CCR over one connection, and one towards the provider."""
    async with stage(healthy) as scene:
        reader, writer = await scene.connect()
        for _ in range(5):
            writer.write(scene.request(scene.turn()))
            assert (await read_message(reader)).body == b"".join(WHOLE)
        writer.write(scene.request(scene.turn()) + scene.request(scene.turn()))
        assert status(await read_message(reader)) == 400  # one at a time
        writer.transport.abort()


async def refused(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(response(b'{"error": "no credit"}', "Retry-After: 7", status="402 No"))


async def page(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(response(b"<html>Sign in</html>", "Content-Type: text/html"))


async def elsewhere(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(response(b"", "Location: http://127.0.0.1:1/", status="307 Temporary"))


async def reset(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def silent(seen: Seen, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def head_only(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(STREAM)
    await asyncio.Event().wait()


async def error_first(seen: Seen, writer: asyncio.StreamWriter) -> None:
    (event,) = sse({"error": {"message": "overloaded", "code": 503}})
    writer.write(STREAM + chunked(event))


@pytest.mark.parametrize(
    ("handler", "trouble", "code"),
    [
        (refused, Trouble.STATUS, 402),
        (page, Trouble.PAGE, 502),
        (elsewhere, Trouble.STATUS, 502),
        (reset, Trouble.CUT, 502),
        (silent, Trouble.SILENT, 504),
        (head_only, Trouble.SILENT, 504),
        (error_first, Trouble.ERROR, 503),
    ],
)
async def test_trouble_before_the_first_content(
    handler: object, trouble: Trouble, code: int
) -> None:
    """CCR gets an HTTP error, the turn knows why, and the provider's request has ended."""
    limits = Impatient if trouble is Trouble.SILENT else SilenceLimits
    async with stage(handler, silence=limits(60.0, 180.0)) as scene:  # type: ignore[arg-type]
        turn = scene.turn()
        answer = await scene.ask(turn)
        assert status(answer) == code
        assert turn.failure is not None
        assert (turn.failure.trouble, turn.failure.passed) == (trouble, False)
        assert turn.served_by is None
        assert len(scene.ended) == 1
        if trouble is Trouble.SILENT:
            await scene.until(lambda: bool(scene.left))
        if handler is refused:
            assert turn.attempts[0].headers == {"retry-after": "7"}
            assert answer.body == b'{"error": "no credit"}'


async def unknown_key(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(response(b'{"error": "Invalid API key"}', status="401 No"))


@pytest.mark.parametrize(
    ("path", "told"), [("/v1/chat/completions", 401), ("/to/p1/v1/chat/completions", 403)]
)
async def test_a_401_is_known_as_such(path: str, told: int) -> None:
    """Also where CCR is told 403, because it would ask again: a 403 is no proof of a bad key."""
    async with stage(unknown_key) as scene:
        turn = scene.turn()
        assert status(await scene.ask(turn, path=path)) == told
        assert turn.failure is not None
        assert turn.failure.http_status == 401


async def cut(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(STREAM + piece(WHOLE[0]))
    await asyncio.sleep(0.05)
    writer.transport.abort()


async def no_end(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(STREAM + piece(WHOLE[0]))
    await asyncio.sleep(0.05)
    writer.write(b"0\r\n\r\n")


async def stall(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(STREAM + piece(WHOLE[0]))
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("handler", "trouble"), [(cut, Trouble.CUT), (no_end, Trouble.CUT), (stall, Trouble.SILENT)]
)
async def test_trouble_after_content_breaks_the_connection(
    handler: object, trouble: Trouble
) -> None:
    """What was passed on never looks whole."""
    limits = ImpatientInTheMiddle if handler is stall else SilenceLimits
    async with stage(handler, silence=limits(60.0, 180.0)) as scene:  # type: ignore[arg-type]
        turn = scene.turn()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await scene.ask(turn)
        assert turn.failure is not None
        assert (turn.failure.trouble, turn.failure.passed) == (trouble, True)


async def test_what_came_before_the_trouble_in_one_read_is_passed_on() -> None:
    """The first content passes at once, and with it what arrives together with the trouble."""
    (error,) = sse({"error": {"message": "x", "code": 500}})

    async def together(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + piece(WHOLE[0]))
        await asyncio.sleep(0.05)
        writer.write(piece(WHOLE[0]) + piece(WHOLE[0] + error) + b"0\r\n\r\n")

    async with stage(together) as scene:
        reader, writer = await scene.connect()
        turn = scene.turn()
        writer.write(scene.request(turn))
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                answer += data
        writer.transport.abort()
        assert answer.count(WHOLE[0]) == 3
        assert not answer.endswith(b"0\r\n\r\n")
        assert turn.failure is not None
        assert turn.failure.passed


async def test_content_and_trouble_in_one_piece_are_still_an_error() -> None:
    """Nothing had been passed on, so another model can answer."""

    async def both(seen: Seen, writer: asyncio.StreamWriter) -> None:
        (event,) = sse({"error": {"message": "x", "code": 500}})
        writer.write(STREAM + chunked(WHOLE[0] + event))

    async with stage(both) as scene:
        turn = scene.turn()
        assert status(await scene.ask(turn)) == 500
        assert turn.failure is not None
        assert not turn.failure.passed


async def test_nothing_listens() -> None:
    """A provider that cannot be reached is an error at once."""
    async with stage(healthy) as scene:
        scene.provider.close()
        await scene.provider.wait_closed()
        turn = scene.turn()
        reader, writer = await scene.connect()
        writer.write(scene.request(turn))
        assert status(await read_message(reader)) == 502
        writer.transport.abort()
        assert turn.failure is not None
        assert turn.failure.trouble is Trouble.UNREACHABLE


async def test_an_open_breaker_asks_nobody() -> None:
    """The last verdict is answered at once."""
    known = failure(Trouble.KNOWN, "no credit", http_status=402)

    def permit(*_: object) -> Failure:
        return known

    async with stage(healthy, permit=permit) as scene:
        turn = scene.turn()
        assert status(await scene.ask(turn)) == 402
        assert scene.seen == []
        assert not turn.attempts[0].sent


async def test_a_client_that_leaves_ends_the_providers_request() -> None:
    """Before and after the first byte, whoever notices first."""
    for handler in (silent, stall):
        async with stage(handler) as scene:
            turn = scene.turn()
            asking = asyncio.create_task(scene.ask(turn))
            await scene.until(lambda: len(scene.seen) == 1)
            await asyncio.sleep(0.05)
            scene.egress.services.turns.end(turn)
            await scene.until(lambda: bool(scene.left))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await asking
            assert turn.failure is None
            # A provider request that comes after its client has left is not sent.
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await scene.ask(turn)
            assert len(scene.seen) == 1


async def test_ccr_that_dies_ends_the_providers_request() -> None:
    """The connection from CCR is lost: nobody reads the answer."""
    async with stage(silent) as scene:
        _, writer = await scene.connect()
        writer.write(scene.request(scene.turn()))
        await scene.until(lambda: len(scene.seen) == 1)
        writer.transport.abort()
        await scene.until(lambda: bool(scene.left))


async def test_who_does_not_know_the_secret() -> None:
    """403, nothing is sent, and no more is read of what they send."""
    async with stage(healthy) as scene:
        reader, writer = await scene.connect()
        writer.write(scene.request(scene.turn(), x_synccr_secret="guess"))
        assert b"403" in await reader.readline()
        assert (await reader.read()).endswith(b"}")
        writer.transport.abort()
        reader, writer = await scene.connect()
        writer.write(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000)
        assert b"431" in await reader.readline()
        writer.transport.abort()
        assert scene.seen == []


async def test_who_shows_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that shows no secret ends; one that has shown it lasts."""
    monkeypatch.setattr(server, "TIME_TO_SHOW", 0.2)
    async with stage(healthy) as scene:
        reader, writer = await scene.connect()
        writer.write(scene.request(scene.turn()))
        assert (await read_message(reader)).line.startswith(b"HTTP/1.1 200")
        slow, slow_writer = await scene.connect()
        slow_writer.write(b"POST / HTTP/1.1\r\nx-synccr-secret: ")
        async with asyncio.timeout(5):
            assert await slow.read() == b""
        writer.write(scene.request(scene.turn()))
        assert (await read_message(reader)).line.startswith(b"HTTP/1.1 200")
        for one in (writer, slow_writer):
            one.transport.abort()


async def test_many_who_show_nothing_keep_nobody_out() -> None:
    """The oldest of them goes for each that comes, and a request is served among them."""
    async with stage(healthy, most_unproven=4) as scene:
        idle = [await scene.connect() for _ in range(6)]
        async with asyncio.timeout(5):
            for reader, _ in idle[:2]:
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
        assert (await scene.ask(scene.turn())).line.startswith(b"HTTP/1.1 200")
        assert len(scene.egress._unproven) <= 4
        for _, writer in idle:
            writer.transport.abort()


async def test_a_request_in_one_piece() -> None:
    """A head and a large body that arrive together are no large head, on a connection's second
    request either."""
    async with stage(whole) as scene:
        reader, writer = await scene.connect()
        for _ in range(2):
            head, _, body = scene.request(scene.turn(), stream=False).partition(b"\r\n\r\n")
            large = body[:-1] + b', "more": "' + b"x" * 200_000 + b'"}'
            sizes = (b"content-length: %d" % len(body), b"content-length: %d" % len(large))
            writer.write(head.replace(*sizes) + b"\r\n\r\n" + large)
            assert (await read_message(reader)).body == completion("Hello")
        writer.transport.abort()
        assert [len(seen.body) > 200_000 for seen in scene.seen] == [True, True]


async def test_a_head_that_node_would_refuse_is_made_smaller() -> None:
    """Node takes 16 KiB of fields; what tells the body's form is among those that pass."""

    async def wordy(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        body = completion("Hello")
        fields = b"".join(b"x-more-%d: %b\r\n" % (n, b"v" * 20) for n in range(900))
        end = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        writer.write(b"HTTP/1.1 200 OK\r\n" + fields + end + body)

    async with stage(wordy) as scene:
        answer = await scene.ask(scene.turn(), stream=False)
        assert answer.body == completion("Hello")
        assert len(answer.head) < 9000
        assert b"content-type: application/json" in answer.head


async def test_an_address_of_no_provider_gets_nothing() -> None:
    """A request that names another origin is refused."""
    async with stage(healthy) as scene:
        reader, writer = await scene.connect()
        writer.write(scene.request(scene.turn(), x_synccr_to="http://127.0.0.1:1/v1/x"))
        assert b"403" in await reader.readline()
        assert (await reader.read()).endswith(b"}")
        writer.transport.abort()
        assert (scene.seen, scene.ended) == ([], [])


async def test_an_answer_whose_provider_never_hangs_up() -> None:
    """After the end mark the answer is whole, though the connection stays open."""

    async def lingering(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + b"".join(map(piece, WHOLE)))
        await asyncio.Event().wait()

    async with stage(lingering) as scene:
        turn = scene.turn()
        assert (await scene.ask(turn)).body == b"".join(WHOLE)
        assert turn.attempts[0].went_well


async def test_a_reader_that_is_slow_is_not_run_over() -> None:
    """What the provider sends faster than CCR reads stays at the provider."""
    many = sse(*[delta("x" * 20_000) for _ in range(10)])

    async def flood(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        for _ in range(300):
            writer.write(b"".join(map(piece, many)))
            await writer.drain()
        writer.write(piece(WHOLE[1]) + b"0\r\n\r\n")

    async with stage(flood, silence=ImpatientInTheMiddle(60.0, 180.0)) as scene:
        reader, writer = await scene.connect()
        turn = scene.turn()
        writer.write(scene.request(turn))
        await scene.until(lambda: bool(turn.attempts) and turn.attempts[0].bytes_in > 0)
        await asyncio.sleep(2 * PATIENT_FOR)  # no silence of the provider's
        sent = turn.attempts[0].bytes_in
        assert sent < 40_000_000  # the kernel holds some
        size, last = 0, b""
        async with asyncio.timeout(20):
            while not last.endswith(b"\r\n0\r\n\r\n"):
                last = last[-8:] + await reader.read(1 << 20)
                size += len(last)
        writer.transport.abort()
        assert size > 300 * 10 * 20_000
