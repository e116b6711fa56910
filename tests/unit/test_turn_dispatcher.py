"""What a failed request is seen to need of the next model."""

from __future__ import annotations

import json

from synccr.supervisor.turn_dispatcher import named_by_client, need_of


def body(content: object, **more: object) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": content}], **more}).encode()


def test_the_size_of_a_request_is_that_of_its_text() -> None:
    """A screenshot is worth a few thousand tokens, not one for each four signs of its text."""
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo" * 200_000}
    need = need_of(body([{"type": "image", "source": source}, {"type": "text", "text": "see"}]))
    assert need.image
    assert need.tokens < 1000
    assert need_of(body("word " * 20_000)).tokens > 20_000
    assert need_of(body("A" * 40_000)).tokens > 9000


def test_tools_and_names() -> None:
    """Spelled with blanks or without them; a name is one of a provider's model."""
    assert need_of(body("x", tools=[{"name": "note"}])).tools
    assert not need_of(body("x", tools=[])).tools
    assert named_by_client(body("x", model="acme,main"))
    assert not named_by_client(body("x", model="claude-sonnet-4"))
    assert not named_by_client(b"no json")
