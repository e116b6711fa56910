"""What the words of an error answer mean: for each HTTP status rows, of which the first counts.

A row is a status, what it is about, and the signs that must all be there; one without signs is
what the HTTP status means by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from synccr.classify import error_phrases
from synccr.classify.error_body import Words
from synccr.classify.error_phrases import Phrase
from synccr.classify.verdict import Scope
from synccr.models.report import Status


class Sign(NamedTuple):
    """Any of these tells.

    Attributes:
        codes: one of these code words.
        code_part: a part of a code word.
        phrase: in the sentence.
        blamed: all of the name of the request's field at fault.
        anywhere: the phrase counts in all of the text, however far from its beginning.
    """

    codes: frozenset[str] = frozenset()
    code_part: str = ""
    phrase: Phrase | re.Pattern[str] | None = None
    blamed: re.Pattern[str] | None = None
    anywhere: bool = False

    def is_in(self, words: Words, sentence: str) -> bool:
        """Whether an answer has it.

        Args:
            words: of the answer.
            sentence: what of its text is to be trusted.
        """
        text = words.text if self.anywhere else sentence
        return bool(
            self.codes & words.codes
            or (self.code_part and any(self.code_part in code for code in words.codes))
            or (self.phrase and self.phrase.search(text))
            or (self.blamed and self.blamed.fullmatch(words.param))
        )


class Rule(NamedTuple):
    """One row."""

    status: Status
    scope: Scope
    signs: tuple[Sign, ...] = ()


def _rule(status: Status, scope: Scope, *signs: Sign) -> Rule:
    return Rule(status, scope, signs)


_ONE_MODEL = Sign(error_phrases.ONE_MODEL_CODES, phrase=error_phrases.ONE_MODEL, anywhere=True)
_BILLING_CODE = Sign(error_phrases.BILLING_CODES)
_NO_CREDIT = Sign(error_phrases.BILLING_CODES, phrase=error_phrases.NO_CREDIT)
_NO_CREDIT_PHRASE = Sign(phrase=error_phrases.NO_CREDIT)
_BILLING_WORD = Sign(phrase=error_phrases.BILLING_WORD)
_USAGE_LIMIT = Sign(phrase=error_phrases.USAGE_LIMIT)
_LONG_WINDOW = Sign(phrase=error_phrases.LONG_WINDOW)
_PER_MODEL = Sign(code_part="permodel", phrase=error_phrases.PER_MODEL)
_GOOGLE = Sign(frozenset({"resourceexhausted"}), phrase=re.compile("RESOURCE_EXHAUSTED"))
_GOOGLE_CAP = Sign(code_part="perday", phrase=error_phrases.CAP)

REQUEST_FAULT = _rule(Status.UNVERIFIED, Scope.REQUEST)

_MISSING = (_rule(Status.MISSING, Scope.MODEL),)
_OVERLOADED = (_rule(Status.OVERLOADED, Scope.MODEL),)
_REDIRECTED = (_rule(Status.UNREACHABLE, Scope.MODEL),)

_BAD_REQUEST = (
    _rule(Status.BILLING, Scope.MODEL, _BILLING_CODE, _ONE_MODEL),
    _rule(Status.BILLING, Scope.KEY, _BILLING_CODE),
    _rule(
        *(Status.MISSING, Scope.MODEL),
        Sign(error_phrases.MISSING_CODES, blamed=re.compile("model")),
    ),
    _rule(Status.AUTH, Scope.KEY, Sign(error_phrases.AUTH_CODES)),
    _rule(
        *(Status.UNVERIFIED, Scope.REQUEST),
        Sign(phrase=error_phrases.FIELD_PATH, blamed=re.compile(".+", re.DOTALL)),
    ),
    _rule(Status.QUOTA, Scope.KEY, _USAGE_LIMIT),
    _rule(Status.BILLING, Scope.MODEL, _NO_CREDIT_PHRASE, _ONE_MODEL),
    _rule(Status.BILLING, Scope.KEY, _NO_CREDIT_PHRASE),
    _rule(Status.UNVERIFIED, Scope.REQUEST, Sign(phrase=error_phrases.TOO_MUCH)),
    _rule(Status.BILLING, Scope.MODEL, Sign(phrase=error_phrases.BILLING_PHRASE)),
    _rule(Status.AUTH, Scope.KEY, Sign(phrase=error_phrases.BAD_KEY)),
    _rule(Status.MISSING, Scope.MODEL, Sign(phrase=error_phrases.NO_MODEL)),
    REQUEST_FAULT,
)
"""400, 412, 422 and the like: the model's, the account's, or the request's own trouble."""

