"""The judge of a provider's own answer; pure: no socket, no clock.

One :class:`Judge` an answer. It is told what happens (:class:`Head`, :class:`Body`,
:class:`End`, :class:`Cut`, :class:`Silent`) and says what to do (:class:`Hold`,
:class:`Pass`, :class:`Fail`, :class:`Abort`, :class:`Done`). What a document means is
the dialect's business: :func:`dialect_for`.
"""

from __future__ import annotations

from types import MappingProxyType

from synccr.judge.anthropic_messages import MessagesAnswers
from synccr.judge.dialect import AnswerDialect, Finish, Reading, Usage
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
from synccr.judge.gemini import GeminiAnswers
from synccr.judge.judge import TRANSITIONS, Judge, State
from synccr.judge.openai_chat import ChatAnswers
from synccr.judge.openai_responses import ResponsesAnswers
from synccr.judge.outcome import Failure, Trouble, failure, own_body

__all__ = [
    "DIALECTS",
    "TRANSITIONS",
    "Abort",
    "Action",
    "AnswerDialect",
    "Body",
    "Cut",
    "Done",
    "End",
    "Event",
    "Fail",
    "Failure",
    "Finish",
    "Head",
    "Hold",
    "Judge",
    "Pass",
    "Reading",
    "Silent",
    "State",
    "Trouble",
    "Usage",
    "dialect_for",
    "failure",
    "own_body",
]

_ALL: tuple[AnswerDialect, ...] = (
    ChatAnswers(),
    MessagesAnswers(),
    GeminiAnswers(),
    ResponsesAnswers(),
)
DIALECTS = MappingProxyType({dialect.name: dialect for dialect in _ALL})


def dialect_for(name: str) -> AnswerDialect | None:
    """The dialect of this name, as ``synccr.probe.dialects`` has them; None for any other."""
    return DIALECTS.get(name)
