"""The states of one request, as they are written down."""

from __future__ import annotations

import re

from synccr.proxy import stream
from synccr.proxy.stream import NEXT, State


def test_the_table_in_words_is_the_table_as_data() -> None:
    """Each state stands in it with those that follow; from each it may be over."""
    rows: dict[State, set[State]] = {}
    state = None
    for line in (stream.__doc__ or "").splitlines():
        if not line.startswith("    "):
            continue
        first = line.split()[0]
        if first in State.__members__:
            state = State[first]
            rows[state] = set()
        elif state is None:
            continue  # the head of the table
        assert state is not None
        arrow = re.search(r"-> ([A-Z, ]+)$", line)
        names = arrow[1].split(", ") if arrow else []
        rows[state] |= {State[name] for name in names}
        if state is not State.OVER:
            rows[state].add(State.OVER)
    assert rows == NEXT
