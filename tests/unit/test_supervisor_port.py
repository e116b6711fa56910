"""Who may ask the public port for what CCR's own page asks."""

from __future__ import annotations

import pytest

from synccr.proxy.framing import RequestFramer
from synccr.supervisor.public_port import page_refusal

PORT = 3456


@pytest.mark.parametrize(
    ("field", "key", "status"),
    [
        ("x-other: 1", None, None),
        ("origin: http://127.0.0.1:3456", None, None),
        ("origin: http://localhost:3456", None, None),
        ("origin: http://127.0.0.1:3457", None, 403),
        ("origin: https://evil.example", None, 403),
        ("origin: null", "", 403),
        ("x-other: 1", "secret", 401),
        ("origin: http://127.0.0.1:3456", "secret", 401),
        ("authorization: Bearer wrong", "secret", 401),
        ("authorization: Bearer secret", "secret", None),
        ("authorization: secret", "secret", None),
        ("x-api-key: secret", "secret", None),
        ("x-api-key: secre", "secret", 401),
    ],
)
def test_the_page_is_let_in_as_ccr_would(field: str, key: str | None, status: int | None) -> None:
    """With an APIKEY it is asked for; without one a foreign web page is refused."""
    framer = RequestFramer()
    framer.feed(f"POST /api/restart HTTP/1.1\r\nhost: x\r\n{field}\r\n\r\n".encode())
    assert framer.head is not None
    refusal = page_refusal(framer.head, PORT, key)
    assert (refusal and refusal[0]) == status
