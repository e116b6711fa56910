"""The relay: one public port in front of changing backends."""

from synccr.relay.messages import Guard, Interceptor, Request, Response, error
from synccr.relay.server import Observer, Relay, Stats
from synccr.relay.upstream import Backend

__all__ = [
    "Backend",
    "Guard",
    "Interceptor",
    "Observer",
    "Relay",
    "Request",
    "Response",
    "Stats",
    "error",
]
