"""All checks side by side, each guarded: a crash or a hang is a result, not the end."""

from __future__ import annotations

import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from synccr.control import user_id
from synccr.doctor import lines
from synccr.doctor.context import Blocked, Context
from synccr.doctor.result import Check, CheckResult, Diagnosis, Level, fail, skip
from synccr.doctor.secrets import Secrets
from synccr.errors import SynccrError
from synccr.redact import Redactor

_LONGEST = 1200
_PATIENCE = 10.0
_GOOD = frozenset({Level.OK, Level.SKIP})


@dataclass(frozen=True)
class Watcher:
    """What a display may want to hear.

    Attributes:
        waiting: called with the ids that are still out.
        done: called with each result, in the order of the checks.
    """

    waiting: Callable[[Sequence[str]], None] = lambda _ids: None
    done: Callable[[CheckResult], None] = lambda _result: None


def examine(
    checks: Sequence[Check], context: Context, *, fix: bool = False, watcher: Watcher | None = None
) -> list[CheckResult]:
    """Run checks, and with ``fix`` do what is safe and look again.

    Args:
        checks: which ones; results come in their order.
        context: what they look at.
        fix: make the repairs, one after the other; then every quick check and every repaired
            one is run again, because one repair may touch what another check looks at.
        watcher: hears of each step.
    """
    watcher = watcher or Watcher()
    mask = _masker(context)
    if not fix:
        found = _run(checks, context, lambda c, f: watcher.done(_result(c, f, mask)), watcher)
        return [_result(check, found[check.id], mask) for check in checks]
    found = _run(checks, context, lambda _check, _diagnosis: None, watcher)
    said: dict[str, str] = {}
    broken: dict[str, str] = {}
    for check in checks:
        diagnosis = found[check.id]
        if diagnosis.level not in _GOOD and diagnosis.repair:
            try:
                said[check.id] = diagnosis.repair()
            except Exception as error:  # noqa: BLE001 - told as the check's result
                broken[check.id] = _words(error)
    if said:
        again = [c for c in checks if c.id in said or not c.slow]
        found |= _run(again, context.again(), lambda _check, _diagnosis: None, watcher)
    results = []
    for check in checks:
        result = _result(check, found[check.id], mask, said.get(check.id), broken.get(check.id))
        watcher.done(result)
        results.append(result)
    return results


def _run(
    checks: Sequence[Check],
    context: Context,
    done: Callable[[Check, Diagnosis], None],
    watcher: Watcher,
) -> dict[str, Diagnosis]:
    """One diagnosis for each check; ``done`` hears of them in the order of the checks.

    The threads are daemons, so that one that hangs does not keep the program from ending.
    """
    arrivals: queue.SimpleQueue[tuple[str, Diagnosis]] = queue.SimpleQueue()
    started = time.monotonic()
    for check in checks:
        threading.Thread(
            target=lambda c=check: arrivals.put((c.id, _guarded(c, context))),
            name=check.id,
            daemon=True,
        ).start()
    found: dict[str, Diagnosis] = {}
    todo = list(checks)
    while todo:
        _take_overdue(checks, found, time.monotonic() - started)
        while todo and todo[0].id in found:
            check = todo.pop(0)
            done(check, found[check.id])
        missing = [check for check in checks if check.id not in found]
        if not missing:
            continue
        watcher.waiting([check.id for check in missing])
        patience = min(check.timeout for check in missing) - (time.monotonic() - started)
        try:
            name, diagnosis = arrivals.get(timeout=max(0.0, patience))
        except queue.Empty:
            continue
        found.setdefault(name, diagnosis)
    return found


def _take_overdue(checks: Collection[Check], found: dict[str, Diagnosis], age: float) -> None:
    for check in checks:
        if check.id not in found and age >= check.timeout:
            found[check.id] = fail(
                f"The check did not end within {check.timeout:g} s.",
                lines.synccr("doctor", check.id),
            )


def _guarded(check: Check, context: Context) -> Diagnosis:
    try:
        return check.run(context)
    except Blocked as blocked:
        return skip(f"Cannot be looked at before {blocked.by} is in order.")
    except PermissionError as error:
        return fail(_words(error), _open(Path(error.filename or context.paths.ccr)))
    except Exception as error:  # noqa: BLE001 - that is what the guard is for
        return fail(
            f"The check itself failed: {_words(error)}",
            f"{lines.synccr('--debug', 'doctor', check.id)}",
        )


def _open(path: Path) -> str:
    """The line that lets its owner into the outermost directory that keeps them out."""
    for place in (*reversed(path.parents), path):
        try:
            found = place.stat()
        except OSError:
            break
        needed = stat.S_IRWXU if place.is_dir() else stat.S_IRUSR
        if os.name != "nt" and found.st_uid == user_id() and found.st_mode & needed != needed:
            return lines.let_in(place)
    return f"ls -ld -- {lines.quote(path)}"


def _words(error: Exception) -> str:
    if isinstance(error, SynccrError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'The system'}: {error.strerror}."
    return f"{type(error).__name__}: {error}"


def _masker(context: Context) -> Redactor:
    """What hides every key; found in a thread, because a file that hangs hangs here too."""
    known = Redactor(Secrets.gather(context.environ, (), ()).values)
    found: queue.SimpleQueue[Redactor] = queue.SimpleQueue()

    def find() -> None:
        try:
            found.put(context.redactor)
        except Exception:  # noqa: BLE001 - files that cannot be read show no key either
            found.put(known)

    threading.Thread(target=find, name="keys", daemon=True).start()
    try:
        return found.get(timeout=_PATIENCE)
    except queue.Empty:
        return known


def _result(
    check: Check,
    diagnosis: Diagnosis,
    mask: Redactor,
    said: str | None = None,
    broken: str | None = None,
) -> CheckResult:
    detail = diagnosis.detail
    fixed = said is not None and diagnosis.level in _GOOD
    if said is not None:
        before = f"Mended: {said}" if fixed else f"{said} That was not enough."
        detail = f"{before} {detail[:1].upper()}{detail[1:]}"
    elif broken is not None:
        detail = f"{detail} It could not be mended: {broken}"
    return CheckResult(
        check.id,
        check.title,
        diagnosis.level,
        mask.line(detail, _LONGEST),
        mask(diagnosis.fix) if diagnosis.fix else None,
        diagnosis.repair is not None,
        fixed,
    )
