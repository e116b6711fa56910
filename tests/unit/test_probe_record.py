"""The record on disk: what makes a probe needless, and what never does."""

from __future__ import annotations

import stat
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from probe_kit import KEY, NOW, provider

from synccr.clock import utc_now
from synccr.models.report import Quota, Report, Status
from synccr.probe import ModelRecord, OfferedModel, recorded_preflight
from synccr.probe.preflight_run import PreflightResult
from synccr.settings import Settings

P = provider()


def report(status: Status = Status.OK, **changes: Any) -> Report:
    values: dict[str, Any] = {"provider": "p", "model": "m", "http_status": 200}
    return Report(**(values | {"status": status, "checked_at": NOW} | changes))


def reopened(path: Path, *reports: Report, p: Any = P) -> ModelRecord:
    record = ModelRecord(path, max_age=600)
    for one in reports:
        record.update(p, one)
    record.save(NOW)
    return ModelRecord(path, max_age=600)


def test_a_final_finding_is_served_while_it_is_young(tmp_path: Path) -> None:
    """An ok or dead report of a probe comes back whole, until its age."""
    kept = report(Status.BILLING, http_status=402, detail="no money", account=True)
    record = reopened(tmp_path / "r.json", kept)
    assert record.fresh(P, "m", NOW + timedelta(seconds=599)) == kept
    assert record.fresh(P, "m", NOW + timedelta(seconds=600)) is None
    assert record.last(P, "m") == kept


def test_two_who_write_lose_nothing(tmp_path: Path) -> None:
    """A long preflight that ends after somebody else has written takes nothing back: other
    models stay, and of one model the newer report counts, but for one from the future."""
    path = tmp_path / "r.json"
    long = ModelRecord(path, max_age=600)
    for model in "abc":
        long.update(P, report(model=model))
    times = {"a": timedelta(seconds=5), "b": timedelta(seconds=-5), "c": timedelta(hours=1)}
    reopened(path, *(report(Status.BILLING, model=m, checked_at=NOW + t) for m, t in times.items()),
             report(Status.MISSING, model="d"))  # fmt: skip
    long.save(NOW + timedelta(seconds=9))
    known = ModelRecord(path, max_age=600)
    found = {model: last.status.value for model in "abcd" if (last := known.last(P, model))}
    assert found == {"a": "billing", "b": "ok", "c": "ok", "d": "missing"}


@pytest.mark.parametrize(
    "unusable",
    [
        report(Status.TIMEOUT, http_status=None),
        report(Status.OVERLOADED, http_status=503),
        report(Status.RATE_LIMITED, http_status=429),
        report(Status.UNREACHABLE, http_status=None),
        report(Status.UNVERIFIED, http_status=400),
        report(Status.AUTH, http_status=None),
        report(Status.BILLING, http_status=402, from_traffic=True),
        report(Status.QUOTA, http_status=429, retry_at=NOW),
        report(checked_at=NOW + timedelta(seconds=1)),
    ],
    ids=lambda r: f"{r.status}",
)
def test_a_finding_that_may_have_passed_is_asked_again(tmp_path: Path, unusable: Report) -> None:
    """Passing troubles, unsent probes, live traffic, renewed caps and the future never serve."""
    assert reopened(tmp_path / "r.json", unusable).fresh(P, "m", NOW) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"key": "sk-another-0123456789"},
        {"url": "https://other.test/v1"},
        {"name": "q"},
        {"transformer": {"use": ["Anthropic"]}},
    ],
)
def test_another_key_address_or_form_is_another_entry(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    """A new key, address, name or transformer is asked anew."""
    record = reopened(tmp_path / "r.json", report())
    assert record.fresh(P, "m", NOW) is not None
    other = provider(**({"url": P.url} | changed))
    assert record.fresh(other, "m", NOW) is None


def test_no_key_is_on_disk_and_the_file_is_private(tmp_path: Path) -> None:
    """The file has mode 0600 and neither the key nor a plain hash of it."""
    import hashlib

    path = tmp_path / "state" / "r.json"
    reopened(path, report())
    text = path.read_text()
    assert KEY not in text
    assert hashlib.sha256(KEY.encode()).hexdigest()[:16] not in text
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"version": 1, "reports": {"x": {"provider": "p"}}}',
        b"[" * 100_000,
        msgspec.json.encode({"version": 1, "reports": {"x": report(checked_at=NOW)}}).replace(
            b"00:00:00Z", b"00:00:00"
        ),
    ],
)
def test_a_damaged_or_foreign_file_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    """Whatever stands there, the record opens empty and can be written."""
    path = tmp_path / "r.json"
    path.write_bytes(content)
    record = ModelRecord(path, max_age=600)
    assert record.last(P, "m") is None
    record.update(P, report())
    record.save(NOW)
    assert ModelRecord(path, max_age=600).fresh(P, "m", NOW) == report()


def test_a_file_of_another_version_counts_as_empty(tmp_path: Path) -> None:
    """What another version wrote is not guessed at."""
    path = tmp_path / "r.json"
    reopened(path, report())
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":99'))
    assert ModelRecord(path, max_age=600).last(P, "m") is None


def test_a_directory_in_its_place_counts_as_empty(tmp_path: Path) -> None:
    """A file that cannot be read is no error."""
    assert ModelRecord(tmp_path, max_age=600).last(P, "m") is None


@pytest.mark.parametrize("row", [OfferedModel("bad\ud83d"), OfferedModel("x", 10**5000)])
async def test_a_record_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: OfferedModel
) -> None:
    """What no file can hold costs the record, and not the answer."""

    async def found(_: object, *, record: ModelRecord, **_rest: object) -> PreflightResult:
        record.update_hints(P, (row,), (), utc_now())
        return PreflightResult()

    monkeypatch.setattr(recorded_preflight, "preflight", found)
    assert (
        await recorded_preflight.ask_models([], settings=Settings(), instance=tmp_path)
        == PreflightResult()
    )
    assert not (tmp_path / "models.json").exists()


def test_a_clock_that_went_back_and_on_again_is_survived(tmp_path: Path) -> None:
    """A report of the future is not served, and serves again when its time has come."""
    record = reopened(tmp_path / "r.json", report())
    assert record.fresh(P, "m", NOW - timedelta(days=400)) is None
    assert record.fresh(P, "m", NOW + timedelta(seconds=1)) is not None


def test_hints_are_kept_with_their_age(tmp_path: Path) -> None:
    """Lists and allowances come back while they are young."""
    path = tmp_path / "r.json"
    record = ModelRecord(path, max_age=600)
    rows, quotas = (OfferedModel("x", 8, tools=True),), (Quota(provider="p", limit=2, used=1),)
    record.update_hints(P, rows, quotas, NOW)
    record.save(NOW)
    again = ModelRecord(path, max_age=600)
    assert again.hints(P, NOW) == (rows, quotas)
    assert again.hints(P, NOW + timedelta(seconds=601)) is None


def test_old_entries_are_dropped_and_nothing_new_is_not_written(tmp_path: Path) -> None:
    """Entries of more than a month go; a save without a change leaves the file alone."""
    path = tmp_path / "r.json"
    record = reopened(path, report(checked_at=NOW - timedelta(days=31)), report(model="n"))
    assert record.last(P, "m") is None
    assert record.last(P, "n") is not None
    path.unlink()
    record.save(NOW)
    assert not path.exists()
