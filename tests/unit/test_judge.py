"""The judge's rules, one by one, in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from judge_kit import (
    DOCUMENT,
    DONE,
    ENDINGS,
    ERROR,
    JSON,
    LEAD,
    LENGTH,
    NAMES,
    STREAM,
    TAIL,
    TEXT,
    Heard,
    candidate,
    chunk,
    document,
    event,
    hear,
    judge,
    stream,
    typed,
)

from synccr.judge import (
    TRANSITIONS,
    Abort,
    Body,
    Cut,
    Done,
    End,
    Event,
    Fail,
    Head,
    Hold,
    Judge,
    Pass,
    Silent,
    State,
    Trouble,
    Usage,
    dialect_for,
)
from synccr.judge.form import OPENING, is_stream

every_dialect = pytest.mark.parametrize("name", NAMES)
every_ending = pytest.mark.parametrize("ending", ENDINGS, ids=lambda e: type(e).__name__)
EMPTY_STOP = {
    "openai": [chunk(finish="stop"), DONE],
    "anthropic": TAIL["anthropic"],
    "gemini": TAIL["gemini"],
    "openai-responses": TAIL["openai-responses"],
}


def test_the_names_are_those_of_the_preflight() -> None:
    """Each form that CCR asks in has its judge; any other name has none."""
    from synccr.probe import dialects

    for asked in (dialects.CHAT, dialects.MESSAGES, dialects.GEMINI, dialects.RESPONSES):
        found = dialect_for(asked.name)
        assert found is not None
        assert found.name == asked.name
    assert dialect_for("vertex-claude") is None


@every_dialect
@every_ending
def test_a_whole_answer_is_done_whatever_becomes_of_the_connection(
    name: str, ending: Event
) -> None:
    """Held until the first content, then passed at once; each byte comes out, in order."""
    heard = Heard(judge(name))
    assert heard.take(Head(200, STREAM)) == Hold()
    for piece in LEAD[name]:
        assert heard.take(Body(piece)) == Hold()
        assert not heard.judge.began
    first, *others = TEXT[name]
    assert heard.take(Body(first)) == Pass(b"".join(LEAD[name]) + first)
    assert heard.judge.began
    for piece in others:
        assert heard.take(Body(piece)) == Pass(piece)
    assert not heard.judge.whole
    for piece in TAIL[name]:
        assert heard.take(Body(piece)) == Pass(piece)
    assert heard.judge.whole
    assert heard.judge.state is State.WHOLE
    assert heard.take(ending) == Done(b"")
    assert heard.judge.usage == Usage(7, 2)
    for late in (*ENDINGS, Body(b"x"), Head(500, "")):
        assert heard.take(late) == Hold()


@every_dialect
def test_content_without_the_end_mark_is_cut(name: str) -> None:
    """However it stops: no end of HTTP stands for the dialect's."""
    cut = stream(name, LEAD[name], TEXT[name])
    assert isinstance(cut.last, Abort)
    assert cut.failure.trouble is Trouble.CUT
    assert cut.failure.http_status == 502
    broken = stream(name, LEAD[name], TEXT[name], ending=Cut("reset by peer"))
    assert (type(broken.last), broken.failure.trouble) == (Abort, Trouble.CUT)
    assert broken.failure.detail == "the answer broke off: reset by peer"
    silent = stream(name, LEAD[name], TEXT[name], ending=Silent(20.0))
    assert (type(silent.last), silent.failure.trouble) == (Abort, Trouble.SILENT)
    for heard in (cut, broken, silent):
        assert heard.passed == b"".join(LEAD[name] + TEXT[name])


@every_dialect
def test_nothing_of_an_answer_without_content_is_passed_on(name: str) -> None:
    """Cut, silent or ended before the first content: an HTTP error."""
    ended = stream(name, LEAD[name])
    assert (type(ended.last), ended.failure.trouble) == (Fail, Trouble.CUT)
    broken = stream(name, LEAD[name], ending=Cut("reset"))
    assert (type(broken.last), broken.failure.trouble) == (Fail, Trouble.CUT)
    silent = stream(name, LEAD[name], ending=Silent(20.0))
    assert (type(silent.last), silent.failure.trouble) == (Fail, Trouble.SILENT)
    assert silent.failure.http_status == 504
    assert json.loads(silent.failure.body)["error"] == {
        "message": "no byte for 20 s",
        "type": "api_error",
        "code": "synccr_silent",
    }
    nothing = stream(name)
    assert (type(nothing.last), nothing.failure.trouble) == (Fail, Trouble.EMPTY)


