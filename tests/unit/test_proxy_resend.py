"""A request whose model failed goes out again for another one; nothing else of it changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proxy_kit import Handler, Seen, Stage, chunked, error_type, request, response, stage, status

from synccr.judge.outcome import Failure, Trouble
from synccr.models.report import ModelRef
from synccr.proxy import BackendAddress, Proxy, Response, error
from synccr.proxy.exchange import MAX_SENDS
from synccr.proxy.forwarded_headers import marked
from synccr.proxy.framing import RequestFramer, RequestHead
from synccr.proxy.resend import Resend, body_of, renamed
from synccr.turns.attempt import Attempt
from synccr.turns.turn import Turn, Turns

FAILED = Failure(Trouble.STATUS, 402, b"{}", "no credit")
SPARE = ModelRef("acme", "spare")


@dataclass
class Keeper:
    """Judges as it is told: the outcome of each try in turn, None for an answer."""

    outcomes: list[Failure | None]
    chosen: Callable[[Turn], Resend | Response] = lambda _turn: Resend(SPARE)
    secret: bytes = b"s3cret"
    secret_opens: bool = False
    turns: Turns = field(default_factory=Turns)
    ended_turns: list[Turn] = field(default_factory=list)
    bodies: list[bytes | None] = field(default_factory=list)

    def begin(self, head: RequestHead, client: int) -> Turn:
        return self.turns.begin(str(client), "/v1/messages", 0.0)

    def tried(self, seen: Seen) -> None:
        """What the egress would note of a request that CCR got."""
        number = seen.head.lower().split(b"x-synccr-turn: ")[1].split(b"\r\n")[0]
        turn = self.turns.get(int(number))
        assert turn is not None
        model = json.loads(seen.body)["model"]
        ref = ModelRef.parse(model) if "," in model else ModelRef("acme", "main")
        turn.attempts.append(Attempt(ref, 0.0, failure=self.outcomes.pop(0)))

    def after_failure(self, turn: Turn, body: bytes) -> Resend | Response:
        self.bodies.append(body)
        return self.chosen(turn)

    def begun(self, turn: Turn, status: int) -> None:
        turn.status = status

    def ended(self, turn: Turn) -> None:
        self.ended_turns.append(turn)
        self.turns.end(turn)


def ccr(keeper: Keeper, answer: Callable[[Seen], bytes]) -> Handler:
    """A CCR that shows the egress each request, and answers."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        keeper.tried(seen)
        writer.write(answer(seen))

    return handler


def told(seen: Seen) -> bytes:
    """402 for the default model, else an answer that repeats the request."""
    if b"acme,spare" in seen.body:
        return response(seen.body)
    return response(b'{"error": "402"}', status="402 Payment Required")


def scene(keeper: Keeper) -> AbstractAsyncContextManager[Stage]:
    return stage(Proxy(hold_timeout=20, turns=keeper))


BODY = (
    b'{ "model" : "claude", "big":1e400, "messages": [ {"role":"user", "model":"x"} ],'
    b' "z":"\\u00e9"}'
)


@pytest.mark.parametrize("form", ["length", "chunked", "close"])
async def test_another_model_is_asked_with_the_same_values(form: str) -> None:
    """Only ``model`` is another; the client sees one answer, and who gave it."""
    keeper = Keeper([FAILED, None])
    message = request("/v1/messages", BODY, *(["Connection: close"] if form == "close" else []))
    if form == "chunked":
        head = request("/v1/messages", b"", "Transfer-Encoding: chunked", method="POST")
        message = head + chunked(BODY[:7], BODY[7:])
    async with scene(keeper) as play:
        backend = await play.backend(ccr(keeper, told))
        wire = await play.wire()
        answer = await wire.ask(message)
        assert status(answer) == 200
        assert b"x-synccr-model: acme,spare" in answer.head.lower()
        assert b'"model":"acme,spare"' in answer.body
        assert b'"big":1e400' in answer.body
        assert b'[ {"role":"user", "model":"x"} ]' in answer.body
        assert b'"z":"\\u00e9"' in answer.body
        assert len(backend.seen) == 2
        assert [body == BODY for body in keeper.bodies] == [True]
        await play.until(lambda: len(keeper.ended_turns) == 1)
    assert len(keeper.turns) == 0


