"""The bridge between a real Redis and a real Triton: answers, failures, metrics, its end."""

import json
import os
import subprocess
import sys
import time
import urllib.request

import cv2
import pytest

from atelier.client import Client
from atelier.media import pad_to_modulus
from atelier.serving.ports import free_ports
from clients.redis_bridge.observing import Metrics
from clients.redis_bridge.producer import answer, fit, payload, received
from tests.conftest import ROOT, asking
from tests.redis_bridge.conftest import LISTS, SHM, STREAM, until
from tests.redis_bridge.pages import picture, task

OLD_FIELDS = {b"image_id", b"inpaint_shm_info", b"is_long"}


def answered(queues, request_id, patience=60.0):
    return until(lambda: answer(queues.client, request_id), patience, f"the answer to {request_id}")


def expected(url, page, mask, padding, size):
    """What the old worker made of a page: LaMa, cut, scaled, RGB to BGR."""
    padded = [pad_to_modulus(array, 8)[None] for array in (page, mask)]
    with Client(url) as client:
        made = client.infer("lama", dict(zip(("IMAGE", "MASK"), padded, strict=True)))["INPAINTED"][0]
    top, right, bottom, left = padding
    height, width = page.shape[:2]
    cut = made[top : height - bottom, left : width - right]
    scaled = cut if cut.shape[:2] == size else cv2.resize(cut, size[::-1], interpolation=cv2.INTER_LINEAR)
    return scaled[..., ::-1]


SIZES = {
    "padded on all sides": ((40, 60), (64, 96)),
    "scaled down": ((300, 180), (128, 128)),
    "as it is": ((64, 64), (64, 64)),
    "of sides that are no multiples of 8": ((61, 200), (108, 188)),
}


@pytest.mark.parametrize("shared", [True, False], ids=["shared memory", "messages"])
@pytest.mark.parametrize("name", SIZES)
def test_a_page_is_answered_as_the_old_worker_did(queues, bridge, server, name, shared):
    size, target = SIZES[name]
    started = bridge() if shared else bridge("--no-shared-memory")
    for is_long, queue in ((True, LISTS["long"]), (False, LISTS["short"])):
        sent, page, mask, padding = task(f"요청 {is_long}", 5, size, target, is_long=is_long)
        inputs = [json.loads(sent)[f"preprocessed_{what}_shm_info"]["shm_name"] for what in ("img", "mask")]
        queues.client.rpush(queue, sent)
        fields = answered(queues, f"요청 {is_long}")
        assert fields.keys() >= OLD_FIELDS
        assert fields[b"image_id"].decode() == f"요청 {is_long}.jpg"
        assert fields[b"is_long"] == (b"true" if is_long else b"false")
        assert (fields[b"status"], fields[b"error"]) == (b"ok", b"")
        assert float(fields[b"seconds"]) > 0
        assert (received(fields) == expected(server.grpc_url, page, mask, padding, size)).all()
        until(lambda: not queues.client.keys("*processing*"), what="the end of the task")
        assert not [name for name in inputs if (SHM / name).exists()]
    assert queues.client.ttl("inpainting_result:요청 True") == -1  # never, as before
    assert not started.said("trying again")
    assert started.stop() == 0
    assert queues.client.keys("*processing*") == queues.client.keys("*alive*") == []


def regions(server):
    """What Triton has been told of; bridges that other tests have killed leave some."""
    with urllib.request.urlopen(asking(server, "/v2/systemsharedmemory/status"), timeout=5) as reply:
        return {region["key"] for region in json.load(reply)}


def test_pages_are_read_in_place_and_triton_lets_go_of_them(queues, bridge, server):
    before = regions(server)
    started = bridge()
    queues.client.rpush(LISTS["short"], task("r", 1)[0])
    received(answered(queues, "r"))
    assert started.stop() == 0
    assert not started.said("trying again")
    assert "tensors are sent in the message" not in started.log.read_text(encoding="utf-8")
    assert regions(server) == before


def test_a_server_that_refuses_shared_memory_gets_messages_and_it_is_said_once(queues, bridge, server, tmp_path):
    # Nobody has left the key there.
    started = bridge(url=server.http_url, ATELIER_RUNTIME_FOLDER=str(tmp_path / "runtime"))
    for number in range(3):
        queues.client.rpush(LISTS["short"], task(f"r{number}", number)[0])
    for number in range(3):
        received(answered(queues, f"r{number}"))
    assert started.stop() == 0
    assert started.log.read_text(encoding="utf-8").count("tensors are sent in the message") == 1


