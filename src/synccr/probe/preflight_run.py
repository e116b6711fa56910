"""Preflight: every model at once, with the hints that providers give."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from msgspec.structs import replace

from synccr.config.profile import Provider
from synccr.models.catalog import OfferedModel, offered_in
from synccr.models.report import ModelRef, Quota, Report, Status
from synccr.models.shape import Shape
from synccr.probe.dialects import ProbeRequest, document_in, list_request
from synccr.probe.model_probe import ProbeResult, examine, unasked, unservable_report
from synccr.probe.quotas import in_light_of, quota_request, quotas_in
from synccr.probe.record import ModelRecord
from synccr.probe.transport import SYSTEM_CLOCK, Clock, Fetcher, ProbeReply, make_client, send
from synccr.redact import Redactor
from synccr.settings import Settings

Pair = tuple[Provider, str]
Progress = Callable[[Report], None]

_HINT_TIMEOUT = 5.0
_HINT_GRACE = 1.0
"""Seconds that hints may still take when every probe is done."""
_HINT_LIMIT = 8 * 1024 * 1024
"""Bytes; OpenRouter's list of models has about one million."""


@dataclass(frozen=True)
class PreflightResult:
    """What a preflight found out.

    Attributes:
        reports: one for each model asked for, in the order given.
        quotas: what is left of each provider's allowance, where it tells.
        offered: lists of models, by the provider's name.
    """

    reports: Mapping[ModelRef, Report] = field(default_factory=dict)
    quotas: tuple[Quota, ...] = ()
    offered: Mapping[str, tuple[OfferedModel, ...]] = field(default_factory=dict)


async def preflight(
    pairs: Sequence[Pair],
    *,
    settings: Settings,
    record: ModelRecord,
    fresh: bool = False,
    progress: Progress | None = None,
    clock: Clock = SYSTEM_CLOCK,
    client: Fetcher | None = None,
    proxy: str | None = None,
    like: Mapping[ModelRef, Shape] | None = None,
    unservable: Mapping[ModelRef, str] | None = None,
) -> PreflightResult:
    """Find out which models serve, all side by side.

    A model that two profiles share is asked once. Reports that are young enough come from
    the record unless ``fresh`` is set. The record is updated; saving it is the caller's.

    Args:
        pairs: providers with a model's name each. Should two different providers have one
            name, the first one's reports count.
        settings: timeouts, attempts, how many at one time.
        record: what was known before.
        fresh: ask again in any case.
        progress: called with each report as it comes; a later report of a model replaces
            an earlier one.
        clock: time.
        client: the process's own transport; else one is made and closed here.
        proxy: the profile's own proxy (``PROXY_URL``), before those of the environment.
        like: requests that failed in traffic: a model's probe resembles its own.
        unservable: models that CCR cannot ask, with the reason; nor are they asked here.

    Raises:
        ConfigError: the proxy, the profile's own or the environment's, cannot be used.
    """
    redact = Redactor(_secrets(pairs))
    run = _Preflight(settings, record, progress or (lambda _: None), clock, redact, like or {})
    todo = []
    for provider, model in pairs:
        if reason := (unservable or {}).get(ModelRef(provider.name, model)):
            run.settle(unservable_report(provider, model, reason, clock.now()), [(provider, model)])
    for group in _groups((p, m) for p, m in pairs if ModelRef(p.name, m) not in run.reports):
        provider, model = group[0]
        now = clock.now()
        report = unasked(provider, model, now) or (
            None if fresh else record.fresh(provider, model, now)
        )
        if report is None:
            todo.append(group)
        else:
            run.settle(report, group)
    askable = [group[0][0] for group in _groups((p, "") for p, _ in pairs if p.key and not p.unset)]
    for provider in askable:
        run.remember(provider, None if fresh else record.hints(provider, clock.now()))
    if todo or any(run.lacks_hints(provider) for provider in askable):
        holder: AbstractAsyncContextManager[Any] = (
            make_client(askable, proxy=proxy) if client is None else nullcontext(client)
        )
        async with holder as used:
            await run.ask(used, todo, [p for p in askable if run.lacks_hints(p)])
    return run.result(pairs, askable)