async def test_the_connection_to_ccr_is_kept_over_a_failure() -> None:
    """Ten requests whose model is known to be dead need no new connection each."""
    keeper = Keeper([FAILED, None] * 10)
    async with scene(keeper) as play:
        backend = await play.backend(ccr(keeper, told))
        wire = await play.wire()
        for _ in range(10):
            assert status(await wire.ask(request("/v1/messages", BODY))) == 200
        assert len(backend.seen) == 20
        assert backend.connections <= 3


async def test_a_failure_before_the_request_was_sent_whole() -> None:
    """The next try does not follow half a request."""
    keeper, go = Keeper([]), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if b"acme" not in await reader.readexactly(20):
            await go.wait()
            writer.write(response(b"{}", status="402 Payment Required"))
        else:
            writer.write(response(b"answer"))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with scene(keeper) as play:
        play.proxy.switch.use(BackendAddress(1, *server.sockets[0].getsockname()))
        wire = await play.wire()
        message = request("/v1/messages", b'{"model":"claude", "x":"%b"}' % (b"x" * 1000))
        await wire.send(message[:500])
        await play.until(lambda: play.proxy.switch.in_flight(1) == 1)
        (client,) = play.proxy.clients
        stream = client.stream
        assert stream is not None
        assert stream._turn is not None
        assert stream._connection is not None
        stream._turn.attempts.append(Attempt(SPARE, 0.0, failure=FAILED))
        stream._connection.pause_writing()  # as the loop calls it when CCR reads too slowly
        await wire.send(message[500:])
        await play.until(lambda: stream._whole)
        go.set()
        assert (await wire.receive()).body == b"answer"
    server.close()


async def test_as_many_models_as_the_keeper_names() -> None:
    """No backend has died, however often the request is sent again to the one that serves."""
    keeper = Keeper([FAILED] * 7 + [None])
    keeper.chosen = lambda turn: Resend(ModelRef("acme", f"m{len(turn.attempts)}"))

    def answer(seen: Seen) -> bytes:
        if b"acme,m7" in seen.body:
            return response(seen.body)
        return response(b"{}", status="402 No")

    async with scene(keeper) as play:
        backend = await play.backend(ccr(keeper, answer))
        got = await (await play.wire()).ask(request("/v1/messages", BODY))
        assert (status(got), len(backend.seen)) == (200, 8)


async def test_a_connection_that_breaks_before_the_answer() -> None:
    """The egress cut what it had begun; the client had nothing yet: another model is asked."""
    keeper = Keeper([Failure(Trouble.CUT, 502, b"", "cut", passed=True), None])

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        keeper.tried(seen)
        if b"acme,spare" in seen.body:
            writer.write(response(seen.body))
        else:
            writer.transport.abort()

    async with scene(keeper) as play:
        await play.backend(handler)
        answer = await (await play.wire()).ask(request("/v1/messages", BODY))
        assert (status(answer), b"acme,spare" in answer.body) == (200, True)


async def test_a_backend_that_is_abandoned_after_a_failure() -> None:
    """CCR did not report what the egress had judged: another model is asked at the next one."""
    keeper = Keeper([FAILED, None])

    async def silent(seen: Seen, writer: asyncio.StreamWriter) -> None:
        keeper.tried(seen)
        await asyncio.Event().wait()

    async with scene(keeper) as play:
        first = await play.backend(silent)
        wire = await play.wire()
        await wire.send(request("/v1/messages", BODY))
        await play.until(lambda: len(keeper.outcomes) == 1)
        await play.backend(ccr(keeper, told))
        play.proxy.switch.abandon(1)
        assert await play.proxy.switch.drained(1, 0.0)
        answer = await wire.receive()
        assert (status(answer), b"acme,spare" in answer.body) == (200, True)
        await first.until(lambda: not first.open)


