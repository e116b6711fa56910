"""What a provider request asks for, by its address."""

from __future__ import annotations

import pytest

from synccr.egress.request_shape import read_shape


@pytest.mark.parametrize(
    ("path", "model", "streamed"),
    [
        ("/v1beta/models/gemini-x:generateContent", "gemini-x", False),
        ("/v1beta/models/gemini-x:streamGenerateContent?alt=sse", "gemini-x", True),
        ("/v1beta/models/google/gemini-x:generateContent", "google/gemini-x", False),
        ("/v1beta/models/google%2Fgemini-x:generateContent", "google/gemini-x", False),
        ("/models/of/v1beta/models/a:free:generateContent", "a:free", False),
    ],
)
def test_the_model_of_geminis_form(path: str, model: str, streamed: bool) -> None:
    """It stands in the address, with a slash as well."""
    shape = read_shape(f"https://a.example{path}", b"{}")
    assert (shape.dialect, shape.model, shape.streamed) == ("gemini", model, streamed)
