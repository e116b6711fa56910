"""The judge of a provider's own answer: events in, actions out; no socket, no clock."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType

from synccr.judge import errors
from synccr.judge.dialect import AnswerDialect, Usage
from synccr.judge.events import (
    Abort,
    Action,
    Body,
    Cut,
    Done,
    End,
    Event,
    Fail,
    Head,
    Hold,
    Pass,
    Silent,
)
from synccr.judge.form import Form, UnknownForm, WholeDocument, after_content, is_stream
from synccr.judge.outcome import BODY_LIMIT, Failure, Trouble, failure
from synccr.judge.stream import EventStream

REFUSAL_LIMIT = 64 << 10
"""Bytes of an HTTP error's body after which no more are waited for."""
_HOLD = Hold()


class State(StrEnum):
    """Where an answer is."""

    HEAD = "head"
    """Nothing has come."""
    REFUSED = "refused"
    """An HTTP error; its words are collected."""
    HELD = "held"
    """A 2xx without content so far."""
    PASSING = "passing"
    """Content was passed on."""
    WHOLE = "whole"
    """The end mark was passed on; the framing may still end, or not."""
    OVER = "over"
    """Nothing follows."""


_PASSING, _WHOLE, _OVER = State.PASSING, State.WHOLE, State.OVER
_FAIL, _ABORT, _DONE = (Fail, _OVER), (Abort, _OVER), (Done, _OVER)
TRANSITIONS = MappingProxyType(
    {
        (State.HEAD, Head): ((Hold, State.REFUSED), (Hold, State.HELD)),
        (State.HEAD, End): (_FAIL,),
        (State.HEAD, Cut): (_FAIL,),
        (State.HEAD, Silent): (_FAIL,),
        (State.REFUSED, Body): ((Hold, State.REFUSED), _FAIL),
        (State.REFUSED, End): (_FAIL,),
        (State.REFUSED, Cut): (_FAIL,),
        (State.REFUSED, Silent): (_FAIL,),
        (State.HELD, Body): (
            (Hold, State.HELD),
            (Pass, State.PASSING),
            (Pass, State.WHOLE),
            _FAIL,
            _ABORT,
            _DONE,
        ),
        (State.HELD, End): (_FAIL, _ABORT, _DONE),
        (State.HELD, Cut): (_FAIL, _DONE),
        (State.HELD, Silent): (_FAIL, _DONE),
        (State.PASSING, Body): (
            (Hold, State.PASSING),
            (Pass, State.PASSING),
            (Pass, State.WHOLE),
            _ABORT,
            _DONE,
        ),
        (State.PASSING, End): (_ABORT, _DONE),
        (State.PASSING, Cut): (_ABORT,),
        (State.PASSING, Silent): (_ABORT,),
        (State.WHOLE, Body): ((Hold, State.WHOLE), (Pass, State.WHOLE), _DONE),
        (State.WHOLE, End): (_DONE,),
        (State.WHOLE, Cut): (_DONE,),
        (State.WHOLE, Silent): (_DONE,),
        **{(_OVER, event): ((Hold, _OVER),) for event in (Head, Body, End, Cut, Silent)},
    }
)
"""All that can happen: what is done in a state upon an event, and the state after it."""