async def test_when_no_model_is_left_the_client_is_told() -> None:
    """The keeper's own answer goes back, and the connection goes on."""
    keeper = Keeper([FAILED, FAILED], chosen=lambda turn: error(402, f"{len(turn.attempts)} tried"))
    async with scene(keeper) as play:
        await play.backend(ccr(keeper, lambda _: response(b"{}", status="402 No")))
        wire = await play.wire()
        for _ in range(2):
            answer = await wire.ask(request("/v1/messages", BODY))
            assert (status(answer), b"1 tried" in answer.body) == (402, True)
        assert len(keeper.ended_turns) == 2


async def test_an_error_that_is_not_of_the_egress_passes() -> None:
    """CCR's own errors, and those of answers that the egress did not see, go to the client."""
    keeper = Keeper([None])
    async with scene(keeper) as play:
        await play.backend(ccr(keeper, lambda _: response(b"{}", status="400 Bad Request")))
        answer = await (await play.wire()).ask(request("/v1/messages", BODY))
        assert (status(answer), keeper.bodies) == (400, [])


@pytest.mark.parametrize("how", ["error", "end"])
async def test_a_failure_counts_once(how: str) -> None:
    """What CCR itself says to the next try, or that it has gone, is no failure of a model."""
    keeper = Keeper([FAILED])

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if b"acme,spare" not in seen.body:
            await ccr(keeper, told)(seen, writer)
        elif how == "error":
            writer.write(response(b"unknown", status="404 Not Found"))
        else:
            writer.transport.abort()

    async with scene(keeper) as play:
        backend = await play.backend(handler)
        answer = await (await play.wire()).ask(request("/v1/messages", BODY))
        assert status(answer) == (404 if how == "error" else 502)
        assert len(keeper.bodies) == 1
        assert len(backend.seen) == 1 + (1 if how == "error" else MAX_SENDS)


async def test_a_wait_before_the_next_try() -> None:
    """A pause is kept, and a client that leaves meanwhile ends it."""
    keeper = Keeper([FAILED, None], chosen=lambda _: Resend(SPARE, wait=0.15))
    async with scene(keeper) as play:
        backend = await play.backend(ccr(keeper, told))
        wire = await play.wire()
        await wire.send(request("/v1/messages", BODY))
        await play.until(lambda: keeper.bodies != [])
        assert len(backend.seen) == 1
        assert status(await wire.receive()) == 200
        keeper.outcomes.extend([FAILED, None])
        await wire.send(request("/v1/messages", BODY))
        await play.until(lambda: len(keeper.bodies) == 2)
        wire.leave()
        await play.until(lambda: len(keeper.ended_turns) == 2)
        await asyncio.sleep(0.2)
        assert len(backend.seen) == 3


async def test_a_client_that_leaves_ends_the_providers_request() -> None:
    """The turn is closed at once: what runs for it at a provider is told."""
    keeper, aborted = Keeper([None]), asyncio.Event()

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        keeper.tried(seen)
        keeper.turns.get(1).attempts[0].abort = aborted.set  # type: ignore[union-attr]
        await asyncio.Event().wait()

    async with scene(keeper) as play:
        backend = await play.backend(handler)
        wire = await play.wire()
        await wire.send(request("/v1/messages", BODY))
        await backend.until(lambda: len(backend.seen) == 1)
        wire.leave()
        async with asyncio.timeout(5):
            await aborted.wait()


async def test_what_a_client_says_in_our_name_is_taken_out() -> None:
    """CCR gets our secret and number, once; requests to no model get the secret alone."""
    keeper = Keeper([])
    async with scene(keeper) as play:
        backend = await play.backend()
        wire = await play.wire()
        forged = ("x-synccr-turn: 99", "X-Synccr-Secret: guess", "x-synccr-to: http://evil")
        await wire.ask(request("/v1/messages", b"{}", *forged))
        await wire.ask(request("/health", b"", *forged))
        first, second = (seen.head.lower() for seen in backend.seen)
    assert first.count(b"x-synccr-") == 2
    assert b"x-synccr-turn: 1\r\n" in first
    assert b"x-synccr-secret: s3cret" in first
    assert second.count(b"x-synccr-") == 1
    assert b"host: localhost" in second