async def ask_quotas(
    providers: Iterable[Provider],
    *,
    client: Fetcher | None = None,
    clock: Clock = SYSTEM_CLOCK,
    proxy: str | None = None,
) -> tuple[Quota, ...]:
    """What is left of each provider's allowance now; empty where none tells.

    One that hangs or answers anything else costs seconds and tells nothing.

    Raises:
        ConfigError: as ``preflight``.
    """
    usable = [p for p in providers if p.key and not p.unset and quota_request(p)]
    asked = list({_account(p): p for p in usable}.values())
    if not asked:
        return ()
    async with make_client(asked, proxy=proxy) if client is None else nullcontext(client) as used:
        rows = await asyncio.gather(*(_quotas(p, used, _HINT_TIMEOUT, clock) for p in asked))
    return tuple(quota for row in rows for quota in row)


def _secrets(pairs: Iterable[Pair]) -> set[str]:
    return {secret for provider, _ in pairs for secret in provider.secrets()}


def _groups(pairs: Iterable[Pair]) -> list[list[Pair]]:
    """Pairs that lead to the very same request, together; each name once."""
    groups: dict[tuple[str, ...], list[Pair]] = {}
    seen: set[ModelRef] = set()
    for provider, model in pairs:
        ref = ModelRef(provider.name, model)
        if ref not in seen:
            seen.add(ref)
            form = json.dumps(provider.transformer, sort_keys=True, default=str)
            same = (provider.url, provider.key, form, model, *provider.unset)
            groups.setdefault(same, []).append((provider, model))
    return list(groups.values())


async def _document(ask: ProbeRequest | None, client: Fetcher, timeout: float, clock: Clock) -> Any:
    """The JSON of an answer; None when there is no right one."""
    if ask is None:
        return None
    reply = await send(ask, client, timeout=timeout, clock=clock, limit=_HINT_LIMIT)
    return document_in(reply.body) if isinstance(reply, ProbeReply) and reply.http == 200 else None


async def _quotas(
    provider: Provider, client: Fetcher, timeout: float, clock: Clock
) -> tuple[Quota, ...]:
    document = await _document(quota_request(provider), client, timeout, clock)
    return quotas_in(provider.name, document)


async def _offered(
    provider: Provider, client: Fetcher, timeout: float, clock: Clock
) -> tuple[OfferedModel, ...]:
    return offered_in(await _document(list_request(provider), client, timeout, clock))


Hints = tuple[tuple[OfferedModel, ...], tuple[Quota, ...]]


