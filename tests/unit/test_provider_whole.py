"""The embedded provider as a whole: keys, lists, orders, records, coming and going."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from provider import EVERY_MODEL, MODELS_LIST, PRESETS, QUOTAS, FakeProvider
from provider.records import ReceivedRequest, RequestLog

KEY = "provider-key-0123456789"
QUOTA = {"subscription": {"limit": 135, "requests": 7, "renewsAt": "2025-09-21T14:36:14.288Z"}}


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    models = {"main": "ok", "spare": "ok"}
    with FakeProvider(models, key=KEY, quotas=QUOTA, control=True) as running:
        yield running


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=provider.base_url, headers=headers, trust_env=False) as made:
        yield made


def ask(client: httpx.Client, model: str, timeout: float = 5, **extra: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]} | extra
    return client.post("/openai/v1/chat/completions", json=body, timeout=timeout)


@pytest.mark.parametrize(
    "path", ["/chat/completions", "/v1/chat/completions", "/openai/v1/chat/completions"]
)
def test_the_chat_endpoint_has_many_addresses(client: httpx.Client, path: str) -> None:
    """Whatever stands before ``/chat/completions`` is accepted."""
    body = {"model": "main", "messages": [{"role": "user", "content": "hi"}]}
    assert client.post(path, json=body).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/v1/x"), ("GET", "/v1/m")])
def test_other_addresses_are_not_found(client: httpx.Client, method: str, path: str) -> None:
    """What the provider does not have is 404."""
    assert client.request(method, path).status_code == 404


@pytest.mark.parametrize(
    ("url", "headers", "status"),
    [
        ("/v1/chat/completions", {"authorization": f"Bearer {KEY}"}, 200),
        ("/v1/chat/completions", {"authorization": "Bearer wrong"}, 401),
        ("/v1/chat/completions", {"x-api-key": KEY}, 401),
        ("/v1/chat/completions", {}, 401),
        ("/v1/messages", {"x-api-key": KEY}, 200),
        ("/v1/messages", {"authorization": f"bearer {KEY}"}, 200),
        ("/v1/messages", {"x-api-key": "wrong", "authorization": f"Bearer {KEY}"}, 401),
        ("/v1beta/models/main:generateContent", {"x-goog-api-key": KEY}, 200),
        (f"/v1beta/models/main:generateContent?key={KEY}", {}, 200),
        ("/v1beta/models/main:generateContent", {"authorization": f"Bearer {KEY}"}, 401),
        ("/v1beta/models/main:generateContent?key=wrong", {}, 401),
    ],
)
def test_each_dialect_has_its_place_for_the_key(
    provider: FakeProvider, url: str, headers: dict[str, str], status: int
) -> None:
    """A key is found where the protocol puts it and nowhere else; a wrong one is 401."""
    body = {"model": "main", "messages": [], "contents": []}
    response = httpx.post(provider.base_url + url, json=body, headers=headers, trust_env=False)
    assert response.status_code == status
    record = provider.requests()[-1]
    assert (record.key_ok, record.behaviour) == (status == 200, "ok" if status == 200 else "auth")
    assert KEY not in repr(record)


def test_lists_want_the_key_too(provider: FakeProvider) -> None:
    """Without the key neither the models nor the quotas are told."""
    for path in ("/v1/models", "/v2/quotas"):
        assert httpx.get(provider.base_url + path, trust_env=False).status_code == 401


def test_listed_is_not_what_answers(provider: FakeProvider, client: httpx.Client) -> None:
    """The list names what it is told to name; a model that is absent may still answer."""
    provider.list_models(["main"])
    listed = [row["id"] for row in client.get("/openai/v1/models").json()["data"]]
    assert listed == ["main"]
    assert ask(client, "spare").status_code == 200


def test_quotas_can_be_told_changed_and_absent(
    provider: FakeProvider, client: httpx.Client
) -> None:
    """The quota endpoint tells what it was given, or is not there."""
    assert client.get("/v2/quotas").json() == QUOTA
    provider.quotas = None
    assert client.get("/v2/quotas").status_code == 404


@pytest.mark.parametrize("target", [MODELS_LIST, QUOTAS])
def test_an_endpoint_fails_alone(provider: FakeProvider, client: httpx.Client, target: str) -> None:
    """A list can fail while the models answer."""
    provider.set(target, "html")
    paths = {MODELS_LIST: "/v1/models", QUOTAS: "/v2/quotas"}
    assert client.get(paths.pop(target)).headers["content-type"].startswith("text/html")
    (other,) = paths.values()
    assert client.get(other).json()
    assert ask(client, "main").status_code == 200


def test_everything_can_fail_at_once(provider: FakeProvider, client: httpx.Client) -> None:
    """``set_all`` covers models and endpoints, and None ends it."""
    provider.set_all("down")
    statuses = [client.get("/v1/models").status_code, client.get("/v2/quotas").status_code]
    assert [ask(client, "main").status_code, *statuses] == [503, 503, 503]
    provider.set_all(None)
    assert ask(client, "main").status_code == client.get("/v1/models").status_code == 200


def test_every_model_can_fail_while_the_lists_answer(
    provider: FakeProvider, client: httpx.Client
) -> None:
    """A spent cap hits all models; the quota endpoint still tells about it."""
    provider.set(EVERY_MODEL, "spent_cap")
    response = ask(client, "main")
    assert (response.status_code, "retry-after" in response.headers) == (429, False)
    assert response.json()["error"].startswith("You've exceeded your subscription rate limits")
    assert client.get("/v2/quotas").status_code == 200


def test_a_402_is_the_real_one(provider: FakeProvider, client: httpx.Client) -> None:
    """``error`` is a string, as synthetic.new sends it."""
    provider.credit("main", 1)
    assert [ask(client, "main").status_code for _ in range(2)] == [200, 402]
    assert ask(client, "main").json() == {
        "error": "Your plan doesn't cover on-demand models, and there's insufficient credit balance"
    }


def test_own_body_and_headers_are_sent(provider: FakeProvider, client: httpx.Client) -> None:
    """A given body goes out as text or as JSON, with the given headers."""
    for body, content in (({"detail": "x"}, '{"detail":"x"}'), ("no {model}", "no main")):
        provider.set(
            "main", {"kind": "reply", "status": 403, "body": body, "headers": {"x-a": "b"}}
        )
        response = ask(client, "main")
        assert (response.status_code, response.text) == (403, content)
        assert response.headers["x-a"] == "b"


def test_some_providers_echo_the_key(provider: FakeProvider, client: httpx.Client) -> None:
    """The 401 that quotes the key it was sent, for tests of redaction."""
    provider.set("main", "echo_key")
    response = ask(client, "main")
    assert response.status_code == 401
    assert f"got '{KEY}'" in response.text
    assert KEY not in repr(provider.requests())


@pytest.mark.parametrize("name", ["garbage", "html", "json_error"])
def test_a_200_can_be_no_completion(
    provider: FakeProvider, client: httpx.Client, name: str
) -> None:
    """Status 200 with something that is no completion."""
    provider.set("main", name)
    response = ask(client, "main")
    assert response.status_code == 200
    try:
        body = response.json()
    except ValueError:
        body = {}
    assert "choices" not in body
    assert (name == "json_error") == ("error" in body)


def test_a_bad_gateway_is_a_page(provider: FakeProvider, client: httpx.Client) -> None:
    """502 with HTML, as a proxy in front of a dead server answers."""
    provider.set("main", "bad_gateway")
    response = ask(client, "main")
    assert (response.status_code, response.text[:15]) == (502, "<!DOCTYPE html>")


def test_never_and_reset(provider: FakeProvider, client: httpx.Client) -> None:
    """No answer at all, and a reset instead of one; both are recorded with status 0."""
    provider.schedule("main", ["never", "reset"])
    with pytest.raises(httpx.ReadTimeout):
        ask(client, "main", timeout=0.2)
    with pytest.raises(httpx.ReadError):
        ask(client, "main")
    assert [(r.behaviour, r.status) for r in provider.requests("main")] == [
        ("never", 0),
        ("reset", 0),
    ]


@pytest.mark.slow
def test_slow_means_late_and_in_steps(provider: FakeProvider, client: httpx.Client) -> None:
    """The first byte waits for ``delay``, each further event for ``chunk_delay``."""
    provider.set("main", {"delay": 0.2, "chunk_delay": 0.1, "chunks": 2})
    started = time.monotonic()
    with client.stream(
        "POST",
        "/v1/chat/completions",
        json={"model": "main", "stream": True, "messages": [{"role": "user", "content": "hi"}]},
    ) as response:
        first = time.monotonic() - started
        events = sum(chunk.count(b"data: ") for chunk in response.iter_raw())
    assert first >= 0.2
    assert time.monotonic() - started >= 0.2 + 0.1 * (events - 1)


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeProvider]:
    """One provider for many tests that each set what they ask for."""
    with FakeProvider({"main": "ok"}, key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def shared_client(shared: FakeProvider) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=shared.base_url, headers=headers, trust_env=False) as made:
        yield made


SILENT = {"never", "stall", "head_then_silence"}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("stream", [False, True])
def test_every_preset_is_recorded_by_its_name(
    shared: FakeProvider, shared_client: httpx.Client, name: str, stream: bool
) -> None:
    """Each preset answers and its record says which it was and with what status."""
    shared.forget()
    shared.set("main", {"preset": name, "chunk_delay": 0, "delay": 0})
    status = 200
    try:
        timeout = 0.3 if name in SILENT else 20
        status = ask(shared_client, "main", stream=stream, timeout=timeout).status_code
    except httpx.ReadError:
        assert name == "reset"
    except httpx.ReadTimeout:
        assert name in SILENT
    except httpx.RemoteProtocolError:
        assert name in {"cut", "cut_before_content"}
    except httpx.DecodingError:
        assert name == "gzip_garbage"
    if name in {"never", "reset"}:
        status = 0
    record = shared.requests("main")[-1]
    assert (record.behaviour, record.status, record.stream) == (name, status, stream)


@pytest.mark.parametrize(
    ("behaviour", "stream"),
    [("never", False), ("stall", True), ({"chunk_delay": 60}, True), ({"delay": 60}, False)],
)
def test_a_client_that_leaves_early_is_recorded(
    provider: FakeProvider, client: httpx.Client, behaviour: Any, stream: bool
) -> None:
    """The record says after how many seconds the client closed; one that stayed has None."""
    provider.set("main", behaviour, times=1)
    began = time.time()
    with pytest.raises(httpx.ReadTimeout):
        ask(client, "main", stream=stream, timeout=0.2)
    ask(client, "main")
    left, stayed = provider.requests("main")
    deadline = time.monotonic() + 5
    while left.aborted is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left.aborted is not None
    closed = left.at + left.aborted
    assert began + 0.2 <= closed <= time.time()
    assert stayed.aborted is None


def test_slow_answers_can_be_hurried(provider: FakeProvider, client: httpx.Client) -> None:
    """One that is under way goes on without its pauses; later ones have theirs."""
    for value in ({"delay": 60}, {"chunk_delay": 60, "chunks": 9}):
        provider.set("main", value)
        answers: list[httpx.Response] = []
        thread = threading.Thread(
            target=lambda: answers.append(ask(client, "main", timeout=20, stream=True))  # noqa: B023
        )
        provider.forget()
        thread.start()
        while not provider.requests("main"):
            time.sleep(0.01)
        assert thread.is_alive()
        provider.hurry()
        thread.join()
        assert answers[0].text.endswith("data: [DONE]\n\n")
    with pytest.raises(httpx.ReadTimeout):
        ask(client, "main", timeout=0.2, stream=True)


def test_records_show_the_sampling_parameters_that_arrived(
    provider: FakeProvider, client: httpx.Client
) -> None:
    """The five parameters are read from the body, where each dialect has them."""
    sampling = {
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
        "repetition_penalty": 1.05,
        "max_tokens": 65536,
    }
    ask(client, "main", **sampling)
    assert provider.requests()[-1].sampling == sampling
    body = {"contents": [], "generationConfig": {"topP": 0.8, "maxOutputTokens": 9, "x": 1}}
    client.post("/v1beta/models/main:generateContent", json=body)
    assert provider.requests()[-1].sampling == {"top_p": 0.8, "max_tokens": 9}
    client.post("/v1/chat/completions", content=b"not json")
    assert provider.requests()[-1].sampling == {}


def test_records_are_bounded_by_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest records go first when there are too many, or when they are too large."""
    monkeypatch.setattr("provider.records._KEPT_BYTES", 100)
    log = RequestLog(3)

    def record(size: int) -> ReceivedRequest:
        return ReceivedRequest(
            at=0.0,
            method="POST",
            path="/",
            model=str(size),
            stream=False,
            headers={},
            key_ok=True,
            behaviour="ok",
            status=200,
            raw=b"x" * size,
        )

    for size in (1, 2, 3, 4):
        log.add(record(size))
    assert [r.model for r in log.get()] == ["2", "3", "4"]
    log.add(record(95))
    assert [r.model for r in log.get()] == ["4", "95"]
    log.clear()
    log.add(record(100))
    assert [r.model for r in log.get()] == ["100"]


