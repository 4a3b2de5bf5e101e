"""Whatever fails on the way, the right thing is reported once, or nothing is."""

import time

import pytest

from atelier.client import DeadlineExceeded, InvalidRequest, QueueFull, ServerError, ServerUnavailable
from clients.job_worker.errors import Refused, Unauthorized
from tests.job_worker.conftest import until
from tests.job_worker.generator import Generator, draw
from tests.job_worker.test_worker import PHOTO, done

BEATS = {"lease_seconds": 60, "heartbeat_interval": 0.1}
SHORT = {"lease_seconds": 1, "heartbeat_interval": 0.1}


@pytest.mark.parametrize("status", [404, 403])
def test_a_lost_lease_cancels_the_generation_at_once(control, worker, generator, status):
    item = control.add()
    generator.hold.clear()
    running = worker(**BEATS)
    until(lambda: generator.calls)
    if status == 404:
        item.owner = "another"  # the control plane answers 404
    else:
        control.faults["heartbeat"].append(403)
    until(lambda: running.ended("lost") == 1, 5)
    item.status = "completed"
    assert generator.cancelled == ["a cat"]
    beats = len(control.named("heartbeat"))
    time.sleep(0.4)
    assert len(control.named("heartbeat")) == beats
    assert not control.named("report") and not control.named("PUT")
    generator.hold.set()
    done(control.add())  # and it goes on


def test_of_two_workers_with_one_task_the_one_that_does_not_own_it_does_nothing(control, worker, generator):
    item = control.add()
    hand_out = control._next_task

    def raced(body):
        """The old one reads before it writes: another has written since."""
        answer = hand_out(body)
        item.owner = "another"
        return answer

    control._next_task = raced
    running = worker()
    until(lambda: running.ended("lost") == 1)
    assert not generator.calls
    assert not control.named("report")


def test_a_lease_that_is_lost_before_the_upload_overwrites_nothing(control, worker, generator):
    item = control.add()
    generator.hold.clear()
    running = worker()
    until(lambda: generator.calls)
    item.owner, control.files["videos/item-0.mp4"] = "another", b"the other's"
    generator.hold.set()
    until(lambda: running.ended("lost") == 1)
    assert control.files["videos/item-0.mp4"] == b"the other's"
    assert not control.named("report")


def test_a_report_of_what_is_another_s_is_the_end_of_it(control, worker):
    item = control.add()
    control.faults["report"].append(403)
    running = worker()
    until(lambda: running.ended("lost") == 1)
    item.status = "completed"
    assert len(control.named("report")) == 1


def test_an_expired_lease_that_nobody_took_costs_no_work(control, worker, generator):
    item = control.add()
    generator.hold.clear()
    running = worker(**SHORT)
    until(lambda: generator.calls)
    control.stop()
    time.sleep(1.3)
    control.start()
    generator.hold.set()
    done(item)
    assert len(generator.calls) == 1
    assert running.said("no heartbeat")


@pytest.mark.parametrize("faults", [[500, 500], [429, 503], [None, None], [None]], ids=str)
def test_an_upload_that_fails_is_made_again(control, worker, generator, faults):
    item = control.add()
    control.faults["PUT"].extend(faults)
    running = worker()
    done(item)
    assert control.files[item.video] == draw("a cat", None, 5, "64*32")
    assert len(generator.calls) == len(control.named("report")) == 1
    assert len(control.named("PUT")) == len(faults) + 1
    # A PUT on a connection that was open already and broke is repeated by aiohttp.
    assert len(faults) - 1 <= running.retried("upload") <= len(faults)


def test_an_expired_url_is_asked_for_anew(control, worker, generator):
    control.files["photo.png"] = PHOTO
    item = control.add(photo="photo.png")
    control.expires.extend([-1, 3600, -1, -1])
    worker()
    done(item)
    assert [call.status for call in control.named("GET")] == [403, 200]
    assert [call.status for call in control.named("PUT")] == [403, 403, 200]
    assert len(generator.calls) == 1


@pytest.mark.parametrize(
    ("faults", "words", "tries"),
    [
        ([500] * 3, "The video: the store answered 500. (3 attempts)", 3),
        ([413], "The video: the store answered 413.", 1),
    ],
)
def test_an_upload_that_fails_for_good_is_reported_in_one_sentence(control, worker, faults, words, tries):
    item = control.add()
    control.faults["PUT"].extend(faults)
    worker(transfer_attempts=3)
    done(item, "failed")
    assert item.error == words
    assert len(control.named("PUT")) == tries
    assert len(control.named("report")) == 1


def test_a_missing_photo_fails_the_task_and_a_large_one_too(control, worker, generator):
    missing = control.add(photo="nowhere.png")
    control.files["large.png"] = b"x" * 2001
    large = control.add(photo="large.png")
    worker(max_photo=2000)
    assert done(missing, "failed").error == "The photo: the store answered 404."
    assert done(large, "failed").error == "The photo is larger than 2000 bytes."
    assert not generator.calls


@pytest.mark.parametrize("fault", [500, 503, None])
def test_a_report_is_tried_again_and_stays_what_it_was(control, worker, fault):
    item = control.add()
    control.faults["report"].extend([fault] * 3)
    running = worker()
    done(item)
    assert [call.body["status"] for call in control.named("report")] == ["completed"] * 4
    assert running.retried("report") == 3


def test_a_report_whose_answer_was_lost_is_made_again(control, worker):
    item = control.add()
    control.late["report"].append(None)
    running = worker()
    until(lambda: running.ended("completed") == 1)
    assert item.status == "completed"
    assert len(control.named("report")) == 2


