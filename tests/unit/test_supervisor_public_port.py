"""Who may use the public port when it has no key."""

from __future__ import annotations

import pytest

from synccr.proxy.framing import RequestFramer, RequestHead
from synccr.supervisor.public_port import browser_guard, closed_path, key_guard

PORT = 3456


def head(method: str = "POST", **fields: str) -> RequestHead:
    framer = RequestFramer()
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    framer.feed("\r\n".join([f"{method} / HTTP/1.1", *lines, "", ""]).encode())
    assert framer.head is not None
    return framer.head


PASS = [
    {"host": "127.0.0.1:3456"},
    {"host": "LOCALHOST:3456"},
    {"host": "[::1]:3456"},
    {"host": "localhost"},
    {},
    {"host": "localhost:3456", "origin": "http://localhost:3456"},
    {"host": "127.0.0.1:3456", "origin": "http://127.0.0.1:3456", "sec_fetch_site": "same-origin"},
    {"host": "127.0.0.1:3456", "sec_fetch_site": "none"},
]
REFUSED = [
    {"host": "evil.example:3456"},
    {"host": "127.0.0.1:3456.evil.example"},
    {"host": "127.0.0.1:3456", "origin": "http://evil.example"},
    {"host": "127.0.0.1:3456", "origin": "null"},
    {"host": "127.0.0.1:3456", "origin": ""},
    {"host": "127.0.0.1:3456", "origin": "http://localhost:3456"},
    {"origin": "http://"},
    {"origin": "http://127.0.0.1:3456"},
    {"host": "127.0.0.1:3456", "sec_fetch_site": "cross-site"},
    {"host": "127.0.0.1:3456", "sec_fetch_site": "same-site", "sec_fetch_mode": "navigate"},
]


@pytest.mark.parametrize("fields", PASS)
def test_who_passes(fields: dict[str, str]) -> None:
    """Clients that are no browser, and CCR's own page."""
    found = head(**fields)
    assert browser_guard(PORT)(found.method, found.target, found) is None


@pytest.mark.parametrize("fields", REFUSED)
def test_who_is_refused(fields: dict[str, str]) -> None:
    """Pages of other origins, and pages that call themselves another name."""
    found = head(**fields)
    assert browser_guard(PORT)(found.method, found.target, found)


def test_a_link_may_be_walked() -> None:
    """Following a link to CCR's page from elsewhere only looks at it."""
    fields = {"host": "localhost:3456", "sec_fetch_site": "cross-site"}
    found = head("GET", sec_fetch_mode="navigate", **fields)
    assert browser_guard(PORT)(found.method, found.target, found) is None


def test_open_to_other_machines() -> None:
    """Listening on another address any name may be used, but a page of another origin not."""
    guard = browser_guard(PORT, "0.0.0.0")
    found = head(host="box.lan:3456")
    assert guard(found.method, found.target, found) is None
    found = head(host="box.lan:3456", origin="http://evil.example")
    assert guard(found.method, found.target, found)


@pytest.mark.parametrize(
    ("target", "fields", "status"),
    [
        ("/v1/messages", {}, 401),
        ("/v1/messages", {"authorization": "Bearer right"}, None),
        ("/v1/messages", {"x_api_key": "right"}, None),
        ("/v1/messages", {"authorization": "Bearer wrong", "x_api_key": "right"}, 401),
        ("/v1/messages?beta=true", {"x_api_key": "righ"}, 401),
        ("/", {}, None),
        ("/health?x", {}, None),
        ("/healthy", {}, 401),
    ],
)
def test_who_has_the_key(target: str, fields: dict[str, str], status: int | None) -> None:
    """As CCR 2.0.0 asks for it."""
    found = head("POST", **fields)
    refused = key_guard("right")(found.method, target.encode(), found)
    assert (refused.status if refused else None) == status


@pytest.mark.parametrize(
    ("target", "closed"),
    [
        ("/v1/messages", False),
        ("/v1/models", False),
        ("/health", False),
        ("/__ccr/remote/capabilities", True),
        ("/%5f_ccr/remote", True),
        ("/v1/oauth/token?x", True),
        ("http://127.0.0.1:3456/v1/oauth/token", True),
    ],
)
def test_what_is_no_model_interface(target: str, closed: bool) -> None:
    """Nobody is let in by the secret of the proxy."""
    assert (closed_path(target.encode()) is not None) is closed