def test_orders_over_http(provider: FakeProvider, client: httpx.Client) -> None:
    """Another process can set, schedule, give credit, read the records and drop them."""
    orders = [
        {"target": "main", "behaviour": "missing", "times": 1},
        {"target": "spare", "schedule": [402, "ok"], "credit": 1},
    ]
    for order in orders:
        assert client.post("/_control/behaviour", json=order).status_code == 200
    assert [ask(client, "main").status_code for _ in range(2)] == [404, 200]
    assert [ask(client, "spare").status_code for _ in range(4)] == [402, 200, 200, 402]
    provider.set("main", "down")
    client.post("/_control/behaviour", json={"target": "main", "behaviour": None})
    assert ask(client, "main", temperature=0.5).status_code == 200
    response = client.get("/_control/requests")
    records = response.json()["requests"]
    assert [record["status"] for record in records] == [404, 200, 402, 200, 200, 402, 200]
    assert records[-1]["body"]["temperature"] == 0.5
    assert KEY not in response.text
    client.delete("/_control/requests")
    assert provider.requests() == []


@pytest.mark.parametrize(
    "order", [b"{", b'{"behaviour": "ok"}', b'{"target": "m", "behaviour": "biling"}']
)
def test_a_wrong_order_is_refused(client: httpx.Client, order: bytes) -> None:
    """An order that makes no sense is 400 with the reason and changes nothing."""
    response = client.post("/_control/behaviour", content=order)
    assert response.status_code == 400
    assert response.json()["error"]
    assert ask(client, "m").status_code == 200


