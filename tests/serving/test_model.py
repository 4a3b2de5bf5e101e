"""The base class of the Python models, inside a real server: errors, batches, cancellation, settings, metrics."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from atelier.client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    InvalidRequest,
    QueueFull,
    QueueTimeout,
    ServerError,
    ServerUnavailable,
)
from atelier.client.transport import strings
from tests.conftest import logged

MODELS = Path(__file__).parent / "models"


@pytest.fixture(scope="module")
def server(launch):
    return launch(MODELS, models=("moody", "echo", "relay"))


@pytest.fixture(scope="module", params=["grpc", "http"])
def client(server, request):
    with Client(server.grpc_url if request.param == "grpc" else server.http_url) as client:
        yield client


def ask(client, mood, **inputs):
    answer = client.infer("moody", {"MOOD": strings(mood.encode()), **inputs})
    return answer["ANSWER"].item().decode()


def test_an_answer_and_the_parameter_of_config_pbtxt(client):
    assert ask(client, "기쁨") == "기쁨 7 config 1"


def test_a_request_s_setting_wins(client):
    assert ask(client, "calm", PATIENCE=np.array([[9]], np.int32)) == "calm 9 request 1"


def test_a_setting_out_of_range(client):
    with pytest.raises(InvalidRequest, match="PATIENCE is 11; accepted: less than or equal to 10"):
        ask(client, "calm", PATIENCE=np.array([[11]], np.int32))


@pytest.mark.parametrize("name", ["PATIENC", "patience"])
def test_a_setting_of_a_misspelt_name_is_not_passed_over(server, name):
    """Triton's generate end point makes a parameter of it."""
    request = urllib.request.Request(
        f"{server.http_url}/v2/models/moody/generate", json.dumps({"MOOD": "calm", name: 9}).encode()
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    answer = json.loads(caught.value.read())
    assert (caught.value.code, answer["error"]) == (400, f"'{name}' is no input; there are: MOOD, PATIENCE.")


def test_bad_input_is_its_sentence(client):
    with pytest.raises(InvalidRequest, match="^MOOD is picky; accepted: anything else.$"):
        ask(client, "picky")


def test_two_elements_in_one_request(client):
    with pytest.raises(InvalidRequest, match="MOOD holds 2 elements; a request holds one"):
        client.infer("moody", {"MOOD": strings(b"a", b"b")})


@pytest.mark.parametrize("mood", ["broken", "mute", "miscall"])
def test_a_fault_of_ours_tells_the_client_an_id_and_the_log_the_cause(client, server, mood):
    with pytest.raises(ServerError) as caught:
        client.infer("moody", {"MOOD": strings(mood.encode())}, request_id=f"id-{mood}")
    assert str(caught.value) == f"moody failed on request id-{mood}; the server's log has the cause under this id."
    causes = {"broken": "ZeroDivisionError: a secret of the house", "mute": "OSError", "miscall": "CallFailed: echo"}
    assert logged(server, causes[mood])


def test_a_model_that_is_called_and_not_loaded(client):
    with pytest.raises(ServerUnavailable, match="^The model nobody, which this one calls, is not loaded"):
        ask(client, "call")


def test_a_full_queue_behind_the_model_is_a_full_queue(client):
    with pytest.raises(QueueFull):
        ask(client, "busy")


def test_one_failure_does_not_fail_its_batch_mates(server):
    async def send():
        async with AsyncClient(server.grpc_url) as client:
            before = asyncio.create_task(client.infer("moody", {"MOOD": strings(b"sleep 2")}))
            await asyncio.sleep(1)  # while it is computed the others gather
            moods = ["calm", "broken", "picky", "glad"]
            calls = [client.infer("moody", {"MOOD": strings(m.encode())}) for m in moods]
            return await asyncio.gather(*calls, before, return_exceptions=True)

    calm, broken, picky, glad, _ = asyncio.run(send())
    assert isinstance(broken, ServerError)
    assert isinstance(picky, InvalidRequest)
    batches = [answer["ANSWER"].item().decode() for answer in (calm, glad)]
    # "picky" fails before the batch is computed; three of the four were computed together.
    assert batches == ["calm 7 config 3", "glad 7 config 3"]


def test_a_deadline_ends_the_call_and_the_work(server):
    with Client(server.grpc_url) as client:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"No answer from .* (within 2 s|in time)"):
            client.infer("moody", {"MOOD": strings(b"watch")}, timeout=2)
        assert time.monotonic() - started < 5  # it watches for 5 s
        assert logged(server, "moody stopped: Cancelled"), "the model saw that nobody waits any more"


def test_queue_limits_have_names_of_their_own(server):
    async def send():
        async with AsyncClient(server.grpc_url) as client:
            first = asyncio.create_task(client.infer("moody", {"MOOD": strings(b"sleep 4")}))
            await asyncio.sleep(1.5)  # it is computed alone
            # Four wait, as the queue allows; the fifth finds it full.
            waiting = [asyncio.create_task(client.infer("moody", {"MOOD": strings(b"x")})) for _ in range(4)]
            await asyncio.sleep(0.5)
            full = await asyncio.gather(client.infer("moody", {"MOOD": strings(b"x")}), return_exceptions=True)
            return full[0], await asyncio.gather(first, *waiting, return_exceptions=True)

    full, others = asyncio.run(send())
    assert isinstance(full, QueueFull)
    assert not [answer for answer in others if isinstance(answer, Exception)]


def test_time_in_the_queue_runs_out(server):
    async def send():
        async with AsyncClient(server.grpc_url) as client:
            first = asyncio.create_task(client.infer("moody", {"MOOD": strings(b"sleep 4")}))
            await asyncio.sleep(1.0)
            late = client._transport._client.infer(
                "moody", [client._transport._input("MOOD", strings(b"x"))], timeout=500_000
            )
            answer = await asyncio.gather(client._transport._bounded(late, 20), return_exceptions=True)
            await first
            return answer[0]

    assert isinstance(asyncio.run(send()), QueueTimeout)


def test_metrics_count_outcomes_and_live_on_the_server_s_page(server):
    with Client(server.grpc_url) as client:
        assert ask(client, "calm")
        for mood, error in (("picky", InvalidRequest), ("broken", ServerError), ("busy", QueueFull)):
            with pytest.raises(error):
                ask(client, mood)
    with urllib.request.urlopen(server.metrics_url) as page:
        text = page.read().decode()
    counts = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("atelier_requests_total{")
    }
    for outcome in ("ok", "invalid_arg", "internal", "unavailable"):
        key = f'atelier_requests_total{{model="moody",outcome="{outcome}"}}'
        assert counts.get(key, 0) >= 1, counts


def test_who_gives_a_caller_up_gives_up_what_it_called(server):
    """Triton 2.51 does not tell a model that its caller was given up."""
    words = "moody stopped: Cancelled"
    before = server.logs().count(words)
    with Client(server.grpc_url) as client:
        with pytest.raises(DeadlineExceeded):
            client.infer("relay", {"MOOD": strings(b"watch")}, timeout=3)
        deadline = time.monotonic() + 20  # it says nothing where it watched its 5 s to their end
        while server.logs().count(words) == before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.logs().count(words) == before + 1
        assert client.infer("relay", {"MOOD": strings(b"calm")})["ANSWER"].item() == b"calm 7 config 1"
