"""The embedded provider as a process of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.long]

KEY = "provider-key-0123456789"
DEADLINE = 20.0
ROOT = Path(__file__).parents[2]


@contextmanager
def serving(*arguments: str, key: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m tests.provider`` with these arguments, ended with the block."""
    environment = os.environ | ({"PROVIDER_KEY": key} if key else {})
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.provider", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=ROOT,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def address(process: subprocess.Popen[bytes]) -> str:
    """What the process prints about where it listens."""
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["url"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    """SIGTERM and SIGINT end it with exit code 0 and without a word, connections or not."""
    with serving() as process:
        with httpx.Client(base_url=address(process), trust_env=False) as client:
            assert client.get("/v1/models").json()["data"] == []
            process.send_signal(number)
            assert process.wait(DEADLINE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_the_end_of_standard_input_ends_it_only_when_asked() -> None:
    """With ``--until-eof`` it goes with the process that started it, else it stays."""
    with serving("--until-eof") as process, serving() as other:
        url = address(other)
        address(process)
        assert process.stdin is not None
        assert other.stdin is not None
        other.stdin.close()
        process.stdin.close()
        assert process.wait(DEADLINE) == 0
        assert httpx.get(f"{url}/v1/models", trust_env=False).status_code == 200
        assert other.poll() is None


def test_it_takes_its_setup_from_a_file_and_its_key_from_the_environment(tmp_path: Path) -> None:
    """Models, credit, list, quotas and unknown models come from the file, the key from outside."""
    setup = {
        "models": {"bad": "billing", "steps": [404, {"preset": "ok", "length": 3}], "m": "ok"},
        "credit": {"m": 1},
        "listed": ["m", {"id": "big", "context_length": 1000000}],
        "quotas": {"subscription": {"limit": 135, "requests": 135}},
        "unknown": "missing",
    }
    path = tmp_path / "setup.json"
    path.write_text(json.dumps(setup), encoding="utf-8")
    with serving("--behaviours", str(path), "--key-env", "PROVIDER_KEY", key=KEY) as process:
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=address(process), headers=headers, trust_env=False) as client:

            def status(model: str) -> int:
                body = {"model": model, "messages": []}
                return client.post("/v1/chat/completions", json=body).status_code

            asked = ("bad", "steps", "steps", "m", "m", "other")
            assert [status(model) for model in asked] == [402, 404, 200, 200, 402, 404]
            rows = client.get("/openai/v1/models").json()["data"]
            assert [(row["id"], row["context_length"]) for row in rows] == [
                ("m", 262144),
                ("big", 1000000),
            ]
            assert client.get("/v2/quotas").json() == setup["quotas"]
            assert client.get("/_control/requests").status_code == 404
            del client.headers["authorization"]
            assert status("m") == 401


def test_it_takes_orders_when_asked_to() -> None:
    """``--control`` opens the control endpoint."""
    with serving("--control") as process:
        url = address(process)
        order = {"target": "m", "behaviour": "down"}
        assert httpx.post(f"{url}/_control/behaviour", json=order, trust_env=False).is_success
        body = {"model": "m", "messages": []}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, trust_env=False)
        assert answer.status_code == 503


@pytest.mark.parametrize(
    ("arguments", "setup", "reason"),
    [
        (["--key-env", "PROVIDER_KEY"], "{}", b"PROVIDER_KEY is not set"),
        (["--port", "70000"], "{}", b"70000 is not a port"),
        ([], '{"models": {"m": "biling"}}', b"did you mean 'billing'"),
        ([], '{"modles": {}}', b"unknown field `modles`"),
        ([], "{", b"truncated"),
    ],
)
def test_a_setup_that_makes_no_sense_is_refused(
    tmp_path: Path, arguments: list[str], setup: str, reason: bytes
) -> None:
    """Exit code 2 and one sentence with the reason."""
    path = tmp_path / "setup.json"
    path.write_text(setup, encoding="utf-8")
    with serving("--behaviours", str(path), *arguments) as process:
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 2
        assert reason in errors
        assert b"Traceback" not in errors


def test_a_taken_port_is_exit_code_7() -> None:
    """A port that another process has is said in one line."""
    with serving() as first:
        port = address(first).rpartition(":")[2]
        with serving("--port", port) as second:
            _, errors = second.communicate(timeout=DEADLINE)
            assert second.returncode == 7
            assert errors.startswith(f"Port {port} cannot be used".encode())
