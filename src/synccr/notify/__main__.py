"""The child that delivers one message: order in JSON on standard input, exit code 0 when it
was delivered, else one line on standard error that says why not and names no address."""

from __future__ import annotations

import json
import logging
import sys
from ipaddress import ip_address
from urllib.parse import urlsplit

from synccr.notify import Notice, Target, has, lacks

_HTTP_TIMEOUT = 10.0


def main() -> int:
    """Deliver what standard input says."""
    logging.disable(logging.CRITICAL)  # apprise logs addresses, tokens included
    order = json.loads(sys.stdin.buffer.read())
    notice = Notice(**order["notice"])
    to = Target(order["way"], url=order["url"])
    failure = lacks(to, {}) or (_desktop(notice) if to.way == "desktop" else _url(to.url, notice))
    if failure:
        sys.stderr.write(failure + "\n")
    return 1 if failure else 0


def _desktop(notice: Notice) -> str | None:
    from desktop_notifier.sync import DesktopNotifierSync

    taken: list[bool] = []
    try:
        notifier = DesktopNotifierSync(app_name="synccr")
        if not notifier.get_capabilities():
            return "there are no desktop notifications here (no session, or an unsigned Python)"
        notifier.send(
            title="synccr",
            message=f"{notice.text}\n{notice.todo}".strip(),
            on_dispatched=lambda: taken.append(True),  # what fails is only logged there
        )
    except Exception as error:  # noqa: BLE001  # D-Bus, AppKit and WinRT each have their own
        return f"no desktop notification: {type(error).__name__}: {error}"
    return None if taken else "the desktop did not take the notification"


def _url(url: str, notice: Notice) -> str | None:
    """A service that apprise knows by its address; else a plain web hook."""
    parts = urlsplit(url)
    scheme, hook = parts.scheme.lower(), parts.scheme.lower() in ("http", "https")
    if not (hook and _is_loopback(parts.hostname or "")) and has("apprise"):
        import apprise

        if service := apprise.Apprise.instantiate(url, suppress_exceptions=True):
            done = service.notify(body=f"{notice.text}\n{notice.todo}".strip(), title="synccr")
            return None if done else f"{type(service).__name__} did not take the message"
    return _web_hook(url, notice) if hook else f"apprise does not know this {scheme}:// address"


def _web_hook(url: str, notice: Notice) -> str | None:
    """``POST`` of the message in JSON; ``text`` is what chat services show."""
    import httpx

    document = {
        "text": notice.line,
        "kind": notice.kind,
        "what": notice.text,
        "todo": notice.todo,
        "at": notice.at,
    }
    try:
        answer = httpx.post(
            url,
            json=document,
            timeout=_HTTP_TIMEOUT,
            trust_env=not _is_loopback(urlsplit(url).hostname or ""),
        )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return f"the web hook was not reached ({type(error).__name__})"
    return None if answer.is_success else f"the web hook answered {answer.status_code}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