async def test_a_handover_gives_the_request_as_the_client_sent_it() -> None:
    """The next supervisor has a secret and numbers of its own."""
    keeper, passed = Keeper([]), []
    message = request("/v1/messages", b"{}", "Connection: close", "x-synccr-turn: 7")
    async with scene(keeper) as play:
        wire = await play.wire()
        await wire.send(message)
        await play.until(lambda: play.proxy.stats.held == 1)

        def take(connection: object, ahead: bytes) -> bool:
            passed.append(ahead)
            return True

        play.proxy.hand_over(take)
        await play.until(lambda: bool(passed))
    assert passed == [message]


async def test_a_handover_of_a_request_that_was_sent_again() -> None:
    """It was renamed, and its CCR died: the next supervisor gets what the client had sent."""
    keeper, passed = Keeper([FAILED, None]), []
    message = request("/v1/messages", BODY)

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        keeper.tried(seen)
        if b"acme,spare" in seen.body:
            await asyncio.Event().wait()
        writer.write(response(b"{}", status="402 No"))

    async with scene(keeper) as play:
        backend = await play.backend(handler)
        wire = await play.wire()
        await wire.send(message)
        await backend.until(lambda: len(backend.seen) == 2)

        def take(connection: object, ahead: bytes) -> bool:
            passed.append(ahead)
            return True

        play.proxy.hand_over(take)
        await backend.kill()
        await play.until(lambda: bool(passed))
    assert passed == [message]


async def test_a_body_that_names_no_model() -> None:
    """What cannot be renamed is said, with a status."""
    keeper = Keeper([FAILED])

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        turn = keeper.turns.get(1)
        assert turn is not None
        turn.attempts.append(Attempt(SPARE, 0.0, failure=FAILED))
        writer.write(response(b"{}", status="402 No"))

    async with scene(keeper) as play:
        await play.backend(handler)
        answer = await (await play.wire()).ask(request("/v1/messages", b"[1]"))
        assert (status(answer), error_type(answer)) == (502, "api_error")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=6), st.booleans())
def test_renaming_changes_the_model_and_nothing_else(fields: dict[str, object], many: bool) -> None:
    """For any body, in any framing: the same document but for ``model``, framed right."""
    body = json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
    sent = request("/v1/messages", body)
    if many:
        head = request("/v1/messages", b"", "Transfer-Encoding: chunked", method="POST")
        sent = head + chunked(*[body[i : i + 5] for i in range(0, len(body), 5)])
    assert body_of(sent) == body
    framer = RequestFramer()
    piece, rest = framer.feed(renamed(sent, body, SPARE))
    assert framer.head is not None
    assert (framer.complete, rest) == (True, b"")
    assert json.loads(piece[len(framer.head.raw) :]) == {**fields, "model": "acme,spare"}


def test_marking_keeps_every_other_field() -> None:
    """The request line and the client's fields stay, byte for byte."""
    framer = RequestFramer()
    framer.feed(b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nX-Synccr-Model: m\r\nB: c\r\n\r\n")
    assert framer.head is not None
    turn = Turn(5, "s", "/v1/messages", 0.0)
    assert marked(framer.head, framer.head.raw, turn, b"k", opens=False) == (
        b"POST /v1/messages HTTP/1.1\r\nx-synccr-turn: 5\r\nx-synccr-secret: k\r\n"
        b"Host: a\r\nB: c\r\n\r\n"
    )


def test_the_secret_in_the_place_of_the_clients_key() -> None:
    """Whatever key a client shows, and how often, CCR gets ours alone."""
    framer = RequestFramer()
    framer.feed(
        b"GET / HTTP/1.1\r\nX-Api-Key: a\r\nAuthorization: Bearer b\r\nHost: h\r\n"
        b"x-api-key: c\r\nX-Api-Keys: d\r\n\r\n"
    )
    assert framer.head is not None
    assert marked(framer.head, framer.head.raw, None, b"k", opens=True) == (
        b"GET / HTTP/1.1\r\nx-synccr-secret: k\r\nauthorization: Bearer k\r\n"
        b"Host: h\r\nX-Api-Keys: d\r\n\r\n"
    )
