"""What is known about models, kept on disk so that a second start is quick."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from msgspec.structs import replace

from synccr.config.profile import Provider
from synccr.files import write_atomic
from synccr.models.catalog import OfferedModel
from synccr.models.report import FATAL, Quota, Report, Status

_VERSION = 1
_KEEP = timedelta(days=30)
_MOST = 2000


class _Hints(msgspec.Struct, frozen=True):
    """What a provider said of itself."""

    at: datetime
    offered: tuple[OfferedModel, ...] = ()
    quotas: tuple[Quota, ...] = ()


class _RecordFile(msgspec.Struct):
    version: int = _VERSION
    reports: dict[str, Report] = msgspec.field(default_factory=dict)
    hints: dict[str, _Hints] = msgspec.field(default_factory=dict)


class ModelRecord:
    """Reports by provider (name, address, form and key) and model.

    A key is part of a digest and never written, so that a new key is asked anew. A file
    that is missing, damaged or of another version counts as empty.

    Args:
        path: the file; its directory is made when it is written.
        max_age: seconds for which a report is served instead of a probe.
    """

    def __init__(self, path: Path, *, max_age: float) -> None:
        self._path = path
        self._max_age = max_age
        self._file = _read(path)
        self._mine = _RecordFile()

    def fresh(self, provider: Provider, model: str, now: datetime) -> Report | None:
        """A report that makes a probe needless.

        Only final findings of real probes are: a passing trouble is asked about again,
        so is what live traffic showed, and a spent cap from its renewal on.
        """
        report = self.last(provider, model)
        if report is None or not self._is_young(report.checked_at, now):
            return None
        final = report.status is Status.OK or report.status in FATAL
        renewed = report.retry_at is not None and report.retry_at <= now
        if not final or renewed or report.http_status is None or report.from_traffic:
            return None
        return report

    def last(self, provider: Provider, model: str) -> Report | None:
        """The latest report, however old."""
        return self._file.reports.get(_digest(provider, model))

    def update(self, provider: Provider, report: Report) -> None:
        """Keep what a probe or a running CCR found out."""
        key = _digest(provider, report.model)
        self._file.reports[key] = self._mine.reports[key] = report

    def completed(self, provider: Provider, report: Report) -> Report:
        """A report with what only a streamed probe tells, as the last one told it."""
        return _completed(report, self.last(provider, report.model))

    def hints(
        self, provider: Provider, now: datetime
    ) -> tuple[tuple[OfferedModel, ...], tuple[Quota, ...]] | None:
        """The list of models and the allowances of a provider while they are fresh."""
        hints = self._file.hints.get(_digest(provider, ""))
        if hints is None or not self._is_young(hints.at, now):
            return None
        return hints.offered, hints.quotas

    def update_hints(
        self,
        provider: Provider,
        offered: Sequence[OfferedModel],
        quotas: Sequence[Quota],
        now: datetime,
    ) -> None:
        """Keep what a provider said of itself."""
        key = _digest(provider, "")
        hints = _Hints(now, tuple(offered), tuple(quotas))
        self._file.hints[key] = self._mine.hints[key] = hints

    def save(self, now: datetime) -> None:
        """Write the file (mode 0600) when something changed; the oldest entries are dropped.
        What others have found out meanwhile stays, where it is newer.

        Raises:
            OSError: it could not be written; nothing was changed on disk.
            ValueError, OverflowError: it holds text or a number that JSON cannot.
        """
        if not (self._mine.reports or self._mine.hints):
            return
        self._file = _read(self._path)
        for key, report in self._mine.reports.items():
            other = self._file.reports.get(key)
            if other is None or not report.checked_at < other.checked_at <= now:
                self._file.reports[key] = _completed(report, other)
        self._file.hints |= self._mine.hints
        kept = {k: r for k, r in self._file.reports.items() if abs(now - r.checked_at) < _KEEP}
        newest = sorted(kept, key=lambda k: kept[k].checked_at)[-_MOST:]
        self._file.reports = {k: kept[k] for k in newest}
        self._file.hints = {k: h for k, h in self._file.hints.items() if abs(now - h.at) < _KEEP}
        write_atomic(self._path, msgspec.json.encode(self._file))
        self._mine = _RecordFile()

    def _is_young(self, at: datetime, now: datetime) -> bool:
        # A clock that went back makes a report of the future; it is no longer trusted.
        return 0 <= (now - at).total_seconds() < self._max_age


def _completed(report: Report, before: Report | None) -> Report:
    if before is None or report.done_alone is not None:
        return report
    return replace(report, done_alone=before.done_alone)


def _read(path: Path) -> _RecordFile:
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_RecordFile)
    except (OSError, msgspec.DecodeError, RecursionError):
        return _RecordFile()
    usable = file.version == _VERSION and all(when is None or when.tzinfo for when in _times(file))
    return file if usable else _RecordFile()


def _times(file: _RecordFile) -> Iterator[datetime | None]:
    for report in file.reports.values():
        yield report.checked_at
        yield report.retry_at
    for hints in file.hints.values():
        yield hints.at
        yield from (quota.renews_at for quota in hints.quotas)


def _digest(provider: Provider, model: str) -> str:
    # The transformers are in it because they decide in which form a provider is asked.
    form = json.dumps(provider.transformer, sort_keys=True, default=str)
    parts = (provider.name, provider.url, _hash(provider.key), form, model)
    return _hash("\0".join(parts))[:32]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
