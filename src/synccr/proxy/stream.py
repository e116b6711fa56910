"""One request on its way to a backend, and its answer on the way back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from synccr.proxy.buffer import RequestBuffer
from synccr.proxy.exchange import Action, Exchange
from synccr.proxy.framing import ProtocolError, RequestHead, ResponseHead
from synccr.proxy.hop_headers import closing
from synccr.proxy.messages import Response, error
from synccr.proxy.resend import body_of, renamed, served_by
from synccr.turns.turn import Turn

if TYPE_CHECKING:
    from synccr.proxy.backend_set import BackendConnection, BackendSet
    from synccr.proxy.connection import Client
    from synccr.proxy.server import Proxy

RETRY_AFTER: Final = 2
"""Seconds a client is told to wait after a 503: about what a backend needs to start."""


class Carriage:
    """Carries out what its `Exchange` decides.

    Attributes:
        head: the request's head.
        turn: what it is for the egress; None when it asks for no model.
        sent_head: bytes of the head as a backend gets it.
        exchange: the judgement on this request.
        buffer: the request's bytes.
        answered: the whole answer has been passed on.
        closing: the client was promised the end of its connection; the backend was not told.
        forwarded_at: clock reading when a backend got the request last.
    """

    __slots__ = (
        "_client",
        "_discarding",
        "_held",
        "_original",
        "_proxy",
        "_task",
        "_timer",
        "_upstream",
        "_verifying",
        "answered",
        "buffer",
        "closing",
        "exchange",
        "forwarded_at",
        "head",
        "sent_head",
        "turn",
    )

    def __init__(
        self, proxy: Proxy, client: Client, head: RequestHead, turn: Turn | None = None
    ) -> None:
        self._proxy = proxy
        self._client = client
        self.head = head
        self.turn = turn
        self.sent_head = len(head.raw)
        self.exchange = Exchange()
        self.buffer = RequestBuffer(proxy.budget, proxy.carry_limit)
        self.answered = False
        self.closing = False
        self.forwarded_at = 0.0
        self._original: bytes | None = None  # once it was sent again as another one
        self._upstream: BackendConnection | None = None
        self._held = self._verifying = self._discarding = False
        self._task: asyncio.Task[None] | None = None  # connecting or verifying
        self._timer: asyncio.TimerHandle | None = None  # hold_timeout

    @property
    def stuck(self) -> bool:
        """Whether more of the request must not be read now."""
        upstream = self._upstream
        if upstream is None:
            return self.buffer.full
        return upstream.full and self.buffer.unsent

    def place(self, *, paused: bool = False) -> None:
        """Find out where the request goes now, and send it there."""
        if self._client.pass_on():
            return
        generation = self._proxy.available
        number = None if generation is None else generation.backend.generation
        action = self.exchange.place(number, paused=paused)
        if action is Action.FORWARD and generation is not None:
            upstream = self._client.take_upstream(generation)
            if upstream is not None:
                self._attach(upstream)
            else:
                self._task = asyncio.get_running_loop().create_task(self._connect(generation))
        elif action is Action.WAIT:
            self._wait()
        else:
            self._fail("Backends ended without an answer to this request.")

    def pump(self) -> None:
        """Send what waits, as far as the backend takes it."""
        upstream = self._upstream
        if upstream is not None:
            buffer = self.buffer
            while not upstream.full and (chunk := buffer.take()) is not None:
                upstream.transport.write(chunk)
            if buffer.kept and buffer.full:
                buffer.stop_keeping()
                self._proxy.stats.not_carried += 1
        self._client.regulate()

    def upstream_data(self, upstream: BackendConnection, data: bytes) -> None:
        """Bytes came from the backend."""
        exchange, framer = self.exchange, upstream.framer
        while data:
            if self.answered:
                upstream.transport.abort()  # more than it was asked for
                return
            try:
                piece, data = framer.feed(data)
            except ProtocolError as problem:
                self._garbage(problem)
                return
            if self._discarding:
                if framer.complete:
                    self._try_again(upstream, reusable=not data)
                    return
                continue
            if not exchange.begun:
                head = framer.head
                if head is None:
                    return
                if head.status >= 400 and self._failed:
                    self._discarding = True
                    if framer.complete:
                        self._try_again(upstream, reusable=not data)
                        return
                    continue
                action = exchange.answered(
                    head.status,
                    kept=self.buffer.kept,
                    serving=upstream.generation is self._proxy.available,
                    closes=not head.keep_alive,
                )
                if action is not Action.PASS:
                    if action is Action.CARRY:
                        self._carry()
                    elif action is Action.VERIFY:
                        self._verifying = True
                        upstream.transport.pause_reading()
                        self._task = asyncio.get_running_loop().create_task(
                            self._verify(upstream, head, piece, data)
                        )
                    else:
                        if action is Action.INTERIM:
                            self._client.interim(piece)
                        framer.next(bodiless=self.head.method == b"HEAD")
                        continue
                    return
                self._begin(head)
                piece = self._on_its_way(head, piece)
            self._client.write(piece)
            if framer.complete:
                self._end(upstream, reusable=not data)
                return

    def upstream_lost(self, upstream: BackendConnection, *, clean: bool) -> None:
        """The backend's connection ended; *clean* when the backend itself ended it."""
        self._upstream = None
        head = upstream.framer.head
        if self.answered:
            self._client.finished(close=True)
        elif clean and self.exchange.begun and head is not None and head.until_close:
            self._end(upstream, reusable=False)
        else:
            upstream.generation.leave(self)
            self._lose()

    def throttle(self) -> None:
        """Read from the backend only while the client keeps up."""
        upstream = self._upstream
        if upstream is None or self._verifying:
            return
        if self._client.full:
            upstream.transport.pause_reading()
        else:
            upstream.transport.resume_reading()

    def move(self, generation: BackendSet) -> None:
        """*generation* is the new backend: what has not begun elsewhere goes there at once.

        A request that is still being sent by its client would hold its old backend up for
        as long as the client likes, and no backend begins with half a request.
        """
        upstream = self._upstream
        if (
            upstream is not None
            and upstream.generation is not generation
            and not self._client.uploaded
            and not self.exchange.begun
            and self.buffer.kept
        ):
            self._carry()

    def abandon(self) -> None:
        """The backend's time is over."""
        if self.answered:
            self.release()
            self._client.finished(close=True)
        else:
            self._lose()

    def refuse(self, message: str) -> None:
        """No backend came, or none will: say so, and that it is worth trying again."""
        self._client.answer(error(503, message, retry_after=RETRY_AFTER))

    @property
    def movable(self) -> bool:
        """Whether all of the request is here and no backend has got all of it."""
        placed = self._upstream is not None and self._client.uploaded
        return self.buffer.kept and not self.exchange.begun and not placed

    @property
    def as_sent(self) -> bytes:
        """The request as its client sent it: the heir has a secret and models of its own."""
        if self._original is not None:
            return self._original
        return self.head.raw + self.buffer.join()[self.sent_head :]

    @property
    def waiting(self) -> bool:
        """Whether the request is held for want of a backend."""
        return self in self._proxy.waiters

    def release(self) -> BackendConnection | None:
        """Let go of everything; returns the connection when it can carry another request."""
        self._proxy.waiters.pop(self, None)
        if self.turn is not None and self._proxy.turns is not None:
            self._proxy.turns.ended(self.turn)
            self.turn = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._cancel()
        whole = not self.buffer.unsent
        self.buffer.release()
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return None
        upstream.generation.leave(self)
        if self.answered and whole and not upstream.closed:
            upstream.owner = None
            return upstream
        upstream.abort()
        return None

    def _attach(self, upstream: BackendConnection) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._upstream = upstream
        upstream.owner = self
        generation = upstream.generation
        generation.in_flight.add(self)
        self.exchange.sent(generation.backend.generation)
        self.forwarded_at = self._proxy.clock()
        upstream.framer.next(bodiless=self.head.method == b"HEAD")
        self.throttle()  # left as the last request on this connection had it
        self.buffer.rewind()
        self.pump()

    async def _connect(self, generation: BackendSet) -> None:
        try:
            upstream = await generation.connect()
        except OSError:
            self._task = None
            self._wait()
            return
        self._task = None
        if generation is self._proxy.available:
            self._attach(upstream)
        else:
            upstream.abort()
            self.place()

    async def _verify(
        self, upstream: BackendConnection, head: ResponseHead, piece: bytes, rest: bytes
    ) -> None:
        """Ask whether the backend that answered 503 still listens: one that closes does not."""
        generation = upstream.generation
        try:
            generation.give(await generation.connect())
        except OSError as problem:
            listening = not isinstance(problem, ConnectionRefusedError)
        else:
            listening = True
        self._task = None
        self._verifying = False
        action = self.exchange.verified(
            listening=listening and generation is self._proxy.available, kept=self.buffer.kept
        )
        if action is Action.CARRY:
            self._carry()
            return
        self._begin(head)
        self._client.write(self._on_its_way(head, piece))
        if upstream.framer.complete:
            self._end(upstream, reusable=not rest)
            return
        self.throttle()
        if rest:
            self.upstream_data(upstream, rest)

    def _wait(self) -> None:
        proxy = self._proxy
        if proxy.closing:
            self.refuse("synccr is stopping.")
            return
        if not self._held:
            self._held = True
            proxy.stats.held += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(
                proxy.hold_timeout,
                self.refuse,
                f"No backend became healthy within {proxy.hold_timeout:g} s.",
            )
        proxy.wait(self)
        self._client.regulate()

    @property
    def _failed(self) -> bool:
        """Whether the latest try came to nothing, and the request can be made again."""
        turn = self.turn
        return (
            turn is not None
            and turn.failure is not None
            and self.buffer.kept
            and self._client.uploaded
        )

    def _try_again(self, upstream: BackendConnection | None, *, reusable: bool) -> None:
        """The egress judged the answer to be none: another model is asked, or the client told."""
        turn, keeper = self.turn, self._proxy.turns
        assert turn is not None  # noqa: S101  # see `_failed`
        assert keeper is not None  # noqa: S101  # it made the turn
        self._discarding = False
        self._upstream = None
        if upstream is not None:
            upstream.generation.leave(self)
            upstream.owner = None
            head = upstream.framer.head
            if reusable and head is not None and head.keep_alive and not upstream.closed:
                upstream.generation.give(upstream)
            else:
                upstream.abort()
        sent = self.buffer.join()
        body = body_of(sent)
        chosen = keeper.after_failure(turn, body)
        if isinstance(chosen, Response):
            self._client.answer(chosen)
            return
        try:
            message = renamed(sent, body, chosen.to)
        except ValueError:
            self._fail("The model did not answer, and the request names none.")
            return
        if self._original is None:
            self._original = self.as_sent
        self.buffer.replace(message)
        self.exchange.again()
        if chosen.wait > 0:
            self._timer = asyncio.get_running_loop().call_later(chosen.wait, self._resume)
        else:
            self.place()

    def _resume(self) -> None:
        """The pause before the next try is over; from now on ``hold_timeout`` counts."""
        self._timer = None
        self.place()

    def _on_its_way(self, head: ResponseHead, piece: bytes) -> bytes:
        """The first bytes of an answer as the client gets them."""
        if self.turn is not None:
            piece = served_by(head, piece, self.turn.served_by)
        return closing(head, piece) if self.closing and head.keep_alive else piece

    def _begin(self, head: ResponseHead) -> None:
        if self.turn is not None and self._proxy.turns is not None:
            self._proxy.turns.begun(self.turn, head.status)
        self._client.begun(head.status)
        if self._client.uploaded:
            self.buffer.release()
        elif self.buffer.kept:
            self.buffer.stop_keeping()

    def _end(self, upstream: BackendConnection, *, reusable: bool) -> None:
        self.answered = True
        head = upstream.framer.head
        keep = reusable and not upstream.closed and head is not None and head.keep_alive
        if not keep:
            upstream.closed = True  # `release` drops it
        self._client.finished(close=head is None or not head.keep_alive)

    def _lose(self) -> None:
        if not self.exchange.begun and self._failed:
            self._try_again(None, reusable=False)
            return
        action = self.exchange.lost(kept=self.buffer.kept)
        if action is Action.CARRY:
            self._carry()
        elif action is Action.CUT:
            self._client.cut()
        else:
            self._fail(
                "The backend ended while this request was being sent; it was too large to keep."
            )

    def _garbage(self, problem: ProtocolError) -> None:
        if self.exchange.garbage() is Action.CUT:
            self._client.cut()
        else:
            self._fail(f"The backend's answer is not acceptable: {problem.reason}")

    def _carry(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.generation.leave(self)
            upstream.abort()
        self._cancel()
        self._proxy.stats.carried += 1
        self.place()

    def _fail(self, message: str) -> None:
        self._client.answer(error(502, message))

    def _cancel(self) -> None:
        self._verifying = False
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
