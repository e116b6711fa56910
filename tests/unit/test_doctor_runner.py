"""The doctor's runner: side by side, guarded, in order, and honest about repairs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ccr_kit import make_paths

from synccr.doctor.context import Blocked, Context
from synccr.doctor.result import (
    Check,
    CheckResult,
    Diagnosis,
    Level,
    fail,
    ok,
    skip,
    together,
    warn,
)
from synccr.doctor.runner import Watcher, examine
from synccr.errors import ConfigError

KEY = "canary-5f1d0a77b3"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    environ = {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin", "ACME_API_KEY": KEY}
    return Context(make_paths(tmp_path), environ, cwd=tmp_path)


def check(name: str, run: Callable[[Context], Diagnosis], timeout: float = 20.0) -> Check:
    return Check(name, name.title(), run, timeout=timeout)


def crash(_: Context) -> Diagnosis:
    raise RuntimeError(f"unforeseen {KEY}")


def blocked(_: Context) -> Diagnosis:
    raise Blocked("config.valid")


def refused(_: Context) -> Diagnosis:
    raise ConfigError("The profile is odd.", "Mend it.")


def locked(_: Context) -> Diagnosis:
    raise PermissionError(13, "Permission denied", "/nowhere/x")


@pytest.mark.parametrize(
    ("run", "level", "word"),
    [
        (crash, "fail", "RuntimeError"),
        (blocked, "skip", "config.valid"),
        (refused, "fail", "Mend it."),
        (locked, "fail", "/nowhere/x"),
        (lambda _: ok(f"fine {KEY}\a\nsecond"), "ok", "fine ••• second"),
    ],
)
def test_whatever_a_check_does_is_a_result(
    context: Context, run: Callable[[Context], Diagnosis], level: str, word: str
) -> None:
    """Crashes, refusals and odd words are results beside the others', without a key."""
    results = examine([check("a.odd", run), check("b.fine", lambda _: ok("fine"))], context)
    assert (results[0].status, results[1].status) == (level, "ok")
    assert word in results[0].detail
    assert KEY not in repr(results)
    assert level in ("ok", "skip") or results[0].fix


def test_one_that_hangs_is_left_behind(context: Context) -> None:
    """After its own timeout it is a failure; the others are there long before."""
    stuck = threading.Event()
    seen: list[str] = []

    def hang(_: Context) -> Diagnosis:
        stuck.wait(30)
        return ok("late")

    begin = time.monotonic()
    results = examine(
        [check("a.quick", lambda _: ok("x")), check("b.hangs", hang, 0.3)],
        context,
        watcher=Watcher(done=lambda result: seen.append(result.id)),
    )
    assert time.monotonic() - begin < 10
    stuck.set()
    assert [(r.id, r.status) for r in results] == [("a.quick", "ok"), ("b.hangs", "fail")]
    assert "0.3 s" in results[1].detail
    assert seen == ["a.quick", "b.hangs"]


def test_all_run_at_once_and_come_in_order(context: Context) -> None:
    """Checks that wait for each other all end: none waits for its turn; results are told in
    the order of the checks, whichever ends first."""
    everybody = threading.Barrier(5)
    told: list[CheckResult] = []

    def wait(number: int) -> Callable[[Context], Diagnosis]:
        def run(_: Context) -> Diagnosis:
            everybody.wait(10)
            time.sleep(0.02 * (5 - number))
            return ok(str(number))

        return run

    checks = [check(f"c.{n}", wait(n)) for n in range(5)]
    results = examine(checks, context, watcher=Watcher(done=told.append))
    assert [r.detail for r in results] == list("01234")
    assert told == results


def test_a_mend_is_told_only_after_another_look(context: Context) -> None:
    """Mended is what is seen in order afterwards; what a mend broke or did not help stays."""
    state = {"good": False, "side": True}

    def repair() -> str:
        state["good"] = True
        state["side"] = False
        return "put right."

    def explode() -> str:
        raise OSError(28, "No space left on device", "/x")

    checks = [
        check("a.good", lambda _: ok("now") if state["good"] else fail("bad", "mend", repair)),
        check("b.vain", lambda _: warn("still", "fix", lambda: "tried.")),
        check("c.broken", lambda _: warn("odd", "fix", explode)),
        check("d.side", lambda _: ok("x") if state["side"] else fail("hit by a", "fix")),
        check("e.byhand", lambda _: fail("yours", "fix")),
    ]
    good, vain, broken, side, by_hand = examine(checks, context, fix=True)
    assert (good.status, good.fixed, good.detail) == ("ok", True, "Mended: put right. Now")
    assert (vain.status, vain.fixed) == ("warn", False)
    assert "not enough" in vain.detail
    assert "No space left" in broken.detail
    assert (side.status, side.detail) == ("fail", "hit by a")
    assert (by_hand.status, by_hand.fixable) == ("fail", False)


def test_nothing_is_mended_unasked(context: Context) -> None:
    """Without ``fix`` no repair is called."""

    def repair() -> str:
        raise AssertionError

    [result] = examine([check("a.x", lambda _: fail("bad", "fix", repair))], context)
    assert (result.status, result.fixable, result.fix) == ("fail", True, "fix")


@pytest.mark.parametrize(
    ("findings", "level", "detail", "fix"),
    [
        ([ok("a"), ok("b")], Level.OK, "a. b.", None),
        ([ok("a"), skip("b")], Level.OK, "a", None),
        ([skip("a"), warn("b", "x"), ok("c")], Level.WARN, "b", "x"),
        ([warn("a", "x"), fail("b", "y"), fail("c", "x")], Level.FAIL, "a. b. c.", "x\ny"),
    ],
)
def test_several_findings_make_one(
    findings: list[Diagnosis], level: Level, detail: str, fix: str | None
) -> None:
    """The worst counts, what is in order gives way to what is not, each fix stands once."""
    one = together(findings)
    assert (one.level, one.detail, one.fix) == (level, detail, fix)
