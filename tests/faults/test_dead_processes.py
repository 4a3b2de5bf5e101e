"""A process that dies, or falls silent, is noticed within 15 s, and the service comes back without a human."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from atelier.client import AsyncClient, AtelierError, Client
from atelier.client.transport import strings
from atelier.owners import owner
from atelier.serving.administration import Administration
from atelier.serving.leftovers import SHARED_MEMORY
from tests.conftest import ROOT
from tests.faults.conftest import MODELS, STREAMS
from tests.served import Serving, until

NOTICED = 15.0
"""Seconds within which a fault is to be seen."""


def ask(serving):
    """The right answer of ``moody``, or nothing where it failed; a wrong one is a failed test."""
    with Client(serving.grpc_url, timeout=5) as client:
        try:
            answer = client.infer("moody", {"MOOD": strings(b"fine")})["ANSWER"].item()
        except AtelierError:
            return None
    assert answer.startswith(b"fine 7 config"), answer
    return answer


def well(serving):
    return serving.health("/readyz")[0] == 200


def broken(serving):
    status, body = serving.health()
    return body if status == 503 else None


def test_a_killed_stub_is_noticed_and_the_service_comes_back(serve):
    serving = serve("--models", "moody,echo")
    assert ask(serving)
    status, body = serving.health()
    assert (status, body["status"], body["reasons"], body["restarts"]) == (200, "ready", [], 0)
    until(lambda: "moody" in serving.health()[1]["canary_age_seconds"], NOTICED, "the canary's answer")
    server, (victim,) = serving.triton, serving.stubs("moody")
    with Client(serving.grpc_url) as client, ThreadPoolExecutor(2) as pool:
        running = [pool.submit(client.infer, "moody", {"MOOD": strings(b"sleep 10")}, timeout=30) for _ in range(2)]
        time.sleep(0.5)
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        body = until(lambda: broken(serving), NOTICED, "the notice")
        assert all(isinstance(one.exception(), AtelierError) for one in running), (
            "what it ran is lost, and that is said"
        )
    assert any("moody" in reason for reason in body["reasons"]), body
    assert serving.health("/readyz")[0] == 503
    until(lambda: ask(serving) and well(serving), 120, "the service")  # `ask` fails at a wrong answer
    assert time.monotonic() - killed < 55, "Triton alone would wait for what the dead one ran for --exit-timeout, 60 s"
    assert ask(serving)
    assert serving.triton != server
    assert serving.health()[1]["restarts"] == 1
    status, _, errors = serving.end()
    assert status == 0
    assert f"The process {victim} of the model 'moody' (moody_0_0) has died." in errors
    assert "The server is started anew." in errors
    assert "The server is ready again." in errors
    assert "No process is seen" not in errors


def test_under_an_orchestrator_it_exits(serve):
    serving = serve("--models", "echo", "--on-dead-stub", "exit")
    os.kill(serving.stubs("echo")[0], signal.SIGKILL)
    status, _, errors = serving.ended(NOTICED + 60)
    assert status == 1
    assert errors.splitlines()[-1].startswith("atelier: The process ")
    assert "has died" in errors


def test_under_an_orchestrator_it_does_not_wait_for_what_the_dead_one_ran(serve):
    serving = serve("--models", "moody", "--on-dead-stub", "exit", "--exit-timeout", "120")
    with Client(serving.grpc_url) as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.infer, "moody", {"MOOD": strings(b"sleep 100")}, timeout=30)
        time.sleep(1)
        os.kill(serving.stubs("moody")[0], signal.SIGKILL)
        status, _, errors = serving.ended(NOTICED + 40)
        assert status == 1
        assert "has died" in errors
        assert isinstance(running.exception(), AtelierError)


def test_a_restart_without_a_model_is_none(serve, tmp_path):
    """The server comes up, as it does with a model that fails; but that one was there before."""
    shutil.copytree(MODELS, tmp_path / "models")
    serving = Serving("--repository", tmp_path / "models", "--models", "moody,echo", "--max-restarts", "2")
    try:
        serving.until_ready()
        (tmp_path / "models" / "moody" / "1" / "model.py").write_text("raise ValueError('no disk')\n")
        os.kill(serving.stubs("moody")[0], signal.SIGKILL)
        until(lambda: broken(serving), NOTICED, "the notice")
        while (health := serving.health("/readyz"))[0]:
            assert health[0] == 503, health
            time.sleep(0.1)
    finally:
        status, _, errors = serving.ended()
    assert status == 1
    assert "What was ready before did not load again: moody: Internal: ValueError: no disk" in errors
    assert errors.splitlines()[-1].endswith("started anew 2 time(s), and was not well for 15 minutes once.")


def test_a_killed_server_is_started_anew_but_not_for_ever(serve):
    serving = serve("--models", "moody", "--max-restarts", "1")
    os.kill(serving.triton, signal.SIGKILL)
    until(lambda: broken(serving), NOTICED, "the notice")
    until(lambda: well(serving), 120, "the service")
    assert ask(serving)
    os.kill(serving.triton, signal.SIGKILL)
    status, _, errors = serving.ended(NOTICED + 60)
    assert status == 1
    said = "atelier: The server's process has ended. The server was started anew 1 time(s), and was not well for 15"
    assert errors.splitlines()[-1] == f"{said} minutes once."


def test_a_process_that_stands_still_is_found_by_the_canary(serve):
    serving = serve("--models", "moody", "--exit-timeout", "2")
    os.kill(serving.stubs("moody")[0], signal.SIGSTOP)
    body = until(lambda: broken(serving), NOTICED, "the notice")
    assert body["reasons"] == ["The model 'moody' answers that its process is not healthy."]
    until(lambda: well(serving), 180, "the service")
    assert ask(serving)


def test_a_model_that_hangs_is_found_by_its_silence(serve):
    """Its process lives, its server is ready: ``moody``'s configuration allows it 8 s of silence."""
    serving = serve("--models", "moody", "--exit-timeout", "2")
    with Client(serving.grpc_url) as client, pytest.raises(AtelierError):
        client.infer("moody", {"MOOD": strings(b"sleep 300")}, timeout=5)
    body = until(lambda: broken(serving), 60, "the notice")
    assert "The model 'moody' has answered nobody for 8 s, and a request waits." in body["reasons"]
    until(lambda: well(serving), 180, "the service")
    assert ask(serving)


