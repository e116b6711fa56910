"""Orders and records over HTTP, for a provider that runs in another process.

``POST /_control/behaviour``   {"target": MODEL, "behaviour": B, "times": N} and, or instead,
                               {"schedule": [B, ...]}, {"credit": N}; B as in ``BehaviourLike``
``GET /_control/requests``     {"requests": [...]}, oldest first
``DELETE /_control/requests``  forget them
"""

from __future__ import annotations

from typing import Any

import msgspec

from synccr.demo.server import HttpReply, HttpRequest, json_reply

from .records import RequestLog
from .script import Script

PREFIX = "/_control/"

_Behaviour = str | int | dict[str, Any]


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    target: str
    behaviour: _Behaviour | msgspec.UnsetType | None = msgspec.UNSET
    times: int | None = None
    schedule: list[_Behaviour] | None = None
    credit: int | msgspec.UnsetType | None = msgspec.UNSET


def obey(script: Script, log: RequestLog, request: HttpRequest) -> HttpReply:
    """Carry out one request to the control endpoint."""
    answer: dict[str, Any] = {}
    match request.method, request.path.removeprefix(PREFIX):
        case "GET", "requests":
            answer = {"requests": [record.as_json() for record in log.get()]}
        case "DELETE", "requests":
            log.clear()
        case "POST", "behaviour":
            try:
                _carry_out(script, msgspec.json.decode(request.body, type=_Order))
            except ValueError as error:  # msgspec's errors are ValueErrors too
                return json_reply(400, msgspec.json.encode({"error": str(error)}))
        case _:
            return json_reply(404, b'{"error":"Not Found"}')
    return json_reply(200, msgspec.json.encode(answer))


def _carry_out(script: Script, order: _Order) -> None:
    if order.behaviour is not msgspec.UNSET:
        script.set(order.target, order.behaviour, times=order.times)
    if order.schedule is not None:
        script.schedule(order.target, order.schedule)
    if order.credit is not msgspec.UNSET:
        script.credit(order.target, order.credit)
