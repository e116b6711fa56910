"""One small real request to one model, and what it shows."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from synccr.classify import Scope, Verdict, classify
from synccr.classify.error_body import read
from synccr.config.profile import Provider
from synccr.models.report import TRANSIENT, Quota, Report, Status
from synccr.models.shape import Shape
from synccr.probe.dialects import ProbeDialect, dialect_of, document_in, padding
from synccr.probe.hints import transformer_hint, url_hint
from synccr.probe.quotas import quotas_in_headers
from synccr.probe.transport import SYSTEM_CLOCK, Clock, Fetcher, NoReply, ProbeReply, send
from synccr.redact import Redactor, printable

if TYPE_CHECKING:
    from synccr.probe.streamed import Judged

_PAUSE_FIRST = 0.5
_PAUSE_MOST = 8.0
_ABOUT_TOOLS = re.compile(r"\btools?\b|tool[_ ]|function.?call", re.IGNORECASE)
_NEEDS_JINJA = re.compile(r"\btools? param requires\b", re.IGNORECASE)
"""llama.cpp's refusal of tools, the only one that is known to be a 500."""
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")
_KEEPS_TOOLS_APART = frozenset({401, 402, 403, 429})
"""Statuses that are never about tools."""


@dataclass(frozen=True)
class ProbeResult:
    """A report, and what it cannot hold.

    Attributes:
        declined: the model answered a request to call a tool in words. Alone this proves
            nothing: there are servers that ignore tools.
        quotas: rate limits that the answer's headers told.
    """

    report: Report
    declined: bool = False
    quotas: tuple[Quota, ...] = ()


async def probe(
    provider: Provider,
    model: str,
    client: Fetcher,
    *,
    timeout: float,
    attempts: int,
    redact: Redactor,
    clock: Clock = SYSTEM_CLOCK,
) -> Report:
    """Ask one model for one small completion with a tool call; never raises for its failure.

    Args:
        provider: whom to ask; nothing is sent when it lacks its key.
        model: by the provider's own name.
        client: of ``transport.make_client``.
        timeout: seconds for everything, pauses and further attempts included.
        attempts: how often a passing trouble is asked about.
        redact: keeps secrets out of the detail.
        clock: time.
    """
    finding = await examine(
        provider, model, client, timeout=timeout, attempts=attempts, redact=redact, clock=clock
    )
    return finding.report


async def examine(
    provider: Provider,
    model: str,
    client: Fetcher,
    *,
    timeout: float,
    attempts: int,
    redact: Redactor,
    clock: Clock = SYSTEM_CLOCK,
    forced: bool = False,
    like: Shape | None = None,
    finishes: bool = False,
    jitter: Callable[[], float] = random.random,
) -> ProbeResult:
    """As ``probe``; ``forced`` leaves the model no way but to call the tool.

    A forced or willing tool call is a completion too, so that a good model costs one
    request. When the request with a tool is turned down, one without decides.

    Args:
        like: what failed in traffic, and is to be resembled: a stream is asked for and judged
            as traffic's, and a large prompt gets twice the time.
        finishes: the model's streams are known to end with a finish reason.
    """
    dialect = dialect_of(provider, model)
    known = unasked(provider, model, clock.now())
    if known is not None or dialect is None:
        return ProbeResult(known or _untold(provider, model, clock.now()))
    streamed = like is not None and like.stream
    inquiry = _Inquiry(provider, model, dialect, redact, clock, streamed, finishes)
    deadline = clock.monotonic() + timeout * (2 if padding(like) else 1)
    tools, refusal, attempt = True, "", 0
    quotas: tuple[Quota, ...] = ()
    while True:
        attempt += 1
        ask = dialect.ask(provider, model, tools=tools, forced=forced and tools, like=like)
        left = max(0.05, deadline - clock.monotonic())
        reply = await send(ask, client, timeout=left, clock=clock)
        if isinstance(reply, NoReply):
            report, again = inquiry.unanswered(reply), reply.again
        else:
            # Before anything is cut: half a key is not recognised any more.
            reply = replace(reply, body=redact(reply.body))
            quotas = quotas_in_headers(provider.name, reply.headers, clock.now()) or quotas
            verdict = inquiry.verdict(reply)
            if tools and _may_be_the_tool(verdict, reply):
                tools, refusal = False, _said(reply)
                attempt -= 1
                continue
            if verdict.status is Status.OK:
                served = inquiry.served(reply, tools=tools, refusal=refusal)
                return replace(served, quotas=quotas)
            report, again = inquiry.failed(verdict, reply), verdict.status in TRANSIENT
        if (
            not again
            or attempt >= attempts
            or (isinstance(reply, ProbeReply) and 300 <= reply.http < 400)
        ):
            return ProbeResult(report, quotas=quotas)
        wait = pause(attempt, _seconds_until(report.retry_at, clock.now()), jitter())
        if clock.monotonic() + wait >= deadline:
            return ProbeResult(report, quotas=quotas)
        await clock.sleep(wait)


def unasked(provider: Provider, model: str, now: datetime) -> Report | None:
    """What is known without a request: a key that is not there or cannot be sent."""
    if provider.unset:
        names = ", ".join(provider.unset)
        detail = f"{names} is not set" if len(provider.unset) == 1 else f"not set: {names}"
    elif not provider.key:
        detail = "no api_key: CCR leaves such a provider out"
    elif not _HEADER_SAFE.fullmatch(provider.key):
        detail = "the key has characters that cannot be sent (line break, blank at an end, ...)"
    else:
        return None
    return Report(
        provider=provider.name,
        model=model,
        status=Status.AUTH,
        checked_at=now,
        detail=detail,
        account=True,
    )


