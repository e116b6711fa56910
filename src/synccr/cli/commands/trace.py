"""``synccr trace``: the last turns, without a word of their content."""

from __future__ import annotations

import json as codec
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from synccr.cli.options import Follow
from synccr.cli.output import console, print_data, reader_gone
from synccr.cli.result import Note, Result
from synccr.control import request
from synccr.errors import SynccrError, UsageError
from synccr.paths import Paths
from synccr.turns.trace import AttemptRow, TurnRow

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_NOTHING_YET = "No request has come yet."
_WIDE = 96  # columns that a terminal needs for every number
_LOOK = 0.5  # seconds between looks with --follow
_DURATION = re.compile(r"(\d{1,6})(s|m|h)")
_UNITS = {"s": 1, "m": 60, "h": 3600}


def run(
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document; with --follow one object a line.")
    ] = False,
    follow: Follow = False,
    capture: Annotated[
        str | None,
        typer.Option(
            "--capture",
            metavar="DURATION|off",
            help="Also write requests and answers to a file, for 90s, 10m, 1h; off ends it.",
        ),
    ] = None,
) -> Result:
    """Show the last 200 requests: which models were asked, and what each answered.

    A turn is one request of a client. Under it stands every try: the model, its HTTP
    status, the verdict, the time to its first byte and in all, the bytes, and the
    tokens as the provider told them. Nothing of a prompt or an answer is kept.

    \b
    Verdicts:
      ok           a whole answer
      status       the provider answered an HTTP error
      page         something that is no answer of a model, e.g. a sign-in page
      error        an error inside an answer
      empty        an answer without any content
      cut          broken off
      silent       no byte within the limit
      unreachable  no connection
      known        not asked: it failed a moment ago, and is asked again later
      trial        not asked: it is on its way back, and another session tries it

    \b
    synccr trace --json | jq '.turns[] | select(.tries | length > 1)'
    synccr trace --capture 10m      for a report; read the file before you pass it on

    Exit code 3 when nothing runs.
    """
    instance = Paths.from_environment().instance
    if capture is not None:
        return _capture(instance, capture, as_json=json)
    if follow:
        _follow(instance, as_json=json)
        return Result()
    document = request(instance, "trace", after=0)
    if json:
        return Result(document={"turns": document["turns"]})
    rows = rows_of(document)
    return Result([table(rows, console(sys.stdout).width) if rows else Note(_NOTHING_YET)])


# ------------------------------------------------------------------- asking


def _documents(instance: Path) -> Iterator[dict[str, Any]]:
    """What is new at each look; a supervisor that took over begins anew."""
    document = request(instance, "trace", after=0)
    while True:
        yield document
        time.sleep(_LOOK)
        if reader_gone(sys.stdout):
            return
        pid = document["pid"]
        document = request(instance, "trace", after=document["next"])
        if document["pid"] != pid:
            document = request(instance, "trace", after=0)


def rows_of(document: dict[str, Any]) -> list[TurnRow]:
    """The turns of an answer.

    Raises:
        SynccrError: it comes from another version.
    """
    try:
        return msgspec.convert(document["turns"], list[TurnRow])
    except msgspec.ValidationError as error:
        raise SynccrError(
            f"The synccr that runs is of another version ({error}).", "Run: synccr restart"
        ) from error


# ------------------------------------------------------------------ showing


def _follow(instance: Path, *, as_json: bool) -> None:
    for document in _documents(instance):
        if as_json:
            for turn in document["turns"]:
                print_data(codec.dumps(turn, ensure_ascii=False))
        else:
            for row in rows_of(document):
                print_data(turn_line(row))


def table(rows: Sequence[TurnRow], width: int) -> Table:
    """A line a try; the turn's own words stand on its first.

    Args:
        rows: oldest first.
        width: columns of the terminal; a narrow one shows times and verdicts only.
    """
    from rich.table import Table

    found = Table(box=None, pad_edge=False, header_style="bold")
    found.add_column("turn", no_wrap=True)
    found.add_column("at", no_wrap=True)
    found.add_column("route", overflow="fold", min_width=7)
    found.add_column("model", overflow="fold")
    found.add_column("verdict", no_wrap=True)
    numbers = ("took", "first", "bytes", "tokens") if width >= _WIDE else ("took",)
    for title in numbers:
        found.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        for cells in _cells(row):
            found.add_row(*cells[: 5 + len(numbers)])
    return found


def _cells(row: TurnRow) -> Iterator[list[Text]]:
    from rich.text import Text

    head = [str(row.turn), _clock(row.at), row.route]
    if not (row.judged and row.attempts):
        word = str(row.status) if row.judged else f"{row.status} not judged"
        yield [Text(word) for word in [*head, row.served_by or "-", word, _ms(row.took_ms)]]
        return
    for each in row.attempts:
        verdict = Text(_verdict(each), "green" if each.verdict == "ok" else "red")
        first = "-" if each.first_byte_ms is None else _ms(each.first_byte_ms)
        rest = [_ms(each.took_ms), first, _bytes(each.bytes_in), _tokens(each)]
        yield [*map(Text, [*head, each.target]), verdict, *map(Text, rest)]
        head = ["", "", ""]


def turn_line(row: TurnRow) -> str:
    """One turn in a line: who served it, and what each try was."""
    tries = ", ".join(f"{each.target} {_verdict(each)}" for each in row.attempts)
    told = tries if row.judged else "not judged"
    return (
        f"{row.turn:>5}  {_clock(row.at)}  {row.route}  {row.status}  "
        f"{row.served_by or '-'}  {_ms(row.took_ms)}" + (f"  ({told})" if told else "")
    )


def _verdict(each: AttemptRow) -> str:
    return each.verdict if each.status is None else f"{each.status} {each.verdict}"


def _clock(stamp: str) -> str:
    return stamp[11:19]


def _ms(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def _bytes(count: int) -> str:
    return f"{count} B" if count < 1000 else f"{count / 1000:.1f} kB"


def _tokens(each: AttemptRow) -> str:
    if each.tokens_in is None and each.tokens_out is None:
        return "-"
    return " + ".join("?" if n is None else str(n) for n in (each.tokens_in, each.tokens_out))


# ------------------------------------------------------------------- bodies


def seconds_of(text: str) -> int:
    """Seconds of ``90s``, ``10m``, ``1h``; 0 for ``off``.

    Raises:
        UsageError: it is none of these, or more than a day.
    """
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if text != "off" and not 0 < seconds <= 24 * 3600:
        raise UsageError(
            f"{text!r} is no duration for a capture.", "Write 90s, 10m, 1h (a day at most), or off."
        )
    return seconds


def _capture(instance: Path, text: str, *, as_json: bool) -> Result:
    seconds = seconds_of(text)
    answer = request(instance, "trace", capture=seconds)
    found = answer["capture"]
    if seconds:
        note = Note(
            f"For {text}, or until it has {found['limit'] >> 20} MiB, this file gets every request "
            "and answer: prompts, code, whatever they carry. Known keys are masked. Nobody else "
            "can read it; remove it when you are done. synccr trace --capture off ends it.",
            "yellow",
        )
    else:
        note = Note("Ended." if found else "Nothing was being captured.")
    if as_json:
        return Result([note], answer)
    return Result([note, found["path"]] if found else [note])