@every_dialect
def test_an_empty_stop_is_no_answer_unless_it_is_accepted(name: str) -> None:
    """Asked once elsewhere; passed on when that is empty, too."""
    failed = stream(name, LEAD[name], EMPTY_STOP[name])
    assert (type(failed.last), failed.failure.trouble) == (Fail, Trouble.EMPTY)
    accepted = stream(name, LEAD[name], EMPTY_STOP[name], accept_empty=True)
    assert isinstance(accepted.last, Done)
    assert accepted.passed == b"".join(LEAD[name] + EMPTY_STOP[name])


@every_dialect
@every_ending
def test_all_tokens_spent_before_the_first_word_is_an_answer(name: str, ending: Event) -> None:
    """``length`` explains why there is nothing."""
    heard = stream(name, LEAD[name], LENGTH[name], ending=ending)
    assert isinstance(heard.last, Done)
    assert heard.passed == b"".join(LEAD[name] + LENGTH[name])
    again = stream(name, LENGTH[name], EMPTY_STOP[name], ending=ending)
    assert isinstance(again.last, Done), "a second end takes nothing back"


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("openai", [chunk(finish="content_filter")]),
        ("openai", [chunk(finish="sensitive")]),
        ("openai", [chunk(refusal="No."), chunk(finish="stop")]),
        (
            "anthropic",
            [typed("message_delta", delta={"stop_reason": "refusal"}), typed("message_stop")],
        ),
        ("gemini", [candidate(finish="SAFETY")]),
        ("gemini", [event({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})]),
        (
            "openai-responses",
            [typed("response.refusal.delta", delta="No."), *TAIL["openai-responses"]],
        ),
        (
            "openai-responses",
            [
                typed(
                    "response.incomplete",
                    response={"incomplete_details": {"reason": "content_filter"}},
                )
            ],
        ),
    ],
)
def test_a_filter_or_a_refusal_is_an_answer(name: str, end: list[bytes]) -> None:
    """Another model is not asked to get around it."""
    assert isinstance(stream(name, LEAD[name], end).last, Done)


@every_dialect
def test_an_error_event_before_content_becomes_an_http_error(name: str) -> None:
    """With the status inside and the provider's words."""
    heard = stream(name, LEAD[name], ERROR[name])
    assert (type(heard.last), heard.failure.trouble) == (Fail, Trouble.ERROR)
    assert heard.failure.http_status == 529
    assert json.loads(heard.failure.body)["error"]["message"] == "Overloaded"
    assert heard.failure.detail == "Overloaded"


@every_dialect
def test_an_error_event_after_content_breaks_the_connection(name: str) -> None:
    """None of its bytes is passed on, also when it comes in one piece with content."""
    healthy = b"".join(LEAD[name] + TEXT[name])
    for pieces in ([healthy, ERROR[name]], [healthy + ERROR[name]]):
        heard = hear(judge(name), pieces, None)
        assert (type(heard.last), heard.failure.trouble) == (Abort, Trouble.ERROR)
        assert heard.failure.passed
        assert heard.passed == healthy


@every_dialect
def test_an_error_after_the_end_mark_harms_nothing(name: str) -> None:
    """The answer is whole, and the error is not passed on."""
    healthy = b"".join(LEAD[name] + TEXT[name] + TAIL[name])
    heard = hear(judge(name), [healthy, ERROR[name]], None)
    assert isinstance(heard.last, Done)
    assert heard.passed == healthy


@every_dialect
def test_whoever_writes_an_error_text_has_answered(name: str) -> None:
    """Content is never searched for errors."""
    words = json.dumps(ERROR[name].decode())[1:-1]
    said = [piece.replace(b"Hel", words.encode()) for piece in TEXT[name]]
    assert said != TEXT[name]
    assert isinstance(stream(name, LEAD[name], said, TAIL[name]).last, Done)


def test_done_alone_is_an_end_only_where_the_model_ends_so() -> None:
    """And otherwise CCR never sees it, because it would take it for the end."""
    cut = stream("openai", TEXT["openai"], DONE, ending=None)
    assert (type(cut.last), cut.failure.trouble) == (Abort, Trouble.CUT)
    assert cut.passed == b"".join(TEXT["openai"])
    whole = stream("openai", TEXT["openai"], DONE, done_alone=True)
    assert isinstance(whole.last, Done)
    assert whole.passed == b"".join(TEXT["openai"]) + DONE
    for options in ({}, {"done_alone": True}):
        empty = stream("openai", LEAD["openai"], DONE, **options)
        assert (type(empty.last), empty.failure.trouble) == (Fail, Trouble.EMPTY)


