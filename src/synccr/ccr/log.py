"""One line of CCR's log -> what went wrong with a provider. Pure.

Both versions write pino's JSON lines, ``level`` first. A failed answer of a
provider is one line of level 50 from the server's own logger, without a
``reqId``; what a request carries is only in lines that have one or in other fields.

A prompt still reaches that line by one way: it may name a model (``"model":
"provider,…"`` or ``<CCR-SUBAGENT-MODEL>``), and the model's name is printed before
the status. ``Error from provider(p,main: 402): x: 404): no such model`` is what CCR
2.0.0 logs for a 404 on a model that a prompt called ``main: 402): x``. A line that
can be read in two ways is therefore ``Unclear``: something to probe, never a reason
to act.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

CANDIDATES = (b'{"level":50,', b'{"level":40,')
"""How a line that may matter begins; everything else need not be parsed."""

BODY_LIMIT = 16 * 1024
"""Characters of a provider's answer that are kept."""

_NAME_LIMIT = 256
_PREFIX = "[provider_response_error] Error from provider("
_STATUS = re.compile(r": ([1-9][0-9]{2})\): ")  # not \d: that is any script's digits
_FALLBACK_FAILED = re.compile(r"Fallback model ([^,\s]+),(\S+) failed: fetch failed")
_NOT_JSON = re.compile(r"Unexpected |Unterminated |Expected |Bad |No number ")


@dataclass(frozen=True)
class ProviderError:
    """A provider answered with an error status.

    Attributes:
        provider: its name in the configuration.
        model: None when CCR did not know it (Gemini's form does not say).
        http_status: the provider's.
        body: the beginning of its answer; from outside, may quote keys.
        at: when, UTC.
    """

    provider: str
    model: str | None
    http_status: int
    body: str
    at: datetime


@dataclass(frozen=True)
class FetchFailed:
    """A provider gave no answer that can be used.

    Attributes:
        message: refused, DNS, reset, timeout, or an answer that is no JSON.
        at: when, UTC.
        provider, model: only known when it was an in-flight fallback.
    """

    message: str
    at: datetime
    provider: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Unclear:
    """An error of a provider in words that a prompt may have put there.

    Attributes:
        provider: its name in the configuration.
        models: each name that the line may mean, the shortest first; very long ones left out.
        at: when, UTC.
    """

    provider: str
    models: tuple[str, ...]
    at: datetime


Trouble = ProviderError | FetchFailed | Unclear


class _Entry(msgspec.Struct):
    """The fields of a line that are looked at."""

    level: int
    time: float
    pid: int
    msg: str | None = None
    reqId: Any = None  # noqa: N815
    err: Any = None


_decoder = msgspec.json.Decoder(_Entry)


def parse_line(line: bytes, pid: int) -> Trouble | None:
    """What one line of the log says.

    Args:
        line: without its line break; any bytes.
        pid: of the backend that is watched; another process's lines are not its own.
    """
    if not line.startswith(CANDIDATES):
        return None
    try:
        entry = _decoder.decode(line)
        at = datetime.fromtimestamp(entry.time / 1000, UTC)
    except (msgspec.MsgspecError, ValueError, OverflowError, OSError, RecursionError):
        return None
    if entry.pid != pid or not entry.msg:
        return None
    if entry.reqId is None:
        return _provider_error(entry.msg, at) if entry.level == 50 else None
    if entry.level == 40:
        return _fallback_unreachable(entry.msg, at)
    return _fetch_failed(entry.msg, entry.err, at)


def _provider_error(said: str, at: datetime) -> Trouble | None:
    if not said.startswith(_PREFIX):
        return None
    provider, comma, rest = said[len(_PREFIX) :].partition(",")
    # To the very end: what stood beyond a limit would make a forged reading look like the only one.
    readings = list(_STATUS.finditer(rest))
    if not (provider and comma and readings):
        return None
    if len(readings) > 1:
        names = (rest[: reading.start()] for reading in readings)
        return Unclear(provider, tuple(name for name in names if len(name) <= _NAME_LIMIT), at)
    model = rest[: readings[0].start()]
    return ProviderError(
        provider=provider,
        model=None if model in ("undefined", "") else model,
        http_status=int(readings[0][1]),
        body=rest[readings[0].end() :][:BODY_LIMIT],
        at=at,
    )


def _fallback_unreachable(said: str, at: datetime) -> FetchFailed | None:
    match = _FALLBACK_FAILED.fullmatch(said)
    return FetchFailed("fetch failed", at, match[1], match[2]) if match else None


def _fetch_failed(said: str, error: object, at: datetime) -> FetchFailed | None:
    """A request that ended without an answer, or with one that is no JSON.

    Errors that CCR or its server made on purpose carry a status code; these do not.
    """
    if not isinstance(error, dict) or "statusCode" in error or "code" in error:
        return None
    message = error.get("message")
    if not isinstance(message, str):
        return None
    kind = error.get("type")
    if kind == "TypeError" and said == "fetch failed":
        return FetchFailed(message[:BODY_LIMIT], at)
    if kind == "SyntaxError" and _NOT_JSON.match(said):
        return FetchFailed(f"the answer is no JSON: {message}"[:BODY_LIMIT], at)
    return None
