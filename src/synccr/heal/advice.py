"""Sentences on models' troubles: what they are, and what a person can do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from synccr.models.report import Report, Reports, Status

_NETWORK = "Check the network and the provider's address."


def summary(reports: Reports) -> str:
    """The state of some models in one line: the first six, and how many more."""
    found = [f"{ref} {report.status}" for ref, report in reports.items()]
    return "; ".join(found[:6]) + (f"; and {len(found) - 6} more" if len(found) > 6 else "")


def advice_on(reports: Iterable[Report]) -> str:
    """What to do about some models' troubles; empty when there is nothing to do."""
    return " ".join(advice_lines(reports))


def advice_lines(reports: Iterable[Report]) -> list[str]:
    """As ``advice``, with all that the reports tell."""
    found = list(reports)
    renewals = [r.retry_at for r in found if r.status is Status.QUOTA and r.retry_at is not None]
    details = (r.detail for r in found if r.status is Status.UNREACHABLE)
    unreachable = " ".join(dict.fromkeys(map(_when_unreachable, details)))
    return advice((r.status for r in found), min(renewals, default=None), unreachable)


def _when_unreachable(detail: str) -> str:
    """What to do, by what the transport says."""
    if proxy := re.search(r"the proxy \S+ \(([^)]+)\)", detail):
        return f"Check the proxy: look at {proxy[1]}."
    if "NODE_EXTRA_CA_CERTS" in detail:
        return "Put the file of your network's certificate authority into NODE_EXTRA_CA_CERTS."
    return _NETWORK


def advice(
    statuses: Iterable[Status], renewal: datetime | None = None, unreachable: str = _NETWORK
) -> list[str]:
    """One sentence a kind of trouble, the most telling first.

    Args:
        statuses: the troubles there are.
        renewal: when the quota renews, if that is known.
        unreachable: what to do about providers that cannot be reached.
    """
    until = f"until {renewal:%Y-%m-%d %H:%M} UTC, when the quota renews" if renewal else ""
    words = {
        Status.AUTH: "Check the provider's key.",
        Status.BILLING: "Top up or upgrade at the provider (synthetic.new: https://synthetic.new/billing).",
        Status.QUOTA: f"Wait {until or 'until the quota renews'}, or upgrade.",
        Status.MISSING: "Run synccr models for names that exist.",
        Status.UNREACHABLE: unreachable,
        Status.TIMEOUT: "Try again, or raise preflight_timeout.",
        Status.OVERLOADED: "Try again in some minutes.",
        Status.RATE_LIMITED: "Try again in a minute.",
    }
    seen = set(statuses)
    return [text for status, text in words.items() if status in seen]
