"""The journal for people and programs, to its end and beyond it."""

from __future__ import annotations

import json as codec
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synccr.cli.event_text import event_line
from synccr.cli.output import print_data, reader_gone
from synccr.journal import Journal, parse
from synccr.paths import Paths


def show_journal(*, json: bool = False, follow: bool = False) -> None:
    """Print what it holds, oldest first; with ``follow`` also what comes, until it is stopped."""
    journal = Journal(Paths.from_environment().instance / "journal.jsonl")

    def show(entry: dict[str, Any]) -> None:
        print_data(codec.dumps(entry, ensure_ascii=False) if json else event_line(entry))

    for entry in journal.read():
        show(entry)
    if follow:
        for line in _appended(journal.path):
            if new := parse(line):
                show(new)


def _appended(path: Path) -> Iterator[bytes]:
    """Lines as they are appended to a file that may be replaced, while somebody reads ours."""
    while not path.exists():
        if reader_gone(sys.stdout):
            return
        time.sleep(0.2)
    file = path.open("rb")
    file.seek(0, 2)
    while True:
        line = file.readline()
        if line:
            yield line
            continue
        time.sleep(0.2)
        if reader_gone(sys.stdout):
            return
        try:
            found = path.stat()
            if found.st_ino != os.fstat(file.fileno()).st_ino:
                file.close()
                file = path.open("rb")
            elif found.st_size < file.tell():  # cut: what was kept has been shown
                file.seek(0, 2)
        except FileNotFoundError:
            continue
