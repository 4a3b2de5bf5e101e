"""The worker at a real control plane: what it asks, makes, stores and reports; and how it ends."""

import time

import pytest

from atelier.client import ServerUnavailable
from tests.job_worker.conftest import until
from tests.job_worker.control_plane import TOKEN
from tests.job_worker.generator import FRAMES, Generator, draw, frames_of

PHOTO = b"\x89PNG of a cat"


def done(item, status="completed", patience=20):
    until(lambda: item.status == status, patience, f"{item.item_id}, {item.status}, {item.error},")
    return item


def test_text_to_video(control, worker, generator):
    item = control.add("고양이 한 마리")
    running = worker()
    done(item)
    video = control.files[item.video]
    assert item.video == f"videos/{item.item_id}.mp4"
    assert video == draw("고양이 한 마리", None, FRAMES, "64*32")
    assert frames_of(video) == FRAMES
    (call,) = generator.calls
    assert call["image"] is None
    assert call["settings"] == {"size": "64*32", "format": "mp4"}  # the number of frames is the server's
    assert call["timeout"] == 3600
    (upload,) = control.named("PUT")
    assert upload.body == {"type": "video/mp4", "authorization": ""}
    until(lambda: running.ended("completed") == 1)
    running.stop()
    assert running.error is None
    (report,) = control.named("report")
    assert report.body == {
        "item_id": item.item_id,
        "worker_id": running.id,
        "status": "completed",
        "video_storage_path": item.video,
    }


def test_the_calls_are_those_of_the_contract(control, worker):
    control.files["photos/cat.png"] = PHOTO
    item = control.add(photo="photos/cat.png")
    running = worker(lease_seconds=900)
    done(item)
    running.stop()
    order = [call for call in control.calls if call.name != "next-task" or call is control.calls[0]]
    me = {"item_id": item.item_id, "worker_id": running.id}
    assert [(call.name, call.body) for call in order if call.name not in ("GET", "PUT")] == [
        ("next-task", {"worker_id": running.id, "lease_duration_seconds": 900}),
        ("heartbeat", {**me, "extend_seconds": 900}),
        ("presign", {"operation": "download", "storage_path": "photos/cat.png"}),
        ("heartbeat", {**me, "extend_seconds": 900}),  # still the owner, before the video is put there
        ("presign", {"operation": "upload", "video_item_id": item.item_id, "file_extension": "mp4"}),
        ("report", {**me, "status": "completed", "video_storage_path": f"videos/{item.item_id}.mp4"}),
    ]
    assert control.named("GET")[0].body["authorization"] == ""


def test_a_photo_is_what_the_video_starts_with(control, worker, generator):
    control.files["photos/고양이.png"] = PHOTO
    item = control.add(photo="photos/고양이.png")
    worker()
    done(item)
    assert generator.calls[0]["image"] == PHOTO
    assert control.files[item.video] == draw("a cat", PHOTO, FRAMES, "64*32")


