"""One value of a JSON5 text changed, everything else kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synccr.errors import SynccrError
from synccr.jsonc import with_value


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"LOG_LEVEL": "debug", "a": 1}', '{"LOG_LEVEL": "error", "a": 1}'),
        ("{LOG_LEVEL: 'debug', // why\n}", '{"LOG_LEVEL": "error", // why\n}'),
        ('{"a": {"LOG_LEVEL": "x"}}', '{\n  "LOG_LEVEL": "error","a": {"LOG_LEVEL": "x"}}'),
        (
            '// {"LOG_LEVEL": "x"}\n{"a": 1}',
            '// {"LOG_LEVEL": "x"}\n{\n  "LOG_LEVEL": "error","a": 1}',
        ),
        ('{"LOG_LEVEL": null}', '{"LOG_LEVEL": "error"}'),
    ],
)
def test_comments_and_form_stay(before: str, after: str) -> None:
    """Only the value is another; white space apart, as it was."""
    assert with_value(before, "LOG_LEVEL", "error").replace(" ", "") == after.replace(" ", "")


@pytest.mark.parametrize("text", ["[]", '{"LOG_LEVEL": ["x"]}', '"text"'])
def test_what_cannot_be_changed_safely_is_refused(text: str) -> None:
    """No object, or a value of a kind that nobody expects there."""
    with pytest.raises(SynccrError):
        with_value(text, "LOG_LEVEL", "error")


names = st.sampled_from(["LOG_LEVEL", "x", "APIKEY", 'q"LOG_LEVEL": "a"', "{", "// y"])
scalars = st.one_of(st.text(max_size=8), st.integers(-9, 9), st.booleans(), st.none(), names)
documents = st.dictionaries(
    names,
    st.recursive(
        scalars, lambda c: st.lists(c, max_size=3) | st.dictionaries(names, c), max_leaves=6
    ),
)


@settings(max_examples=40, deadline=None)  # the JSON5 reader is slow
@given(documents, names, st.text(max_size=8), st.sampled_from([None, 1]))
def test_the_result_is_the_document_with_that_value(
    document: dict[str, Any], name: str, value: str, indent: int | None
) -> None:
    """Whatever the document: the right one comes out, or none."""
    try:
        text = with_value(json.dumps(document, indent=indent), name, value)
    except SynccrError:
        return
    assert json.loads(text) == document | {name: value}
