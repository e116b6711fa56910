"""The proxy: one public port in front of changing backends.

    server ──> connection ──> stream ──> switch ──> backend_pool
    listener,  one client:    one        which      connections
    who is     cuts bytes     request    backend    to one backend
    connected  into requests  and its    is next
                  └> handlers answer
                                 └> exchange (judgement), buffer (bytes kept), resend (another
                                    model), forwarded_headers (what changes in a head)

``framing`` tells where messages begin and end, ``own_answers`` what the proxy itself says. A file
knows those to its right alone; what comes back goes through the protocols `Host`, `StreamOwner`,
`BackendUser` and `Waiter`, each of which stands in the file that calls it.
"""

from synccr.proxy.backend_pool import BackendAddress
from synccr.proxy.own_answers import Guard, Handler, Request, Response, error
from synccr.proxy.server import Observer, Proxy
from synccr.proxy.shared import Stats

__all__ = [
    "BackendAddress",
    "Guard",
    "Handler",
    "Observer",
    "Proxy",
    "Request",
    "Response",
    "Stats",
    "error",
]