@pytest.mark.parametrize(("asked", "setting", "made"), [(9, 13, 9), (None, 13, 13), (1, None, 1)])
def test_frame_num_is_the_task_s_then_the_setting(control, worker, asked, setting, made):
    item = control.add(frame_num=asked)
    worker(frame_num=setting)
    done(item)
    assert frames_of(control.files[item.video]) == made


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"frame_num": 100}, "frame_num: 100 is not 4n + 1 with n >= 0; the nearest are 97 and 101"),
        ({"frame_num": 0}, "the nearest are 1 and 5"),
        ({"frame_num": -3}, "the nearest are 1 and 5"),
        ({"frame_num": 120}, "the nearest are 117 and 121"),
        ({"frame_num": "121"}, "frame_num: Input should be a valid integer"),
        ({"frame_num": True}, "frame_num: Input should be a valid integer"),
        ({"prompt": ""}, "prompt: it is empty"),
        ({"prompt": " \n\t"}, "prompt: it is empty"),
        ({"prompt": None}, "prompt: Input should be a valid string"),
        ({"photo": ""}, "photo_storage_path"),
        ({"prompt": "", "frame_num": 2}, "prompt: it is empty; frame_num: 2 is not"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(control, worker, generator, facts, words):
    item, good = control.add(**facts), control.add()
    worker()
    done(good)
    assert item.status == "failed"
    assert words in item.error
    assert item.error.startswith("The task is refused: ")
    assert "\n" not in item.error
    assert len(generator.calls) == 1
    assert not control.named("heartbeat", item.item_id)
    assert item.retry_count == 1


def test_further_settings_go_to_the_server(control, worker, generator):
    item = control.add()
    worker(request={"sample_steps": 2, "loras": {"ink": 0.5}})
    done(item)
    assert generator.calls[0]["loras"] == {"ink": 0.5}
    assert generator.calls[0]["settings"] == {"size": "64*32", "format": "mp4", "sample_steps": 2}


def test_heartbeats_keep_a_lease_and_end_with_the_task(control, worker, generator):
    first, second = control.add("first"), control.add("second")
    generator.hold.clear()
    running, other = worker(lease_seconds=2, heartbeat_interval=0.2), Generator()
    until(lambda: generator.calls)
    time.sleep(2.5)  # longer than its lease
    worker(other)  # takes the second, and not the first
    done(second)
    assert first.status == "processing"
    assert len(control.named("heartbeat", first.item_id)) >= 4
    generator.hold.set()
    done(first)
    third = control.add("third")
    done(third)
    time.sleep(0.6)
    for item in (first, second, third):
        (report,) = control.named("report", item.item_id)
        assert not [call for call in control.named("heartbeat", item.item_id) if call.at > report.at]
    assert {call.status for call in control.named("heartbeat")} == {200}
    assert running.ended("lost") == 0


def test_no_heartbeat_shortens_a_lease(control, worker, generator):
    item = control.add()
    generator.hold.clear()
    worker(lease_seconds=600)
    taken = time.time()
    until(lambda: generator.calls)
    assert item.leased_until >= taken + 599
    assert {call.body["extend_seconds"] for call in control.named("heartbeat")} == {600}


def test_progress_is_logged_by_stage(control, worker):
    item = control.add()
    running = worker()
    done(item)
    until(lambda: running.ended("completed"))
    lines = running.said("progress")
    assert [(line["stage"], line["step"], line["of"]) for line in lines] == [("sampling", 0, 3), ("decoding", 0, 1)]
    assert {line["item_id"] for line in lines} == {item.item_id}
    assert running.said("generated")[0]["seed"] == 7


def test_neither_token_nor_signatures_are_logged(control, worker):
    control.files["photo.png"] = PHOTO
    item = control.add(photo="photo.png")
    control.faults["PUT"].extend([None, 500, 403])
    control.faults["GET"].extend([None, 403])
    running = worker()
    done(item)
    until(lambda: running.ended("completed"))
    said = repr(running.lines) + repr(running.settings)
    assert running.retried("upload") >= 2
    assert TOKEN not in said
    assert "signature" not in said
    assert "/store/" not in said


def test_several_tasks_at_once(control, worker, generator):
    items = [control.add(f"cat {number}") for number in range(3)]
    generator.hold.clear()
    worker(in_flight=2)
    until(lambda: len(generator.calls) == 2)
    time.sleep(0.2)
    assert [item.status for item in items] == ["processing", "processing", "pending"]
    generator.hold.set()
    for item in items:
        done(item)
    assert len(control.named("report")) == 3


def test_a_task_that_comes_again_while_it_is_at_work_is_not_done_twice(control, worker, generator):
    item = control.add()
    generator.hold.clear()
    running = worker(in_flight=2)
    until(lambda: generator.calls)
    item.leased_until = 0.0  # as after an hour without heartbeats
    until(lambda: running.said("this task is at work already"))
    generator.hold.set()
    done(item)
    assert len(generator.calls) == len(control.named("report")) == 1


def test_no_task_is_taken_before_triton_is_ready(control, worker, generator):
    item = control.add()
    generator.ready = ServerUnavailable("No server answers at localhost:8001: …")
    running = worker()
    until(lambda: running.said("waiting"))
    generator.ready = False
    time.sleep(0.2)
    assert not control.calls
    generator.ready = True
    done(item)
    assert len(running.said("waiting")) == 1
    assert [line["what"] for line in running.said("back")] == ["Triton"]


def test_told_to_stop_it_finishes_its_task_and_takes_no_other(control, worker, generator):
    item, other = control.add(), control.add()
    generator.hold.clear()
    running = worker()
    until(lambda: generator.calls)
    running.tell()
    time.sleep(0.2)
    assert running.is_alive
    generator.hold.set()
    running.join()
    assert (item.status, other.status) == ("completed", "pending")
    assert running.error is None


def test_told_twice_it_cancels_and_gives_back(control, worker, generator):
    item = control.add()
    generator.hold.clear()
    running = worker(lease_seconds=1, heartbeat_interval=0.2)
    until(lambda: generator.calls)
    running.tell()
    running.cancel()
    running.join()
    assert generator.cancelled == ["a cat"]
    assert running.ended("given_back") == 1
    assert not control.named("report")
    assert item.status == "processing"
    generator.hold.set()
    worker()  # when the lease has run out
    done(item)
    assert item.retry_count == 0


def test_idle_it_stops_at_once(control, worker):
    running = worker(polling_interval=3600)
    until(lambda: control.named("next-task"))
    running.stop()  # which waits no longer than `join` does
