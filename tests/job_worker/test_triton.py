"""The worker with the real model: what it makes, and that a lost lease stops the work on the server."""

import time

import pytest

from atelier.client import Client
from tests.conftest import ROOT
from tests.job_worker.conftest import until
from tests.job_worker.generator import frames_of

GOLDEN = ROOT / "tests" / "golden" / "wan"


@pytest.fixture(scope="module")
def url(launch):
    settings = {
        "checkpoint": GOLDEN / "pipeline",
        "loras": GOLDEN / "lora",
        "sizes": "96*64",
        "size": "96*64",
        "frame_num": 9,
        "sample_steps": 3,
    }
    environment = {f"ATELIER_GENERATE_{name.upper()}": str(value) for name, value in settings.items()}
    return launch(ROOT / "model_repository", models=("generate",), environment=environment).grpc_url


def test_videos_of_text_and_of_a_picture(control, process, url):
    control.files["photos/cat.png"] = (GOLDEN / "first_frame.png").read_bytes()
    items = [control.add("고양이 두 마리", frame_num=13), control.add("a cat", photo="photos/cat.png")]
    bad = control.add("a cat", frame_num=12)
    worker = process(
        *("clients.job_worker", "--url", url, "--polling-interval", "0.1"),
        ATELIER_JOBS_VIDEO_SIZE="96*64",
        ATELIER_JOBS_REQUEST='{"loras": {"epoch-0": 0.5}, "seed": 1}',
    )
    for item in items:
        until(lambda item=item: item.status == "completed", 90, item.item_id)
    assert [frames_of(control.files[item.video]) for item in items] == [13, 9]
    until(lambda: bad.status == "failed" or bad.error, 90, "the refusal")
    assert "9 and 13" in bad.error
    worker.signal()
    assert worker.wait() == 0


def test_a_lost_lease_stops_the_work_on_the_server(control, process, url):
    item = control.add("a cat")
    worker = process(
        *("clients.job_worker", "--url", url, "--polling-interval", "60", "--heartbeat-interval", "1"),
        ATELIER_JOBS_VIDEO_SIZE="96*64",
        ATELIER_JOBS_FRAME_NUM="81",
        ATELIER_JOBS_REQUEST='{"sample_steps": 1000}',
    )
    until(lambda: item.status == "processing", 90, "the start")
    time.sleep(3)
    item.owner = "another"  # the control plane answers 404
    time.sleep(3)
    began = time.monotonic()
    with Client(url) as client:
        assert client.generate("a cat").result().metadata["frames"] == 9
    assert time.monotonic() - began < 120  # not behind a thousand steps of 81 frames
    assert not item.video
    worker.signal()
    assert worker.wait() == 0
