"""One preflight from the record on disk to the record on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from synccr.clock import utc_now
from synccr.models.report import ModelRef
from synccr.models.shape import Shape
from synccr.probe.preflight_run import Pair, PreflightResult, Progress, preflight
from synccr.probe.record import ModelRecord
from synccr.probe.transport import Fetcher
from synccr.settings import Settings


def record_of(instance: Path, settings: Settings) -> ModelRecord:
    """What is known about models in ``instance``."""
    return ModelRecord(instance / "models.json", max_age=settings.preflight_cache)


async def ask_models(
    pairs: Sequence[Pair],
    *,
    settings: Settings,
    instance: Path,
    fresh: bool = False,
    progress: Progress | None = None,
    proxy: str | None = None,
    client: Fetcher | None = None,
    like: Mapping[ModelRef, Shape] | None = None,
    unservable: Mapping[ModelRef, str] | None = None,
) -> PreflightResult:
    """Preflight with what is known in ``instance``, and keep what was found there.

    A record that cannot be written (a full disk, text that is in no encoding) costs the
    next start some seconds, so it stops nothing here.
    """
    record = record_of(instance, settings)
    result = await preflight(
        pairs,
        settings=settings,
        record=record,
        fresh=fresh,
        progress=progress,
        client=client,
        proxy=proxy,
        like=like,
        unservable=unservable,
    )
    with contextlib.suppress(OSError, ValueError, OverflowError):
        record.save(utc_now())
    return result
