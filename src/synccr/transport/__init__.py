"""HTTP/1.1 towards providers, for traffic and for probes alike: proxies, TLS, reuse."""

from synccr.transport.client import Call, Transport
from synccr.transport.http_types import Answer, Broken, CannotReach, Outgoing, Receiver

__all__ = ["Answer", "Broken", "Call", "CannotReach", "Outgoing", "Receiver", "Transport"]