def test_a_busy_model_is_not_taken_for_a_dead_one(serve):
    """Sleeps of 2 s, one after another, for longer than its 8 s: others than the canary are answered."""
    serving = serve("--models", "moody")
    deadline = time.monotonic() + 14
    with Client(serving.grpc_url, timeout=20) as client:
        while time.monotonic() < deadline:
            client.infer("moody", {"MOOD": strings(b"sleep 2")})
            assert serving.health()[0] == 200
    assert serving.health()[1]["restarts"] == 0


def stream(serving, model, timeout, **inputs):
    """The number of responses of a stream."""
    kinds = {"COUNT": np.int32, "SIZE": np.int32, "PAUSE": np.float32, "SECONDS": np.float32, "QUIET": np.bool_}
    tensors = {name: np.array([[value]], kinds[name]) for name, value in inputs.items()}

    async def told():
        async with AsyncClient(serving.grpc_url) as client:
            return len([piece async for piece in client._transport.stream(model, tensors, timeout=timeout)])

    return asyncio.run(told())


TELLER = {"SIZE": 10, "COUNT": 1, "PAUSE": 1.0}


def test_streaming_models_have_a_canary_too(serve):
    """``teller`` and ``waiter`` work for longer than their 8 s, and show that the work goes on; then each hangs."""
    serving = serve("--repository", STREAMS, "--models", "teller,waiter", "--exit-timeout", "2")
    until(lambda: {"teller", "waiter"} <= serving.health()[1]["canary_age_seconds"].keys(), NOTICED, "the canaries")
    with ThreadPoolExecutor(2) as pool:
        told = pool.submit(stream, serving, "teller", 60, **{**TELLER, "COUNT": 14})
        waited = pool.submit(stream, serving, "waiter", 60, SECONDS=14)
        while not (told.done() and waited.done()):
            assert serving.health()[0] == 200
            time.sleep(0.2)
    assert told.result() == 14
    assert waited.result() > 10
    assert serving.health()[1]["restarts"] == 0
    for model, inputs, words in (
        ("teller", {**TELLER, "PAUSE": 300.0}, "The model 'teller' has answered nobody for 8 s, and a request waits."),
        ("waiter", {"SECONDS": 300.0, "QUIET": True}, "waiter cannot work any more: its work has not gone on for 8 s."),
    ):
        with pytest.raises(AtelierError):
            stream(serving, model, 5.0, **inputs)
        body = until(lambda: broken(serving), 60, "the notice")
        assert any(words in reason for reason in body["reasons"]), body
        until(lambda: well(serving), 180, "the service")
    assert stream(serving, "teller", 20, **TELLER) == 1