@dataclass
class _Preflight:
    """One preflight under way."""

    settings: Settings
    record: ModelRecord
    tell: Progress
    clock: Clock
    redact: Redactor
    like: Mapping[ModelRef, Shape]
    reports: dict[ModelRef, Report] = field(default_factory=dict)
    hints: dict[tuple[str, str, str], Hints] = field(default_factory=dict)
    declined: list[list[Pair]] = field(default_factory=list)
    limits: dict[tuple[str, str, str], tuple[Quota, ...]] = field(default_factory=dict)
    """Rate limits from the headers of answers, for accounts that tell nothing else."""

    def settle(self, report: Report, group: list[Pair]) -> None:
        """Take a report for all the names under which its model goes."""
        for provider, model in group:
            own = replace(report, provider=provider.name, model=model)
            self.reports[own.ref] = own
            self.tell(own)

    def remember(self, provider: Provider, hints: Hints | None) -> None:
        if hints is not None:
            self.hints[_account(provider)] = hints

    def lacks_hints(self, provider: Provider) -> bool:
        return _account(provider) not in self.hints

    async def ask(self, client: Fetcher, todo: list[list[Pair]], unhinted: list[Provider]) -> None:
        """Everything that needs the network, at once."""
        timeout = min(_HINT_TIMEOUT, self.settings.preflight_timeout)
        gate = asyncio.Semaphore(self.settings.preflight_concurrency)
        async with asyncio.TaskGroup() as hinting:
            quotas = {
                _account(p): hinting.create_task(_quotas(p, client, timeout, self.clock))
                for p in unhinted
            }
            offered = {
                _account(p): hinting.create_task(_offered(p, client, timeout, self.clock))
                for p in unhinted
            }
            async with asyncio.TaskGroup() as probing:
                for group in todo:
                    spent = quotas.get(_account(group[0][0]))
                    probing.create_task(self._probe(client, group, gate, spent))
            await self._confirm(client, gate)
            late = [*quotas.values(), *offered.values()]
            if late:
                await asyncio.wait(late, timeout=_HINT_GRACE)
            for provider in unhinted:
                account = _account(provider)
                first, second = offered[account], quotas[account]
                if first.done() and second.done():
                    self.remember(provider, (first.result(), second.result()))
                    self.record.update_hints(provider, *self.hints[account], self.clock.now())
            for task in late:
                task.cancel()

    async def _probe(
        self,
        client: Fetcher,
        group: list[Pair],
        gate: asyncio.Semaphore,
        quotas: asyncio.Task[tuple[Quota, ...]] | None,
    ) -> None:
        shapes = (self.like.get(ModelRef(p.name, model)) for p, model in group)
        like = next((shape for shape in shapes if shape is not None), None)
        finding = await self._examine(client, group, gate, like=like)
        report = finding.report
        if report.http_status == 429:
            known = await quotas if quotas else self.hints.get(_account(group[0][0]), ((), ()))[1]
            report = in_light_of(report, known, self.clock.now())
        if finding.declined:
            self.declined.append(group)
        self.settle(report, group)

    async def _confirm(self, client: Fetcher, gate: asyncio.Semaphore) -> None:
        """Press models that answered in words, where other models of theirs call tools.

        A provider none of whose models calls tools may be one that ignores them in the
        probe's form; nothing is concluded then.
        """
        callers = {report.provider for report in self.reports.values() if report.tools}
        doubtful = [group for group in self.declined if group[0][0].name in callers]
        findings = await asyncio.gather(
            *(self._examine(client, group, gate, forced=True) for group in doubtful)
        )
        for group, finding in zip(doubtful, findings, strict=True):
            report = self.reports[ModelRef(group[0][0].name, group[0][1])]
            if finding.declined:
                detail = "answers in words when it has to call a tool"
                self.settle(replace(report, tools=False, detail=detail), group)
            elif finding.report.tools:
                self.settle(replace(report, tools=True), group)

    async def _examine(
        self,
        client: Fetcher,
        group: list[Pair],
        gate: asyncio.Semaphore,
        *,
        forced: bool = False,
        like: Shape | None = None,
    ) -> ProbeResult:
        provider, model = group[0]
        known = self.record.last(provider, model)
        async with gate:
            finding = await examine(
                provider,
                model,
                client,
                timeout=self.settings.preflight_timeout,
                attempts=self.settings.preflight_attempts,
                redact=self.redact,
                clock=self.clock,
                forced=forced,
                like=like,
                finishes=bool(like and like.finishes) or bool(known and known.done_alone is False),
            )
        if finding.quotas:
            self.limits[_account(provider)] = finding.quotas
        return finding

    def result(self, pairs: Sequence[Pair], askable: Sequence[Provider]) -> PreflightResult:
        """Reports with the hints added; the record learns of all that was asked."""
        offered: dict[str, tuple[OfferedModel, ...]] = {}
        quotas: dict[str, tuple[Quota, ...]] = {}
        for provider in askable:
            rows, allowances = self.hints.get(_account(provider), ((), ()))
            allowances = allowances or self.limits.get(_account(provider), ())
            offered.setdefault(provider.name, rows)
            quotas.setdefault(
                provider.name, tuple(replace(q, provider=provider.name) for q in allowances)
            )
        reports: dict[ModelRef, Report] = {}
        for provider, model in pairs:
            ref = ModelRef(provider.name, model)
            if ref not in reports:
                row = next((o for o in offered.get(provider.name, ()) if o.id == model), None)
                report = self.record.completed(provider, self.reports[ref])
                reports[ref] = _with_hint(report, row)
                if reports[ref].http_status is not None:
                    self.record.update(provider, reports[ref])
        lists = {name: rows for name, rows in offered.items() if rows}
        return PreflightResult(reports, tuple(chain.from_iterable(quotas.values())), lists)


def _account(provider: Provider) -> tuple[str, str, str]:
    return (provider.name, provider.url, provider.key)


def _with_hint(report: Report, row: OfferedModel | None) -> Report:
    if row is None:
        return report
    # A list that says "no tools" is often only incomplete.
    tools = (
        True if report.tools is None and report.status is Status.OK and row.tools else report.tools
    )
    return replace(report, tools=tools, context_length=row.context_length or report.context_length)
