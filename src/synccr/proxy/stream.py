"""One request and its answer.

A stream belongs to one client connection, which tells it what comes from the client; the
connection to the backend tells it what comes from there. What has to be decided on the way is
decided by its `Exchange`, what belongs to the client is handed to its `StreamOwner`.

    state        meaning                             goes on when
    WAITING      no backend has the request          a backend serves -> SENT, CONNECTING
                                                     it refuses again -> WAITING
    CONNECTING   a connection is being made          it is there -> SENT
                                                     there is none -> WAITING
    SENT         a backend has the request           the answer's head comes -> ANSWERING
                                                     it is a 503 of a backend that may be
                                                     closing -> VERIFYING
                                                     the egress found no answer -> DISCARDING
                                                     the backend is lost -> WAITING, PAUSING
    VERIFYING    a 503 is held back: does its        it does -> ANSWERING
                 backend take new connections?       it does not, or is lost -> WAITING, PAUSING
    DISCARDING   CCR reports that there is none      all of that has come -> WAITING, PAUSING
    PAUSING      before another model is asked       the pause is over -> WAITING
    ANSWERING    bytes have been passed on           the answer is whole -> ANSWERED
                                                     it breaks off: the client is cut -> OVER
    ANSWERED     the client still sends its request  that is whole -> OVER
    OVER         everything has been given back

From every state the way leads to OVER, too: the client leaves, or is answered an error (502, or
503 when ``hold_timeout`` has passed). `NEXT` is this table as data; the tests compare the two, and
hold every stream that they make against it.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Final, Protocol

from synccr.proxy.backend_pool import BackendConnection, BackendPool
from synccr.proxy.buffer import RequestBuffer
from synccr.proxy.exchange import Action, Exchange
from synccr.proxy.forwarded_headers import closing, kept_open, marked, served_by
from synccr.proxy.framing import ProtocolError, RequestHead, ResponseHead
from synccr.proxy.own_answers import Response, error
from synccr.proxy.resend import body_of, renamed
from synccr.proxy.shared import Shared
from synccr.turns.turn import Turn

RETRY_AFTER: Final = 2
"""Seconds a client is told to wait after a 503: about what a backend needs to start."""


class State(Enum):
    """How far a stream has come; see above."""

    WAITING = auto()
    CONNECTING = auto()
    SENT = auto()
    VERIFYING = auto()
    DISCARDING = auto()
    PAUSING = auto()
    ANSWERING = auto()
    ANSWERED = auto()
    OVER = auto()


_AGAIN: Final = {State.WAITING, State.PAUSING}

NEXT: Final = {
    State.WAITING: {State.SENT, State.CONNECTING, State.WAITING, State.OVER},
    State.CONNECTING: {State.SENT, State.WAITING, State.OVER},
    State.SENT: {State.ANSWERING, State.VERIFYING, State.DISCARDING, *_AGAIN, State.OVER},
    State.VERIFYING: {State.ANSWERING, *_AGAIN, State.OVER},
    State.DISCARDING: {*_AGAIN, State.OVER},
    State.PAUSING: {State.WAITING, State.OVER},
    State.ANSWERING: {State.ANSWERED, State.OVER},
    State.ANSWERED: {State.OVER},
    State.OVER: set[State](),
}
"""From a state to those that may follow it."""


class StreamOwner(Protocol):
    """The client of a stream. After `finished`, `answer` and `cut` the stream is over."""

    def hand_over(self) -> bool:
        """The request is about to be placed: whether its connection goes elsewhere instead."""

    def pause(self, pause: bool) -> None:
        """Whether the client's request must not be read on now."""

    def begin(self, status: int, data: bytes) -> None:
        """The answer begins, with *data*."""

    def write(self, data: bytes) -> None:
        """Bytes of the answer, or an interim response."""

    def finished(self, *, close: bool, idle: BackendConnection | None) -> None:
        """The answer is whole. *close*: it ends the client's connection; *idle*: for the
        client's next request."""

    def answer(self, response: Response) -> None:
        """There is no answer of a backend: give this one."""

    def cut(self, *, until_close: bool) -> None:
        """The answer broke off: the client must not take what it got for the whole.

        *until_close*: the end of the connection would be the end of the answer.
        """