@pytest.mark.parametrize("fault", [500, 400])
def test_a_video_that_cannot_be_reported_is_not_reported_as_failed(control, worker, fault):
    item = control.add()
    control.faults["report"].extend([fault] * 3)
    running = worker(report_attempts=3)
    until(lambda: running.ended("unreported") == 1)
    assert {call.body["status"] for call in control.named("report")} == {"completed"}
    assert item.status == "processing"
    assert control.files[f"videos/{item.item_id}.mp4"]
    control.faults["report"].clear()
    done(control.add())


def test_the_control_plane_goes_and_comes_back(control, worker):
    running = worker()
    until(lambda: control.named("next-task"))
    control.stop()
    until(lambda: running.said("waiting"))
    time.sleep(0.3)
    item = control.add()
    control.start()
    done(item)
    assert len(running.said("waiting")) == 1
    assert [line["what"] for line in running.said("back")] == ["the control plane"]


def test_a_control_plane_that_answers_nonsense_is_waited_for(control, worker):
    control.faults["next-task"].extend([500, 502, None, 429, 408])
    item = control.add()
    worker()
    done(item)


@pytest.mark.parametrize(("status", "kind"), [(401, Unauthorized), (403, Refused), (404, Refused)])
def test_a_control_plane_that_refuses_ends_the_worker(control, worker, status, kind):
    control.faults["next-task"].append(status)
    running = worker()
    running.join()
    assert isinstance(running.error, kind)
    assert str(status) in str(running.error)


def test_others_finish_what_they_have_when_no_more_is_handed_out(control, worker, generator):
    item = control.add()
    generator.hold.clear()
    running = worker(in_flight=2)
    until(lambda: generator.calls)
    control.faults["next-task"].append(403)
    until(lambda: not control.faults["next-task"])
    time.sleep(0.1)
    generator.hold.set()
    running.join()
    assert item.status == "completed"
    assert isinstance(running.error, Refused)


def test_a_token_that_is_revoked_cancels_the_work(control, worker, generator):
    control.add()
    generator.hold.clear()
    running = worker(**BEATS)
    until(lambda: generator.calls)
    control.faults["heartbeat"].append(401)
    running.join()
    assert generator.cancelled == ["a cat"]
    assert isinstance(running.error, Unauthorized)
    assert running.ended("unreported") == 1


@pytest.mark.parametrize(
    ("failures", "words"),
    [
        ([InvalidRequest("SAMPLE_STEPS is 0;\naccepted: 1 to 100.")], "SAMPLE_STEPS is 0; accepted: 1 to 100."),
        ([ServerError("Out of memory.")] * 2, "Out of memory. (2 attempts)"),
        ([DeadlineExceeded("No answer from localhost:8001 in time.")], "There was no video within 3600 s."),
        ([RuntimeError("a fault of ours")], "The worker failed; its log has the cause."),
        ([ServerError("x" * 5000)] * 2, "x" * 499 + "…"),
    ],
)
def test_what_triton_refuses_is_reported_in_one_sentence(control, worker, generator, failures, words):
    item = control.add()
    generator.failures = list(failures)
    worker(attempts=2)
    done(item, "failed")
    assert item.error == words or item.error.startswith(words[:400])
    assert len(item.error) <= 520
    assert len(generator.calls) == len(failures)
    assert len(control.named("report")) == 1


def test_what_passes_is_tried_again(control, worker, generator):
    item = control.add()
    generator.failures = [QueueFull("full"), ServerUnavailable("gone"), ServerError("odd"), QueueFull("full")]
    running = worker(attempts=2)
    done(item)
    assert running.retried("generate") == 4


def test_a_task_that_waits_for_too_long_is_given_back(control, worker, generator):
    item = control.add()
    generator.failures = [ServerUnavailable("gone")] * 1000
    running = worker(patience=0.1, lease_seconds=60, heartbeat_interval=20)
    until(lambda: running.ended("given_back") == 1)
    assert item.status == "processing"
    assert not control.named("report")


def test_told_to_stop_a_task_that_waits_is_given_back(control, worker, generator):
    item = control.add()
    generator.failures = [ServerUnavailable("gone")] * 1000
    running = worker(retry_delay=30)
    until(lambda: running.said("trying again"))
    running.stop()
    assert running.ended("given_back") == 1
    assert item.status == "processing"


def test_told_to_stop_it_still_stores_and_reports_what_it_has(control, worker, generator):
    item = control.add()
    generator.hold.clear()
    running = worker()
    until(lambda: generator.calls)
    running.tell()
    control.faults["PUT"].extend([500] * 3)
    control.faults["report"].extend([500] * 3)
    generator.hold.set()
    running.join()
    assert item.status == "completed"


def test_a_worker_that_dies_leaves_its_task_to_another(control, worker, generator):
    item = control.add()
    generator.hold.clear()
    first = worker(**SHORT)
    until(lambda: generator.calls)
    first.cancel()
    first.join()
    worker(Generator())
    done(item)
    assert item.owner != first.id


def test_a_store_that_sends_elsewhere_or_in_the_open_is_refused(control, worker):
    item, presign = control.add(), control._presign
    control._presign = lambda body: (200, {**presign(body)[1], "url": "http://192.0.2.1/video"})
    worker()
    assert "https://" in done(item, "failed").error
    control._presign = presign
    moved = control.add()
    control.faults["PUT"].append(307)
    assert done(moved, "failed").error == "The video: the store answered 307."