def test_the_streaming_models_of_the_repository_answer_theirs(serve):
    models = ("composite_stream", "object_synthesizer_stream")
    serving = serve("--repository", ROOT / "model_repository", "--models", ",".join(models))
    for model in models:
        until(lambda model=model: model in serving.health()[1]["canary_age_seconds"], NOTICED, model)
    assert serving.health()[0] == 200


CLIENT = """
import sys, time
import numpy as np
from multiprocessing import resource_tracker
from atelier.client import Client
client = Client(sys.argv[1], shared_memory=True)
client.infer("echo", {"UINT8": np.zeros((1, 1000, 1000), np.uint8)}, outputs={"UINT8": None})
print(resource_tracker._resource_tracker._pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("removed", [False, True], ids=["its file is there", "another launcher removed its file"])
def test_what_a_killed_client_left_in_shared_memory_is_removed(serve, removed):
    serving = serve("--models", "echo")
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, serving.grpc_url], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    tracker = int(client.stdout.readline())
    own = f"atelier_client_*_{client.pid}_*"
    (segment,) = SHARED_MEMORY.glob(own)
    mapped = Path(f"/proc/{serving.triton}/maps")
    assert segment.name in mapped.read_text()
    os.kill(tracker, signal.SIGKILL)  # else Python's helper would have removed it
    client.kill()
    client.wait()
    if removed:
        segment.unlink(missing_ok=True)
    until(lambda: segment.name not in mapped.read_text(), NOTICED, "the sweep")
    until(lambda: not segment.exists(), NOTICED, "the sweep")


def test_names_in_shared_memory_that_are_no_client_s_do_no_harm(serve):
    """Everybody may make files there."""
    stranger = SHARED_MEMORY / f"atelier_client_{owner().rpartition('_')[0]}_999999_a b ü"
    stranger.touch()
    try:
        serving = serve("--models", "echo")
        time.sleep(5)  # two sweeps
        assert well(serving)
        assert stranger.exists()
        assert serving.end()[0] == 0
    finally:
        stranger.unlink()


def test_a_model_that_somebody_unloads_is_told_and_no_fault(serve, tmp_path):
    key = tmp_path / "key"
    key.write_text("a-key-of-the-test")
    serving = serve("--models", "echo,moody", "--admin-key-file", key)
    Administration(serving.http_url, "a-key-of-the-test").unload("echo")
    until(lambda: serving.health("/readyz")[0] == 503, NOTICED, "the notice")
    status, body = serving.health()
    assert (status, body["status"]) == (200, "incomplete")
    assert [reason.partition(":")[0] for reason in body["reasons"]] == ["echo"]
    assert ask(serving)


def test_probes_of_other_paths_are_not_found(serve):
    serving = serve("--models", "echo")
    for path in ("/", "/healthz/x", "/../etc/passwd"):
        assert serving.health(path) == (404, {"error": "accepted: /healthz, /readyz"})
    assert serving.health("/healthz?verbose=1")[0] == 200