def test_orders_are_taken_only_when_enabled() -> None:
    """Without ``control`` the addresses do not exist."""
    with FakeProvider() as provider:
        url = f"{provider.base_url}/_control/requests"
        assert httpx.get(url, trust_env=False).status_code == 404


def test_a_schedule_can_be_given_at_the_start() -> None:
    """A list of behaviours in ``models`` is a schedule."""
    with (
        FakeProvider({"m": [402, "ok"]}) as provider,
        httpx.Client(base_url=provider.base_url, trust_env=False) as client,
    ):
        assert [ask(client, "m").status_code for _ in range(3)] == [402, 200, 200]


async def test_stopped_and_started_again_it_keeps_its_port() -> None:
    """A provider that is gone refuses connections and comes back at the same address."""
    async with FakeProvider({"m": "never"}) as provider:
        url = provider.url("openai")
        body = {"model": "m", "messages": []}
        async with httpx.AsyncClient(trust_env=False) as client:
            waiting = asyncio.create_task(client.post(url, json=body))
            while not provider.requests():
                await asyncio.sleep(0.01)
            await provider.stop()
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await waiting
            assert provider.requests()[0].aborted is None  # it was not the client that left
            with pytest.raises(httpx.ConnectError):
                await client.post(url, json=body)
            await provider.start()
            assert provider.url("openai") == url
            provider.set("m", "ok")
            assert (await client.post(url, json=body)).status_code == 200