def test_a_task_that_fails_is_answered_with_its_reason_and_others_go_on(queues, bridge):
    started = bridge()
    page, mask, padding = fit(*picture(0, 40, 60), (64, 64))
    gone = json.loads(payload("gone", page, mask, (40, 60), padding, True))
    (SHM / gone["preprocessed_mask_shm_info"]["shm_name"]).unlink()
    broken = json.loads(payload("broken", page, mask, (40, 60), padding, True, padding_info=[1]))
    queues.client.rpush(LISTS["long"], b"{", json.dumps(gone), json.dumps(broken), task("good", 3)[0])

    received(answered(queues, "good"))
    for name, words in (("gone", "no segment"), ("broken", "padding_info")):
        fields = answered(queues, name)
        assert fields[b"status"] == b"failed"
        assert words in fields[b"error"].decode()
        assert (fields[b"image_id"], fields[b"is_long"]) == (f"{name}.jpg".encode(), b"true")
        assert fields[b"inpaint_shm_info"] == b"{}"
    letters = until(
        lambda: len(found := queues.client.lrange(f"{{{LISTS['long']}}}:dead", 0, -1)) == 3 and found,
        what="dead letters",
    )
    reasons = {letter["payload"]: letter["reason"] for letter in map(json.loads, letters)}
    assert "no JSON" in reasons["{"]
    assert started.stop() == 0
    assert len(started.said("failed")) == 3
    assert all("request_id" in line for line in started.said("failed"))


def test_both_lists_are_served_at_once(queues, bridge):
    for number in range(30):
        queues.client.rpush(LISTS["long"], task(f"long-{number}", number, is_long=True)[0])
    for number in range(3):
        queues.client.rpush(LISTS["short"], task(f"short-{number}", number)[0])
    started = bridge("--in-flight=2")
    for number in range(30):
        received(answered(queues, f"long-{number}"))
    for number in range(3):
        received(answered(queues, f"short-{number}"))
    assert started.stop() == 0
    order = [line["request_id"] for line in started.said("answered")]
    assert max(order.index(f"short-{number}") for number in range(3)) < 12


def test_results_expire_where_that_is_asked_for(queues, bridge):
    bridge("--result-ttl=90")
    queues.client.rpush(LISTS["short"], task("r", 1)[0])
    received(answered(queues, "r"))
    assert 80 < queues.client.ttl("inpainting_result:r") <= 90


def test_the_lists_names_come_from_the_old_worker_s_settings(queues, bridge):
    bridge(LAMA_INFERENCE_LONG_TASKS_QUEUE="긴:줄", LAMA_INFERENCE_SHORT_TASKS_QUEUE="my:short")
    queues.client.rpush("긴:줄", task("long", 1, is_long=True)[0])
    queues.client.rpush("my:short", task("short", 1)[0])
    received(answered(queues, "long"))
    received(answered(queues, "short"))


def counted(port):
    """The page of metrics: samples by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        return dict(line.rsplit(" ", 1) for line in reply.read().decode().splitlines() if line[0] != "#")


def test_metrics_count_by_list(queues, bridge):
    (port,) = free_ports(1)
    bridge(f"--metrics-port={port}").serving()
    before = counted(port)
    for queue in LISTS.values():  # rules see no step from nothing to 1
        assert before[f'atelier_bridge_dead_total{{queue="{queue}"}}'] == "0.0"
    queues.client.rpush(LISTS["short"], task("r", 1)[0], b"{")
    received(answered(queues, "r"))

    label = f'{{queue="{LISTS["short"]}"}}'
    until(lambda: counted(port)[f"atelier_bridge_failed_total{label}"] == "1.0")
    until(lambda: counted(port)[f"atelier_bridge_answered_total{label}"] == "1.0")
    found = counted(port)
    assert found[f"atelier_bridge_taken_total{label}"] == "2.0"
    assert found[f"atelier_bridge_dead_total{label}"] == "1.0"
    assert found[f"atelier_bridge_in_flight{label}"] == "0.0"
    assert found[f"atelier_bridge_seconds_count{label}"] == "2.0"


def beat(port):
    return float(counted(port)["atelier_bridge_beat_seconds"])


def test_the_loops_give_signs_of_life(queues, bridge):
    (port,) = free_ports(1)
    bridge(f"--metrics-port={port}", "--heartbeat=0.3").serving()
    first = beat(port)
    assert abs(time.time() - first) < 60
    until(lambda: beat(port) > first, what="a later sign of life")


def test_a_bridge_that_waits_for_redis_lives(queues, bridge):
    port, nobody = free_ports(2)
    started = bridge(f"--metrics-port={port}", redis_url=f"redis://127.0.0.1:{nobody}/0")
    until(lambda: started.said("waiting for Redis"), what="a bridge without Redis")
    first = beat(port)
    until(lambda: beat(port) > first, what="a later sign of life")
    assert probed(port).returncode == 0


def probed(port):
    """What the containers' check says."""
    environment = {**os.environ, "ATELIER_BRIDGE_METRICS_PORT": str(port)}
    command = [sys.executable, "-m", "clients.redis_bridge.probe"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("seconds", "words"), [(5, ""), (100, "no sign of life for 1")])