class Judge:
    """Judges one answer.

    ::

        state    event   action and the state after it
        head     Head    Hold refused, Hold held
        head     End     Fail over
        head     Cut     Fail over
        head     Silent  Fail over
        refused  Body    Hold refused, Fail over
        refused  End     Fail over
        refused  Cut     Fail over
        refused  Silent  Fail over
        held     Body    Hold held, Pass passing, Pass whole, Fail over, Abort over, Done over
        held     End     Fail over, Abort over, Done over
        held     Cut     Fail over, Done over
        held     Silent  Fail over, Done over
        passing  Body    Hold passing, Pass passing, Pass whole, Abort over, Done over
        passing  End     Abort over, Done over
        passing  Cut     Abort over
        passing  Silent  Abort over
        whole    Body    Hold whole, Pass whole, Done over
        whole    End     Done over
        whole    Cut     Done over
        whole    Silent  Done over
        over     Head    Hold over
        over     Body    Hold over
        over     End     Hold over
        over     Cut     Hold over
        over     Silent  Hold over

    The verdict and the bytes that are passed on depend on the bytes alone, not on how
    they are cut into pieces. At most ``limit`` bytes of a stream are held, 32 MiB of a
    document, and the piece just taken.

    Args:
        dialect: the form of the answer; None: judged by status, emptiness, cut and silence.
        streamed: a stream was asked for; of use where the dialect is not known.
        done_alone: this model ends its streams with ``[DONE]`` and no finish reason.
        accept_empty: pass a "stop" without content on.
        limit: bytes of a stream that are held; beyond it they pass.
    """

    def __init__(
        self,
        dialect: AnswerDialect | None,
        *,
        streamed: bool,
        done_alone: bool = False,
        accept_empty: bool = False,
        limit: int = 1 << 20,
    ) -> None:
        self.state = State.HEAD
        self._dialect = dialect
        self._streamed = streamed
        self._done_alone = done_alone
        self._accept_empty = accept_empty
        self._limit = limit
        self._status = 0
        self._content_type = ""
        self._opening = bytearray()  # a refusal's words, or what shows the form
        self._size = 0
        self._form: Form | None = None

    @property
    def usage(self) -> Usage | None:
        """Tokens as told by the provider so far."""
        return self._form.usage if self._form else None

    @property
    def began(self) -> bool:
        """Content has been passed on, or was with the last action."""
        return self._form is not None and self._form.begun

    @property
    def whole(self) -> bool:
        """The end mark was seen: the answer may be ended though the provider has not."""
        return self._form is not None and self._form.whole

    def take(self, event: Event) -> Action:
        """The one action for this event.

        Raises:
            ValueError: the event has no place in this state: a second head, or a body
                before it.
        """
        if self.state is _OVER:
            return _HOLD
        if self._form is not None and type(event) is Body:
            return self._act(self._form, self._form.feed(event.data))
        if (self.state, type(event)) not in TRANSITIONS:
            raise ValueError(f"{type(event).__name__} while {self.state}")
        match event:
            case Body(data):
                return self._refused(data) if self.state is State.REFUSED else self._body(data)
            case Head(status, content_type):
                self._status, self._content_type = status, content_type
                self.state = State.REFUSED if status >= 300 else State.HELD
                return _HOLD
            case End():
                return self._end()
            case Cut(reason):
                return self._lost(failure(Trouble.CUT, f"the answer broke off: {reason}"))
            case Silent(seconds):
                said = f"no byte for {seconds:.3g} s"
                return self._lost(failure(Trouble.SILENT, said, http_status=504))

    def _refused(self, data: bytes) -> Action:
        self._size += len(data)
        self._opening += data[: BODY_LIMIT - len(self._opening)]
        return self._refusal() if self._size > REFUSAL_LIMIT else _HOLD

    def _refusal(self) -> Action:
        body = bytes(self._opening)
        detail = errors.detail_of(self._status, body)
        return self._fail(failure(Trouble.STATUS, detail, http_status=self._status, body=body))

    def _body(self, data: bytes) -> Action:
        if self._form is None:
            self._opening += data
            self._form = self._recognized()
            if self._form is None:
                return _HOLD
            data = bytes(self._opening)
            self._opening.clear()
        return self._act(self._form, self._form.feed(data))

    def _recognized(self) -> Form | None:
        if self._dialect is None:
            return UnknownForm(streamed=self._streamed)
        stream = is_stream(self._content_type, self._opening)
        if stream is None:
            return None
        if not stream:
            return WholeDocument(self._dialect, accept_empty=self._accept_empty)
        return EventStream(
            self._dialect,
            limit=self._limit,
            done_alone=self._done_alone,
            accept_empty=self._accept_empty,
        )

    def _end(self) -> Action:
        if self.state is State.HEAD:
            return self._fail(failure(Trouble.CUT, "no answer"))
        if self.state is State.REFUSED:
            return self._refusal()
        form = self._settled()
        return self._act(form, form.end())

    def _lost(self, trouble: Failure) -> Action:
        if self.state is State.HEAD:
            return self._fail(trouble)
        if self.state is State.REFUSED:
            return self._refusal()
        form = self._settled()
        return self._act(form, form.lost(trouble))

    def _settled(self) -> Form:
        """The form; an answer that ends before it has shown one is a document at best."""
        if self._form is None:
            if self._dialect is None:
                self._form = UnknownForm(streamed=self._streamed)
            else:
                self._form = WholeDocument(self._dialect, accept_empty=self._accept_empty)
            self._form.feed(bytes(self._opening))
        return self._form

    def _act(self, form: Form, data: bytes) -> Action:
        if form.failure:
            if not form.begun:
                return self._fail(form.failure)
            self.state = _OVER
            return Abort(after_content(form.failure), data)
        if form.over:
            self.state = _OVER
            return Done(data)
        if not form.begun:
            return _HOLD
        self.state = _WHOLE if form.whole else _PASSING
        return Pass(data) if data else _HOLD

    def _fail(self, trouble: Failure) -> Action:
        self.state = _OVER
        return Fail(trouble)