async def test_a_taken_port_is_an_error_in_both_forms() -> None:
    """The error of listening reaches the caller, from the thread too."""
    async with FakeProvider() as provider:
        with pytest.raises(OSError, match="in use"):
            await FakeProvider(port=provider.port).start()
        with pytest.raises(OSError, match="in use"), FakeProvider(port=provider.port):
            pass


def test_the_thread_ends_with_the_block() -> None:
    """After the block there is no thread and no listener, even with a request unanswered."""
    before = set(threading.enumerate())
    with FakeProvider({"m": "never"}) as provider:
        url = provider.url("openai")
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, json={"model": "m", "messages": []}, timeout=0.1, trust_env=False)
    assert set(threading.enumerate()) <= before
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


async def test_hundreds_of_connections_each_get_their_own_answer() -> None:
    """Answers belong to their requests when many ask at once."""

    async def one(provider: FakeProvider, number: int) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        message = {"role": "user", "content": f"echo:nonce-{number}"}
        body = json.dumps({"model": "m", "messages": [message]}).encode()
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return f'"nonce-{number}"'.encode() in answer

    async with FakeProvider({"m": {"delay": 0.05}}, keep=10) as provider:
        assert all(await asyncio.gather(*(one(provider, number) for number in range(300))))
        assert len(provider.requests()) == 10
