"""The relay: one public port in front of changing backends."""

from synccr.proxy.backend_set import Backend
from synccr.proxy.messages import Guard, Interceptor, Request, Response, error
from synccr.proxy.server import Observer, Proxy, Stats

__all__ = [
    "Backend",
    "Guard",
    "Interceptor",
    "Observer",
    "Proxy",
    "Request",
    "Response",
    "Stats",
    "error",
]