def test_a_stop_reason_is_not_yet_anthropics_end() -> None:
    """Without ``message_stop`` it is a cut."""
    cut = stream("anthropic", LEAD["anthropic"], TEXT["anthropic"], TAIL["anthropic"][:-1])
    assert (type(cut.last), cut.failure.trouble) == (Abort, Trouble.CUT)


@pytest.mark.parametrize("status", [302, 400, 402, 429, 500, 529])
@every_ending
def test_an_http_error_is_handed_on_word_for_word(status: int, ending: Event) -> None:
    """As soon as its words are there; that they break off changes nothing."""
    words = b'{"error": "no credit \xff"}'
    heard = hear(judge(), [words[:9], words[9:]], ending, status=status, kind=JSON)
    assert (type(heard.last), heard.failure.trouble) == (Fail, Trouble.STATUS)
    assert (heard.failure.http_status, heard.failure.body) == (status, words)


def test_an_http_error_without_words_gets_ours() -> None:
    """So that CCR has some to repeat."""
    heard = hear(judge(), [], status=503, kind="")
    assert json.loads(heard.failure.body)["error"]["code"] == "synccr_status"
    assert heard.failure.detail == "HTTP 503"


def test_an_endless_http_error_is_not_waited_for() -> None:
    """After 64 KiB it is one, and 16 KiB of its words are kept."""
    heard = hear(judge(), [b"x" * 1000] * 66, None, status=500, kind="text/plain")
    assert heard.failure.trouble is Trouble.STATUS
    assert heard.failure.body == b"x" * (16 << 10)
    assert hear(judge(), [b"x" * 1000] * 65, None, status=500).last is None


def test_details_hold_no_prompt_and_no_key() -> None:
    """A request's own fault is named without its words, and what looks like a key is masked."""
    echo = b'{"error": {"message": "messages.0: SECRET PLAN is invalid", "param": "messages"}}'
    assert "SECRET" not in hear(judge(), [echo], status=400).failure.detail
    key = b'{"error": {"message": "Incorrect API key provided: sk-abcdefghijklmnopqrstuvwx"}}'
    failure = hear(judge(), [key], status=401).failure
    assert "sk-abc" not in failure.detail
    assert "sk-abc" not in repr(failure)
    assert len(hear(judge(), [b"word " * 999], status=402).failure.detail) <= 200


@every_dialect
@every_ending
@pytest.mark.parametrize("streamed", [True, False])
def test_a_document_is_judged_whole(name: str, ending: Event, streamed: bool) -> None:
    """Also in answer to a request for a stream, and also when its connection then breaks."""
    body = json.dumps(DOCUMENT[name]).encode()
    heard = hear(judge(name, streamed=streamed), [body[:40], body[40:]], ending, kind=JSON)
    assert heard.last == Done(body)
    assert heard.judge.usage == Usage(7, 2)
    assert heard.judge.whole
    late = hear(judge(name, streamed=streamed), [b"\n", b" ", body], ending, kind=STREAM)
    assert late.last == Done(b"\n " + body), "blanks do not show the form"


@every_dialect
def test_half_a_document_is_none(name: str) -> None:
    """Nothing of it is passed on."""
    half = json.dumps(DOCUMENT[name]).encode()[:-1]
    assert document(name, half).failure.trouble is Trouble.PAGE
    assert document(name, half, ending=Cut("reset")).failure.trouble is Trouble.CUT
    assert document(name, half, ending=Silent(9)).failure.http_status == 504


@every_dialect
@pytest.mark.parametrize("kind", [JSON, STREAM, "text/html", ""])
def test_a_page_in_place_of_an_answer(name: str, kind: str) -> None:
    """Whatever it calls itself; its title is told."""
    page = b"\n<!doctype html><title>Bad gateway</title><p>plans &amp; billing"
    failure = document(name, page, kind=kind).failure
    assert (failure.trouble, failure.http_status) == (Trouble.PAGE, 502)
    assert failure.detail == "answered with an HTML page: Bad gateway"
    assert json.loads(failure.body)["error"]["code"] == "synccr_page"
    for garbage in (b"ok", b"123", b'"text"', b"\x1f\x8b\x08\x00", b"[1]", b"[]"):
        assert document(name, garbage).failure.trouble is Trouble.PAGE
    assert document(name, b" \r\n").failure.trouble is Trouble.EMPTY
    assert document(name, b"error: out of slots", kind=STREAM).failure.trouble is Trouble.ERROR
    assert document(name, b"error code: 1020", kind=STREAM).failure.trouble is Trouble.PAGE
    assert document(name, b"upstream trouble", kind=STREAM).failure.trouble is Trouble.PAGE


