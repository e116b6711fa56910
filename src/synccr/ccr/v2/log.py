"""One line of CCR's log -> what went wrong with a provider. Pure.

Both versions write pino's JSON lines, ``level`` first. A failed answer of a
provider is one line of level 50 from the server's own logger, without a
``reqId``; what a request carries is only in lines that have one or in other fields.

A prompt still reaches that line by one way: it may name a model (``"model":
"provider,…"`` or ``<CCR-SUBAGENT-MODEL>``), and the model's name is printed before
the status. ``Error from provider(p,main: 402): x: 404): no such model`` is what CCR
2.0.0 logs for a 404 on a model that a prompt called ``main: 402): x``. A line that
can be read in two ways is therefore an ``UnclearFailure``: something to probe, never a
reason to act.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from synccr.classify.logged import LoggedFailure, NetworkFailed, ProviderFailed, UnclearFailure

CANDIDATES = (b'{"level":50,',)
"""How a line that may matter begins; everything else need not be parsed."""

BODY_LIMIT = 16 * 1024
"""Characters of a provider's answer that are kept."""

_NAME_LIMIT = 256
_PREFIX = "[provider_response_error] Error from provider("
_STATUS = re.compile(r": ([1-9][0-9]{2})\): ")  # not \d: that is any script's digits
_NOT_JSON = re.compile(r"Unexpected |Unterminated |Expected |Bad |No number ")


class _Entry(msgspec.Struct):
    """The fields of a line that are looked at."""

    level: int
    time: float
    pid: int
    msg: str | None = None
    reqId: Any = None  # noqa: N815
    err: Any = None


_decoder = msgspec.json.Decoder(_Entry)


def parse_line(line: bytes, pid: int) -> LoggedFailure | None:
    """What one line of the log says; bodies are as the provider sent them and may quote keys.

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
    if entry.level != 50 or entry.pid != pid or not entry.msg:
        return None
    if entry.reqId is None:
        return _provider_failed(entry.msg, at)
    return _network_failed(entry.msg, entry.err)


def _provider_failed(said: str, at: datetime) -> LoggedFailure | None:
    if not said.startswith(_PREFIX):
        return None
    provider, comma, rest = said[len(_PREFIX) :].partition(",")
    # To the very end: what stood beyond a limit would make a forged reading look like the only one.
    readings = list(_STATUS.finditer(rest))
    if not (provider and comma and readings):
        return None
    if len(readings) > 1:
        names = (rest[: reading.start()] for reading in readings)
        return UnclearFailure(provider, tuple(n for n in names if len(n) <= _NAME_LIMIT))
    model = rest[: readings[0].start()]
    return ProviderFailed(
        provider=provider,
        model=None if model in ("undefined", "") else model,
        http_status=int(readings[0][1]),
        body=rest[readings[0].end() :][:BODY_LIMIT],
        at=at,
    )


def _network_failed(said: str, error: object) -> NetworkFailed | None:
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
        return NetworkFailed(message[:BODY_LIMIT])
    if kind == "SyntaxError" and _NOT_JSON.match(said):
        return NetworkFailed(f"the answer is no JSON: {message}"[:BODY_LIMIT])
    return None
