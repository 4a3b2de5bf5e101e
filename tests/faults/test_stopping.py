"""SIGTERM under load: what was accepted is answered, and the exit status is 0."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from atelier.client import AtelierError, Client, QueueFull, QueueTimeout, ServerUnavailable
from atelier.client.transport import strings

REFUSED = (QueueFull, QueueTimeout, ServerUnavailable)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_everything_accepted_is_answered(serve, number):
    """Three are in the model, two in its queue, when the signal comes. Later ones are refused."""
    serving = serve("--models", "moody")
    with Client(serving.grpc_url, timeout=30) as client, ThreadPoolExecutor(8) as pool:

        def ask(mood):
            return client.infer("moody", {"MOOD": strings(mood.encode())})["ANSWER"].item().decode()

        moods = [f"sleep 1.2 {caller}" for caller in range(5)]
        answers = [pool.submit(ask, mood) for mood in moods[:3]]
        time.sleep(1)  # the model waits 0.2 s for company, then works
        answers += [pool.submit(ask, mood) for mood in moods[3:]]
        time.sleep(0.8)
        assert not all(answer.done() for answer in answers)
        serving.process.send_signal(number)
        time.sleep(0.3)
        late = pool.submit(ask, "sleep 0 late")
        for mood, answer in zip(moods, answers, strict=True):
            assert answer.result().startswith(f"{mood} 7 config")
        assert late.exception() is None or isinstance(late.exception(), REFUSED)
    assert serving.ended()[0] == 0


def test_what_took_too_long_is_not_passed_over_in_silence(serve):
    serving = serve("--models", "moody", "--exit-timeout", "1")
    with Client(serving.grpc_url, timeout=30) as client, ThreadPoolExecutor(1) as pool:
        lost = pool.submit(client.infer, "moody", {"MOOD": strings(b"sleep 60")})
        time.sleep(4)
        status, _, errors = serving.end()
        assert status == 1
        assert "Stopped before the running requests were finished" in errors.splitlines()[-1]
        assert isinstance(lost.exception(), AtelierError)