@every_dialect
@pytest.mark.parametrize("kind", [JSON, STREAM])
def test_an_error_object_under_a_200(name: str, kind: str) -> None:
    """In the provider's own words, with the status inside."""
    body = b'{"error": {"code": 402, "message": "insufficient credits"}, "user_id": "u"}'
    failure = document(name, body, kind=kind).failure
    assert (failure.trouble, failure.http_status, failure.body) == (Trouble.ERROR, 402, body)
    listed = document(name, b"[" + body + b"]", kind=kind).failure
    assert (listed.trouble, listed.http_status) == (Trouble.ERROR, 402)
    assert document(name, {"id": "x", "choices": None}).failure.trouble is Trouble.ERROR


@every_dialect
def test_a_stream_by_any_name_is_read_as_one(name: str) -> None:
    """Without a type, as text, as JSON, and in answer to a request for no stream."""
    parts = LEAD[name] + TEXT[name] + TAIL[name]
    for kind in ("", "text/plain", JSON):
        heard = hear(judge(name, streamed=False), parts, kind=kind)
        assert isinstance(heard.last, Done)
        assert heard.passed == b"".join(parts)
    cut = hear(judge(name), LEAD[name] + TEXT[name], kind="")
    assert isinstance(cut.last, Abort)


def test_geminis_list_of_chunks_is_one_answer() -> None:
    """What it sends when ``alt=sse`` is missing."""
    chunks = [
        {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]},
        {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 7}},
    ]
    assert isinstance(document("gemini", chunks).last, Done)
    assert document("gemini", chunks[1:]).failure.trouble is Trouble.EMPTY


@every_dialect
def test_what_would_be_held_without_end_is_passed_on(name: str) -> None:
    """Beyond the limit there is no way back: troubles break the connection."""
    remark = b": " + b"x" * 96 + b"\n\n"
    heard = hear(judge(name, limit=1000), [remark] * 11, None)
    assert heard.passed == remark * 11
    assert heard.judge.began
    heard.take(Body(ERROR[name]))
    assert (type(heard.last), heard.passed) == (Abort, remark * 11)
    at_once = hear(judge(name, limit=1000), [remark * 11 + ERROR[name]], None)
    assert (type(at_once.last), at_once.passed) == (Abort, remark * 11)
    empty = hear(judge(name, limit=1000), [remark] * 11 + EMPTY_STOP[name])
    assert (type(empty.last), empty.failure.trouble) == (Abort, Trouble.EMPTY)


@every_dialect
def test_an_event_beyond_the_limit_is_passed_over(name: str) -> None:
    """It counts as content; the end mark may be in it, so that a clean end is one."""
    large = event({"choices": [{"delta": {"content": "x" * 2000}}]})
    for ending, action in ((End(), Done), (Cut("reset"), Abort), (Silent(9), Abort)):
        heard = stream(name, large[:1500], large[1500:], ending=ending, limit=1000)
        assert isinstance(heard.last, action)
        assert heard.passed == large
    followed = stream(name, large, ERROR[name], limit=1000)
    assert (type(followed.last), followed.passed) == (Abort, large)


@pytest.mark.parametrize("streamed", [True, False])
def test_an_unknown_dialect_is_judged_by_what_anyone_can_see(streamed: bool) -> None:
    """Status, emptiness, cut and silence; streamed, every byte passes at once."""

    def unknown(pieces: list[bytes], ending: Event | None = ENDINGS[0], status: int = 200) -> Heard:
        return hear(Judge(None, streamed=streamed), pieces, ending, status=status, kind=JSON)

    assert unknown([b"any", b"thing"]).passed == b"anything"
    assert isinstance(unknown([b"any"]).last, Done)
    assert unknown([]).failure.trouble is Trouble.EMPTY
    assert unknown([b"\n"]).failure.trouble is Trouble.EMPTY
    assert unknown([b"no"], status=402).failure.trouble is Trouble.STATUS
    given_up = Abort if streamed else Fail
    for ending, trouble in ((Cut("reset"), Trouble.CUT), (Silent(9), Trouble.SILENT)):
        heard = unknown([b"any"], ending)
        assert (type(heard.last), heard.failure.trouble) == (given_up, trouble)
    assert unknown([b"any"], None).passed == (b"any" if streamed else b"")