_RULES: Mapping[int, tuple[Rule, ...]] = {
    401: (
        _rule(Status.BILLING, Scope.KEY, _BILLING_CODE),
        _rule(Status.AUTH, Scope.KEY),
    ),
    # Nothing is left at all, as opposed to a plan without this model.
    402: (
        _rule(Status.BILLING, Scope.MODEL, _ONE_MODEL),
        _rule(Status.BILLING, Scope.KEY, _NO_CREDIT),
        _rule(Status.BILLING, Scope.MODEL),
    ),
    # No money, a spent cap, one model out of bounds, or a key without rights.
    403: (
        _rule(Status.BILLING, Scope.MODEL, _BILLING_CODE, _ONE_MODEL),
        _rule(Status.BILLING, Scope.KEY, _BILLING_CODE),
        _rule(Status.QUOTA, Scope.KEY, _USAGE_LIMIT),
        _rule(Status.BILLING, Scope.MODEL, _BILLING_WORD, _ONE_MODEL),
        _rule(Status.BILLING, Scope.KEY, _BILLING_WORD, _NO_CREDIT),
        _rule(Status.BILLING, Scope.MODEL, _BILLING_WORD),
        _rule(
            *(Status.AUTH, Scope.MODEL),
            Sign(error_phrases.MISSING_CODES, phrase=error_phrases.MODEL_ACCESS),
        ),
        _rule(Status.AUTH, Scope.KEY),
    ),
    404: (
        _rule(Status.UNVERIFIED, Scope.REQUEST, Sign(phrase=error_phrases.MODALITY)),
        *_MISSING,
    ),
    405: _MISSING,
    408: (_rule(Status.TIMEOUT, Scope.MODEL),),
    410: _MISSING,
    # A cap that is spent, credit that is gone, or only too fast.
    429: (
        _rule(Status.QUOTA, Scope.MODEL, _GOOGLE, _GOOGLE_CAP, _PER_MODEL),
        _rule(Status.QUOTA, Scope.KEY, _GOOGLE, _GOOGLE_CAP),
        _rule(Status.RATE_LIMITED, Scope.MODEL, _GOOGLE),
        _rule(Status.RATE_LIMITED, Scope.MODEL, Sign(phrase=error_phrases.SHORT_WINDOW)),
        _rule(Status.QUOTA, Scope.MODEL, Sign(error_phrases.ONE_MODEL_QUOTA_CODES)),
        _rule(Status.QUOTA, Scope.KEY, Sign(error_phrases.QUOTA_CODES)),
        _rule(Status.BILLING, Scope.MODEL, Sign(error_phrases.ONE_MODEL_CODES)),
        _rule(Status.BILLING, Scope.KEY, _NO_CREDIT),
        _rule(Status.QUOTA, Scope.MODEL, _LONG_WINDOW, _PER_MODEL),
        _rule(Status.QUOTA, Scope.KEY, _LONG_WINDOW),
        _rule(Status.RATE_LIMITED, Scope.MODEL),
    ),
    **dict.fromkeys((409, 423, 424, 425, 498, 499), _OVERLOADED),
}

_ECHO_LIMIT = 400
"""Characters of a 400's sentence that are judged: an echoed prompt comes later."""


def matching(http: int, words: Words) -> Rule:
    """The row that says what an error answer means.

    Args:
        http: its status, or that inside its body.
        words: what it says.
    """
    if words.codes & error_phrases.REQUEST_CODES:
        return REQUEST_FAULT
    rules, sentence = _RULES.get(http), words.text
    if rules is None and 400 <= http < 500:
        rules, sentence = _BAD_REQUEST, error_phrases.QUOTATION.sub("", sentence[:_ECHO_LIMIT])
    elif rules is None:
        rules = _REDIRECTED if 300 <= http < 400 else _OVERLOADED
    return next(rule for rule in rules if all(sign.is_in(words, sentence) for sign in rule.signs))