class Stream:
    """Carries out what its `Exchange` decides.

    Args:
        owner: the client.
        shared: what this proxy's streams have in common.
        head: the request's head.
        idle: a backend connection that the client has from its last request.
        client_full: the client reads more slowly than is written to it.

    Attributes:
        state: how far it has come.
        exchange: the judgement on this request.
        buffer: the request's bytes as a backend gets them.
    """

    __slots__ = (
        "_client_full",
        "_connection",
        "_head",
        "_held",
        "_idle",
        "_judged",
        "_original",
        "_owner",
        "_sent_at",
        "_sent_head",
        "_shared",
        "_stuck",
        "_task",
        "_tells_close",
        "_timer",
        "_turn",
        "_until_close",
        "_whole",
        "buffer",
        "exchange",
        "state",
    )

    def __init__(
        self,
        owner: StreamOwner,
        shared: Shared,
        head: RequestHead,
        idle: BackendConnection | None,
        *,
        client_full: bool,
    ) -> None:
        self._owner = owner
        self._shared = shared
        self._head = head
        self._idle = idle
        self._client_full = client_full
        self.state = State.WAITING
        self.exchange = Exchange()
        self.buffer = RequestBuffer(shared.budget, shared.carry_limit)
        self._turn: Turn | None = None  # None for a request that asks no model
        self._judged = 0  # attempts of the turn after which another model was asked
        self._until_close = False  # the answer ends where its connection ends
        self._sent_head = 0  # bytes of the head as a backend gets it
        self._sent_at = 0.0  # clock reading when a backend got the request last
        self._original: bytes | None = None  # as the client sent it, once it was renamed
        self._connection: BackendConnection | None = None
        self._whole = False  # the request has been received
        self._tells_close = False  # the client was promised an end that the backend knows not of
        self._held = self._stuck = False
        self._task: asyncio.Task[None] | None = None  # connecting or verifying
        self._timer: asyncio.TimerHandle | None = None  # of hold_timeout, or of a pause

    # Told by the client's connection.

    def start(self, piece: bytes, *, whole: bool) -> None:
        """Send the request on; *piece* is its head and what came of its body."""
        head, turns = self._head, self._shared.turns
        self._whole = whole
        fields = head.raw
        if not head.keep_alive and (opened := kept_open(head)) is not None:
            self._tells_close = True
            fields = opened
        if turns is not None:
            if head.method == b"POST":
                self._turn = turns.begin(head, id(self._owner))
            fields = marked(head, fields, self._turn, turns.secret, opens=turns.secret_opens)
        self._sent_head = len(fields)
        self.buffer.append(piece if fields is head.raw else fields + piece[len(head.raw) :])
        self.place()

    def receive(self, piece: bytes, *, whole: bool) -> None:
        """The next bytes of the request; *whole* with the last ones."""
        self._whole = whole
        if piece:
            self.buffer.append(piece)
            self._send()
        if whole and self.state is State.ANSWERED:
            self._finish(close=False)

    def throttle(self, *, client_full: bool) -> None:
        """The client reads slowly, or has caught up: so does the proxy from the backend."""
        self._client_full = client_full
        self._regulate_backend()

    def fail(self, status: int, reason: str) -> None:
        """Answer an error; once an answer has begun, cut it."""
        if self.exchange.garbage() is Action.CUT:
            self._cut()
        else:
            self._answer(error(status, reason))

    def shut_down(self) -> None:
        """The proxy closes: no backend will come."""
        if self.state is State.WAITING:
            self._refuse("synccr is stopping.")

    @property
    def unanswered(self) -> bytes | None:
        """The request as its client sent it, while no backend has all of it; else None.

        Another process has a secret and models of its own.
        """
        placed = self._connection is not None and self._whole
        if placed or self.exchange.begun or not self.buffer.kept:
            return None
        return self._as_received()

    def close(self) -> None:
        """Give everything back; a backend that is not done is cut off."""
        self._become(State.OVER)
        shared = self._shared
        shared.switch.forget(self)
        if self._turn is not None and shared.turns is not None:
            shared.turns.ended(self._turn)
            self._turn = None
        self._cancel_timer()
        self._cancel_task()
        self.buffer.release()
        self._drop_connection()
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.pool.release(idle)

    # Told by the switch.

    def place(self, *, paused: bool = False) -> None:
        """Find out where the request goes now, and send it there."""
        if self._owner.hand_over() or self.state is State.OVER:
            return  # over: the proxy closes because nobody takes its connections any more
        pool = self._shared.switch.available
        generation = None if pool is None else pool.address.generation
        action = self.exchange.place(generation, paused=paused)
        if action is Action.FORWARD and pool is not None:
            idle, self._idle = self._idle, None
            connection = pool.acquire(idle)
            if connection is not None:
                self._attach(connection)
            else:
                self._become(State.CONNECTING)
                self._task = asyncio.get_running_loop().create_task(self._connect(pool))
        elif action is Action.WAIT:
            self._wait()
        else:
            self.fail(502, "Backends ended without an answer to this request.")

    @property
    def silent_since(self) -> float | None:
        """Clock reading when a backend got the request; None once its answer has begun."""
        return None if self.exchange.begun else self._sent_at

    def backend_replaced(self) -> None:
        """Another backend serves: what has not begun here goes there at once.

        A request that is still being sent by its client would hold its old backend up for
        as long as the client likes, and no backend begins with half a request.
        """
        if not self._whole and not self.exchange.begun and self.buffer.kept:
            self._resend()

    def abandon(self) -> None:
        """The backend's time is over."""
        self._drop_connection()
        if self.state is State.ANSWERED:
            self._finish(close=True)
        else:
            self._lost()

    # Told by the connection to the backend.

    def backend_ready(self) -> None:
        """The backend takes more of the request."""
        self._send()

    def backend_data(self, data: bytes) -> None:
        """Bytes came from the backend."""
        connection = self._connection
        assert connection is not None  # noqa: S101 - it is calling
        framer = connection.framer
        while data:
            if self.state is State.ANSWERED:
                connection.transport.abort()  # more than it was asked for
                return
            try:
                piece, data = framer.feed(data)
            except ProtocolError as problem:
                self.fail(502, f"The backend's answer is not acceptable: {problem.reason}")
                return
            head = framer.head
            if head is None:
                return
            if self.state is State.ANSWERING:
                self._owner.write(piece)
            elif self.state is State.SENT and not self._answered(connection, head, piece, data):
                return
            if framer.complete:
                self._complete(connection, head, more=bool(data))
                return

    def backend_lost(self, *, clean: bool) -> None:
        """The backend's connection ended; *clean* when the backend itself ended it."""
        connection, self._connection = self._connection, None
        head = connection.framer.head if connection is not None else None
        if self.state is State.ANSWERED:
            self._finish(close=True)
        elif clean and self.state is State.ANSWERING and head is not None and head.until_close:
            self._become(State.ANSWERED)
            self._finish(close=True)
        else:
            self._lost()

    # The request.

    def _become(self, state: State) -> None:
        self.state = state

    def _attach(self, connection: BackendConnection) -> None:
        self._become(State.SENT)
        self._cancel_timer()
        self._connection = connection
        connection.attach(self)
        self.exchange.sent(connection.pool.address.generation)
        self._sent_at = self._shared.clock()
        connection.framer.next(bodiless=self._head.method == b"HEAD")
        self._regulate_backend()  # left as the last request on this connection had it
        self.buffer.rewind()
        self._send()

    def _send(self) -> None:
        """Send what waits, as far as the backend takes it."""
        connection, buffer = self._connection, self.buffer
        if connection is not None:
            while not connection.full and (chunk := buffer.take()) is not None:
                connection.transport.write(chunk)
            if buffer.kept and buffer.full:
                buffer.stop_keeping()
                self._shared.stats.not_carried += 1
        self._regulate_client()

    def _regulate_client(self) -> None:
        connection = self._connection
        # Without a backend as much is read as may be kept; with one, what it takes.
        full = self.buffer.full if connection is None else connection.full
        stuck = full and (connection is None or self.buffer.unsent)
        if stuck is not self._stuck:
            self._stuck = stuck
            self._owner.pause(stuck)

    def _regulate_backend(self) -> None:
        connection = self._connection
        if connection is None or self.state is State.VERIFYING:
            return
        if self._client_full:
            connection.transport.pause_reading()
        else:
            connection.transport.resume_reading()

    async def _connect(self, pool: BackendPool) -> None:
        try:
            connection = await pool.connect()
        except OSError:
            self._task = None
            self._wait()
            return
        self._task = None
        if pool is self._shared.switch.available and not connection.closed:
            self._attach(connection)
        else:
            connection.abort()
            self._become(State.WAITING)
            self.place()

    def _wait(self) -> None:
        self._become(State.WAITING)
        shared = self._shared
        if shared.closing:
            self._refuse("synccr is stopping.")
            return
        if not self._held:
            self._held = True
            shared.stats.held += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(
                shared.hold_timeout,
                self._refuse,
                f"No backend became healthy within {shared.hold_timeout:g} s.",
            )
        shared.switch.wait(self)
        self._regulate_client()

    def _resend(self) -> None:
        """Take the request back from its backend and place it again."""
        self._cancel_task()
        self._drop_connection()
        self._shared.stats.carried += 1
        self._become(State.WAITING)
        self.place()

    @property
    def _failed(self) -> bool:
        """Whether the egress judged the latest try to be none, and another can be made."""
        turn = self._turn
        if turn is None or turn.failure is None or len(turn.attempts) <= self._judged:
            return False
        return self.buffer.kept and self._whole

    def _ask_another_model(self) -> None:
        """Send the request again as one for another model, or tell the client that it is over."""
        turn, turns = self._turn, self._shared.turns
        assert turn is not None  # noqa: S101 - see `_failed`
        assert turns is not None  # noqa: S101 - it made the turn
        self._judged = len(turn.attempts)
        sent = self.buffer.join()
        body = body_of(sent)
        chosen = turns.after_failure(turn, body)
        if isinstance(chosen, Response):
            self._answer(chosen)
            return
        try:
            message = renamed(sent, body, chosen.to)
        except ValueError:
            self.fail(502, "The model did not answer, and the request names none.")
            return
        self._original = self._as_received()
        self.buffer.replace(message)
        self.exchange.again()
        if chosen.wait > 0:
            self._become(State.PAUSING)
            self._timer = asyncio.get_running_loop().call_later(chosen.wait, self._resume)
        else:
            self._become(State.WAITING)
            self.place()

    def _resume(self) -> None:
        """The pause before the next try is over; from now on ``hold_timeout`` counts."""
        self._timer = None
        self._become(State.WAITING)
        self.place()

    def _as_received(self) -> bytes:
        if self._original is not None:
            return self._original
        return self._head.raw + self.buffer.join()[self._sent_head :]

    # The answer.

    def _answered(
        self, connection: BackendConnection, head: ResponseHead, piece: bytes, rest: bytes
    ) -> bool:
        """The head of a response is there; whether to read on.

        *piece* begins with *head*, and *rest* follows it.
        """
        if head.status >= 400 and self._failed:
            self._become(State.DISCARDING)
            return True
        action = self.exchange.answered(
            head.status,
            kept=self.buffer.kept,
            serving=connection.pool is self._shared.switch.available,
            closes=not head.keep_alive,
        )
        if action is Action.PASS:
            self._pass_on(head, piece)
        elif action is Action.RESEND:
            self._resend()
            return False
        elif action is Action.VERIFY:
            self._become(State.VERIFYING)
            connection.transport.pause_reading()
            verifying = self._verify(connection, head, piece, rest)
            self._task = asyncio.get_running_loop().create_task(verifying)
            return False
        else:
            if action is Action.INTERIM and self._head.version == b"HTTP/1.1":
                self._owner.write(piece)
            connection.framer.next(bodiless=self._head.method == b"HEAD")
        return True

    async def _verify(
        self, connection: BackendConnection, head: ResponseHead, piece: bytes, rest: bytes
    ) -> None:
        """Ask whether the backend that answered 503 still listens: one that closes does not."""
        pool = connection.pool
        try:
            pool.release(await pool.connect())
        except OSError as problem:
            listening = not isinstance(problem, ConnectionRefusedError)
        else:
            listening = True
        self._task = None
        action = self.exchange.verified(
            listening=listening and pool is self._shared.switch.available, kept=self.buffer.kept
        )
        if action is Action.RESEND:
            self._resend()
            return
        self._pass_on(head, piece)
        if connection.framer.complete:
            self._complete(connection, head, more=bool(rest))
            return
        self._regulate_backend()
        if rest:
            self.backend_data(rest)

    def _pass_on(self, head: ResponseHead, piece: bytes) -> None:
        """The answer begins with *piece*, which begins with *head*."""
        self._become(State.ANSWERING)
        self._until_close = head.until_close
        if self._turn is not None and self._shared.turns is not None:
            self._shared.turns.begun(self._turn, head.status)
            piece = served_by(head, piece, self._turn.served_by)
        if self._tells_close and head.keep_alive:
            piece = closing(head, piece)
        if self._whole and not self.buffer.unsent:
            self.buffer.release()
        elif self.buffer.kept:
            self.buffer.stop_keeping()  # its backend still gets the rest
        self._owner.begin(head.status, piece)

    def _complete(self, connection: BackendConnection, head: ResponseHead, *, more: bool) -> None:
        """The response is whole; *more* when its backend went on beyond its end."""
        reusable = head.keep_alive and not more and not connection.closed
        if self.state is State.DISCARDING:
            self._drop_connection(reusable=reusable and not self.buffer.unsent)
            self._ask_another_model()
            return
        self._become(State.ANSWERED)
        if not reusable:
            connection.closed = True
        if self._whole or not head.keep_alive:  # else the rest of the request is to be sent
            self._finish(close=not head.keep_alive)

    def _finish(self, *, close: bool) -> None:
        """The answer is whole; *close* when the backend ended the connection with it."""
        close = close or not self._head.keep_alive
        connection, idle = self._connection, None
        if (
            connection is not None
            and not connection.closed
            and not self.buffer.unsent
            and connection.pool is self._shared.switch.available
        ):
            if close:
                self._drop_connection(reusable=True)
            else:
                connection.detach()
                idle, self._connection = connection, None
        self.close()
        self._owner.finished(close=close, idle=idle)

    def _lost(self) -> None:
        """The backend has gone before the answer was whole."""
        self._cancel_task()
        if self._failed and not self.exchange.begun:
            self._ask_another_model()
            return
        action = self.exchange.lost(kept=self.buffer.kept)
        if action is Action.RESEND:
            self._resend()
        elif action is Action.CUT:
            self._cut()
        else:
            self.fail(
                502,
                "The backend ended while this request was being sent; it was too large to keep.",
            )

    # The end.

    def _refuse(self, message: str) -> None:
        """No backend came, or none will: say so, and that it is worth trying again."""
        self._answer(error(503, message, retry_after=RETRY_AFTER))

    def _answer(self, response: Response) -> None:
        self.close()
        self._owner.answer(response)

    def _cut(self) -> None:
        self.close()
        self._owner.cut(until_close=self._until_close)

    def _drop_connection(self, *, reusable: bool = False) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if reusable:
            connection.pool.release(connection)
        else:
            connection.abort()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _cancel_task(self) -> None:
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