def unservable_report(provider: Provider, model: str, reason: str, now: datetime) -> Report:
    """On a model that CCR cannot ask, whatever its provider would say."""
    return Report(
        provider=provider.name,
        model=model,
        status=Status.MISSING,
        checked_at=now,
        detail=reason,
    )


def pause(attempt: int, retry_after: float | None, jitter: float) -> float:
    """Seconds before the next attempt.

    Args:
        attempt: how many there were, from 1.
        retry_after: seconds that the provider named; respected, with a little on top.
        jitter: 0 to 1, so that many probes do not come back at one time.
    """
    if retry_after is not None:
        return retry_after + jitter * 0.25
    longest = min(_PAUSE_MOST, _PAUSE_FIRST * 2 ** min(attempt - 1, 10))
    return float(longest * (0.5 + jitter / 2))


def _seconds_until(when: datetime | None, now: datetime) -> float | None:
    return None if when is None else max(0.0, (when - now).total_seconds())


def _untold(provider: Provider, model: str, now: datetime) -> Report:
    hint = transformer_hint(provider)
    return Report(
        provider=provider.name,
        model=model,
        status=Status.UNVERIFIED,
        checked_at=now,
        detail=hint or "not asked: its transformers do not tell in which form CCR asks it",
    )


def _may_be_the_tool(verdict: Verdict, reply: ProbeReply) -> bool:
    """Whether a refusal may be about the tool that was offered, and not about the model."""
    if verdict.status is Status.OK or reply.http < 400 or reply.http in _KEEPS_TOOLS_APART:
        return False
    words = read(reply.body)
    if words.html:
        return False
    if reply.http >= 500:
        return verdict.scope is Scope.REQUEST or bool(_NEEDS_JINJA.search(words.text))
    said = " ".join((words.text, words.param, *words.codes))
    return verdict.scope is Scope.REQUEST or bool(_ABOUT_TOOLS.search(said))


def _said(reply: ProbeReply) -> str:
    return printable(read(reply.body).text)


@dataclass(frozen=True)
class _Inquiry:
    """Makes reports on one model."""

    provider: Provider
    model: str
    dialect: ProbeDialect
    redact: Redactor
    clock: Clock
    streamed: bool = False
    finishes: bool = False

    def verdict(self, reply: ProbeReply) -> Verdict:
        now = self.clock.now()
        if 200 <= reply.http < 300 and self.streamed:
            return self._streamed_verdict(reply)
        if 200 <= reply.http < 300:
            if self.dialect.is_completion(document_in(reply.body)):
                return Verdict(Status.OK)
            verdict = classify(reply.http, reply.body, reply.headers, now=now)
            if verdict.status is Status.OK:
                return Verdict(Status.OVERLOADED, detail=f"no {self.dialect.name} completion")
            return verdict
        return classify(reply.http, reply.body, reply.headers, now=now)

    def _streamed_verdict(self, reply: ProbeReply) -> Verdict:
        from synccr.judge.verdict import verdict_of

        found = self._judged(reply).failure
        verdict = verdict_of(found, reply.headers, self.clock.now()) if found else None
        if found and verdict and verdict.status is Status.OK:
            return Verdict(Status.OVERLOADED, detail=found.detail)
        return verdict or Verdict(Status.OK)

    def _judged(self, reply: ProbeReply) -> Judged:
        from synccr.probe.streamed import judged  # the judge, which most probes do without

        kind = reply.headers.get("content-type", "")
        return judged(self.dialect.name, kind, reply.body, finishes=self.finishes)

    def served(self, reply: ProbeReply, *, tools: bool, refusal: str) -> ProbeResult:
        called = self.dialect.has_tool_call(document_in(reply.body)) if tools else False
        detail = f"takes no tools: {refusal}" if not tools else ""
        report = self._report(
            Status.OK,
            reply.seconds,
            detail,
            http=reply.http,
            # Words instead of a call prove nothing yet.
            tools=None if tools and called is False else called,
            done_alone=self._judged(reply).done_alone if self.streamed else None,
        )
        return ProbeResult(report, declined=tools and called is False)

    def failed(self, verdict: Verdict, reply: ProbeReply) -> Report:
        detail = _said(reply) if verdict.scope is Scope.REQUEST else verdict.detail
        if 300 <= reply.http < 400:
            target = reply.headers.get("location", "elsewhere")
            detail = f"redirects to {target}, which is not followed"
        if verdict.scope is Scope.REQUEST and "max_completion_tokens" in detail:
            detail = f'give this model CCR\'s transformer "maxcompletiontokens": {detail}'
        elif hint := self._hint(reply.http):
            detail = f"{hint} ({detail})"
        return self._report(
            verdict.status,
            reply.seconds,
            detail,
            http=reply.http,
            account=verdict.scope is Scope.KEY,
            retry_at=verdict.retry_at,
        )

    def unanswered(self, reply: NoReply) -> Report:
        return self._report(reply.status, reply.seconds, reply.detail)

    def _hint(self, http: int) -> str:
        """How to mend the configuration, where that may be the reason."""
        if http in {402, 429} or http >= 500:
            return ""
        if address := url_hint(self.provider):
            return f"write api_base_url {address}"
        return transformer_hint(self.provider) or ""

    def _report(
        self,
        status: Status,
        seconds: float,
        detail: str,
        *,
        http: int | None = None,
        account: bool = False,
        retry_at: datetime | None = None,
        tools: bool | None = None,
        done_alone: bool | None = None,
    ) -> Report:
        return Report(
            provider=self.provider.name,
            model=self.model,
            status=status,
            http_status=http,
            latency_ms=round(seconds * 1000),
            checked_at=self.clock.now(),
            detail=self.redact.line(detail, 200),
            account=account,
            retry_at=retry_at,
            tools=tools,
            done_alone=done_alone,
        )
