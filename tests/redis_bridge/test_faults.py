"""Whatever dies in mid-flight, every task is answered, and nothing stays behind."""

import json
import random
import time

import pytest

from atelier.serving.launcher import Server
from clients.redis_bridge.producer import answer, received
from tests.conftest import ROOT, server_options
from tests.redis_bridge.conftest import LISTS, STREAM, until
from tests.redis_bridge.pages import picture, task
from tests.redis_bridge.test_bridge import encoded

BEAT = "--heartbeat=1"


def push(queues, count, seed=0, is_long=False, prefix="r"):
    """Small tasks into one list."""
    names = [f"{prefix}{number}" for number in range(count)]
    for number, name in enumerate(names):
        queues.client.rpush(LISTS["long" if is_long else "short"], task(name, seed + number, is_long=is_long)[0])
    return names


def collect(queues, names, patience=120.0):
    """Wait for all answers and read them, as consumers do; what the failed ones say, by name."""
    failed, waiting, deadline = {}, set(names), time.monotonic() + patience
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} of {len(names)} were never answered"
        for name in sorted(waiting):
            if fields := answer(queues.client, name):
                waiting.discard(name)
                if fields[b"status"] == b"ok":
                    received(fields)
                else:
                    failed[name] = fields[b"error"].decode()
        time.sleep(0.05)
    return failed


def empty(queues):
    """No task in any list, processing lists included."""
    return not any(queues.client.llen(key) for key in queues.client.keys("*tasks*") if b"consumers" not in key
                   and b"alive" not in key and not key.endswith(b":dead"))  # fmt: skip


def test_a_bridge_that_is_killed_leaves_its_tasks_to_the_next(queues, bridge):
    names = push(queues, 100) + push(queues, 100, 100, is_long=True, prefix="l")
    first = bridge(BEAT).serving()
    until(lambda: len(first.said("answered")) >= 5)
    first.kill()
    held = sum(queues.client.llen(key) for key in queues.client.keys("*processing*"))
    assert held, "nothing was in flight"
    second = bridge(BEAT)
    assert collect(queues, names) == {}
    until(lambda: empty(queues))
    assert second.stop() == 0
    assert sum(line["tasks"] for line in second.said("took over from a dead bridge")) == held
    # The first may have died between an answer and its line in the log; `collect` has seen every answer.
    assert held <= len(second.said("answered")) <= len(names)


def test_two_bridges_share_the_work_and_the_living_takes_over(queues, bridge):
    both = [bridge("--heartbeat=3").serving() for _ in range(2)]  # none is late with it while both live
    names = push(queues, 150)
    until(lambda: all(len(one.said("answered")) >= 3 for one in both))
    both[0].kill()
    assert collect(queues, names) == {}
    assert both[1].stop() == 0


def test_sigterm_finishes_what_is_in_flight_and_gives_back_the_rest(queues, bridge):
    names = push(queues, 150)
    first = bridge("--in-flight=4").serving()
    until(lambda: len(first.said("answered")) >= 3)
    assert first.stop() == 0
    assert not queues.client.keys("*processing*")
    done = sum(bool(answer(queues.client, name)) for name in names)
    assert done == len(first.said("answered")) < len(names)
    assert queues.client.llen(LISTS["short"]) == len(names) - done
    bridge()
    assert collect(queues, names) == {}


def test_redis_is_killed_and_comes_back(queues, bridge):
    started = bridge(BEAT).serving()
    names = push(queues, 150)
    until(lambda: len(started.said("answered")) >= 5)
    queues.kill()
    time.sleep(1.5)
    queues.start()
    assert collect(queues, names) == {}
    until(lambda: empty(queues))
    assert started.said("Redis is gone")
    until(lambda: started.said("Redis is back"), what="the log")
    assert started.stop() == 0


def test_triton_is_killed_and_tasks_wait_for_it(queues, bridge):
    with Server(server_options(ROOT / "model_repository", models=("lama",))) as triton:
        options, url = triton.options, triton.grpc_url
        started = bridge(BEAT, url=url).serving()
        names = push(queues, 150)
        until(lambda: len(started.said("answered")) >= 5)
        triton.kill()
        until(lambda: started.said("trying again"))
    with Server(options):
        assert collect(queues, names) == {}
        assert started.stop() == 0


def test_a_bridge_told_to_stop_while_triton_is_gone_gives_its_tasks_back(queues, bridge):
    names = push(queues, 5)
    started = bridge(url="127.0.0.1:1").serving()
    until(lambda: len(started.said("trying again")) >= 5)
    assert started.stop() == 0
    assert queues.client.llen(LISTS["short"]) == len(names)
    assert not [name for name in names if answer(queues.client, name)]
    bridge()
    assert collect(queues, names) == {}


def test_an_answer_that_stands_is_not_made_again(queues, bridge):
    """A bridge that died between the answer and letting go of the task: its inputs are gone, its answer is not."""
    started = bridge(BEAT)
    sent, *_ = task("r", 1)
    queues.client.rpush(LISTS["short"], sent)
    fields = until(lambda: answer(queues.client, "r"))
    queues.client.rpush(LISTS["short"], sent)  # delivered a second time
    until(lambda: len(started.said("answered")) == 2)
    assert answer(queues.client, "r") == fields
    received(fields)
    assert queues.client.llen(f"{{{LISTS['short']}}}:dead") == 0


def test_a_killed_bridge_s_entries_of_a_stream_are_taken_over(queues, bridge):
    image, mask = (encoded(array) for array in picture(1, 300, 300))
    for number in range(20):
        queues.client.xadd(STREAM, {"request_id": f"s{number}", "image": image, "mask": mask})
    first = bridge(BEAT, f"--stream={STREAM}").serving()
    until(lambda: first.said("answered"))
    first.kill()
    second = bridge(BEAT, f"--stream={STREAM}")
    for number in range(20):
        until(lambda: answer(queues.client, f"s{number}"), what=f"s{number}")  # noqa: B023
    until(lambda: queues.client.xlen(STREAM) == 0)
    assert second.stop() == 0
    assert second.said("took over from a dead bridge")


@pytest.mark.timeout(600)
def test_a_thousand_tasks_with_everything_dying_once(queues, bridge):
    draw = random.Random(4)
    good, bad = [], []
    with Server(server_options(ROOT / "model_repository", models=("lama",))) as triton:
        options, url = triton.options, triton.grpc_url
        for number in range(1000):
            is_long = draw.random() < 0.3
            changes = {"padding_info": None} if draw.random() < 0.05 else {}
            name = f"t{number}"
            queues.client.rpush(
                LISTS["long" if is_long else "short"],
                task(name, number, (24, 30), (32, 32), is_long=is_long, **changes)[0],
            )
            (bad if changes else good).append(name)
        first = bridge(BEAT, url=url).serving()
        until(lambda: len(first.said("answered")) >= 100)
        first.kill()
        second = bridge(BEAT, url=url).serving()
        until(lambda: len(second.said("answered")) >= 100)
        queues.kill()
        queues.start()
        until(lambda: len(second.said("answered")) >= 200)
        triton.kill()
    with Server(options):
        failed = collect(queues, good + bad, 400)
        until(lambda: empty(queues))
        assert second.stop() == 0
    assert failed.keys() == set(bad)
    assert all("padding_info" in reason for reason in failed.values())
    letters = [
        json.loads(letter) for queue in LISTS.values() for letter in queues.client.lrange(f"{{{queue}}}:dead", 0, -1)
    ]
    assert {json.loads(letter["payload"])["request_id"] for letter in letters} == set(bad)