@pytest.mark.parametrize("name", [None, "openai"])
def test_a_document_beyond_its_limit_is_passed_on_unread(name: str | None) -> None:
    """32 MiB; then it is an unknown form."""
    judged = Judge(dialect_for(name) if name else None, streamed=False)
    pieces = [b"{" + b" " * ((1 << 20) - 1)] * 32
    heard = hear(judged, pieces, None, kind=JSON)
    assert heard.passed == b""
    assert isinstance(heard.take(Body(b" ")), Pass)
    assert heard.take(Body(b"x")) == Pass(b"x")
    assert isinstance(heard.take(Cut("reset")), Abort)
    ended = hear(Judge(dialect_for("openai"), streamed=False), [*pieces, b" "], kind=JSON)
    assert isinstance(ended.last, Done)
    assert ended.judge.whole


@every_ending
def test_no_answer_at_all(ending: Event) -> None:
    """Not even a head."""
    heard = Heard(judge())
    heard.take(ending)
    silent = isinstance(ending, Silent)
    assert heard.failure.trouble is (Trouble.SILENT if silent else Trouble.CUT)
    assert heard.failure.http_status == (504 if silent else 502)


def test_what_has_no_place_is_refused() -> None:
    """A body before the head, a second head."""
    with pytest.raises(ValueError, match="Body while head"):
        judge().take(Body(b"x"))
    judged = judge()
    judged.take(Head(200, JSON))
    with pytest.raises(ValueError, match="Head while held"):
        judged.take(Head(200, JSON))


def test_every_pair_of_state_and_event_is_in_the_table() -> None:
    """But for heads, of which there is one."""
    events: set[type[Any]] = {Head, Body, End, Cut, Silent}
    missing = {(s, e) for s in State for e in events} - set(TRANSITIONS)
    heads: set[tuple[State, type[Any]]] = {
        (s, Head) for s in State if s not in (State.HEAD, State.OVER)
    }
    assert missing == heads | {(State.HEAD, Body)}


@every_dialect
def test_all_that_is_in_the_table_happens(name: str) -> None:
    """No row and no action is there for nothing; that no other happens is looked at by the kit."""
    lead, text, tail = b"".join(LEAD[name]), b"".join(TEXT[name]), b"".join(TAIL[name])
    error, part = ERROR[name], b": unfinished"
    streams = [
        [lead],
        [TEXT[name][0][:-2]],
        [text, text],
        [lead, error],
        [text + error],
        [text, part],
        [text, error],
        [text, tail + error],
        [text, tail, part, b"\n"],
        [text, tail, error],
        [text + tail],
        [text + tail + error],
        [text, tail.removesuffix(b"\n\n")],
    ]
    heard = [Heard(judge(name)) for _ in ENDINGS]
    for one, ending in zip(heard, ENDINGS, strict=True):
        one.take(ending)
    for ending in ENDINGS:
        heard += [hear(judge(name), pieces, ending) for pieces in streams]
        heard += [document(name, DOCUMENT[name], ending=ending)]
        heard += [hear(judge(name), [b"x"], ending, status=500)]
    heard += [hear(judge(name), [b"x" * 70_000], None, status=500)]
    large = event({"large": "x" * 2000})
    heard += [hear(judge(name, limit=1000), [large]), hear(judge(name, limit=1000), [large[:-9]])]
    for one in heard:
        for late in (Head(200, ""), Body(b""), *ENDINGS):
            one.take(late)
    happened = set().union(*(one.steps for one in heard))
    table = {(s, e, *step) for (s, e), steps in TRANSITIONS.items() for step in steps}
    assert happened == table


@pytest.mark.parametrize(
    ("said", "opening", "stream"),
    [
        ("", b"", None),
        ("text/event-stream", b" \n", None),
        ("", b"data: {", True),
        ("", b"da", None),
        ("", b"dx", False),
        ("application/json", b"{", False),
        ("text/event-stream", b"{", False),
        ("text/event-stream", b"da", True),
        ("", b" " * (OPENING - 3) + b"da", None),
        ("", b" " * (OPENING - 2) + b"da", False),
        ("", b" " * OPENING, False),
        ("text/event-stream", b" " * OPENING, True),
    ],
)
def test_whether_an_answer_is_a_stream(said: str, opening: bytes, stream: bool | None) -> None:
    """Its first bytes tell, as soon as they can; only so many are waited for."""
    assert is_stream(said, opening) is stream