def test_the_probe_asks_for_the_loops_not_for_the_thread_of_the_metrics(seconds, words):
    metrics, (port,) = Metrics(), free_ports(1)
    metrics.beat.set(time.time() - seconds)
    metrics.serve("127.0.0.1", port)
    done = probed(port)
    assert done.returncode == (1 if words else 0), done.stderr
    assert words in done.stderr


def test_the_probe_says_that_nobody_is_there():
    (nobody,) = free_ports(1)
    done = probed(nobody)
    assert done.returncode == 1
    assert f"redis_bridge: no metrics on port {nobody}" in done.stderr
    assert "Traceback" not in done.stderr


def encoded(array):
    return cv2.imencode(".png", array)[1].tobytes()


def test_a_stream_of_encoded_pictures(queues, bridge, server):
    started = bridge(f"--stream={STREAM}")
    image, mask = picture(2, 70, 90)
    fields = {"request_id": "요청", "image_id": "쪽.png", "image": encoded(image), "mask": encoded(mask), "margin": 32}
    queues.client.xadd(STREAM, fields)
    queues.client.xadd(STREAM, {**fields, "request_id": "bad", "image": b"no picture"})
    queues.client.xadd(STREAM, {"mask": b"x"})
    found, failed = answered(queues, "요청"), answered(queues, "bad")
    with Client(server.grpc_url) as client:
        direct = client.inpaint(encoded(image), encoded(mask), margin=32)
    assert found[b"result"] == direct.data
    assert json.loads(found[b"report"])["format"] == "png"
    assert (found[b"status"], found[b"image_id"].decode()) == (b"ok", "쪽.png")
    assert failed[b"status"] == b"failed"
    assert b"result" not in failed
    until(lambda: queues.client.xlen(STREAM) == 0, what="an empty stream")
    dead = until(lambda: len(letters := queues.client.xrange(f"{{{STREAM}}}:dead")) == 2 and letters)
    reasons = {letter.get(b"request_id"): letter[b"reason"] for _, letter in dead}
    assert reasons[b"bad"] == failed[b"error"]
    assert b"request_id" in reasons[None]
    assert started.stop() == 0


def test_a_cluster(cluster, bridge):
    started = bridge("--cluster", f"--stream={STREAM}", "--result-ttl=60", redis_url=cluster.url)
    image, mask = picture(2, 70, 90)
    cluster.client.rpush(LISTS["long"], task("long", 1, is_long=True)[0], b"{")
    cluster.client.rpush(LISTS["short"], task("short", 2)[0])
    cluster.client.xadd(STREAM, {"request_id": "stream", "image": encoded(image), "mask": encoded(mask)})
    for name in ("long", "short"):
        received(answered(cluster, name))
    assert answered(cluster, "stream")[b"status"] == b"ok"
    until(lambda: cluster.client.llen(f"{{{LISTS['long']}}}:dead") == 1)
    assert started.stop() == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--redis-url=http://x",), "redis://"),
        (("--in-flight=0",), "in_flight"),
        (("--long-queue=a", "--short-queue=a"), "both lists are a"),
        (("--url=ftp://x",), "ftp"),
        (("--heartbeat=nan",), "heartbeat"),
        (("--metrics-port=70000",), "metrics_port"),
    ],
)
def test_wrong_settings_are_said_in_one_line(queues, options, words):
    command = [sys.executable, "-m", "clients.redis_bridge", f"--redis-url={queues.url}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_password_ends_it_with_the_reason(queues):
    queues.client.config_set("requirepass", "right")
    try:
        command = [
            sys.executable,
            "-m",
            "clients.redis_bridge",
            f"--redis-url=redis://:wrong@127.0.0.1:{queues.port}/0",
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "password" in done.stderr
        assert "Traceback" not in done.stderr
        assert ":wrong@" not in done.stderr
    finally:
        queues.client.config_set("requirepass", "")
