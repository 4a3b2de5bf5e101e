"""Payloads that are tasks, and what is said of those that are not."""

import json

import pytest

from clients.redis_bridge.sources import Item
from clients.redis_bridge.tasks import TaskError, envelope, parse

GOOD = {
    "request_id": "r-1",
    "image_id": "쪽-001.jpg",
    "original_size": [90, 70],
    "padding_info": [19, 29, 19, 29],
    "preprocessed_img_shm_info": {"shm_name": "psm_a", "shape": [128, 128, 3], "dtype": "uint8", "size": 49152},
    "preprocessed_mask_shm_info": {"shm_name": "/psm_b", "shape": [128, 128], "dtype": "uint8", "size": 16384},
    "is_long": False,
}
PICTURE, MASK = "preprocessed_img_shm_info", "preprocessed_mask_shm_info"


def item(payload):
    return Item(payload, payload)


def of(fields):
    return item(json.dumps(fields, ensure_ascii=False).encode())


def test_a_payload_as_the_old_producers_write_it():
    task = parse(of(GOOD))
    assert (task.request_id, task.image_id, task.original_size, task.is_long) == ("r-1", "쪽-001.jpg", (90, 70), False)
    assert (task.picture.name, task.mask.name, task.picture.shape) == ("psm_a", "psm_b", (128, 128, 3))


def test_a_payload_may_have_more_fields_and_lack_is_long():
    fields = {name: value for name, value in GOOD.items() if name != "is_long"}
    assert parse(of({**fields, "page": 3})).is_long is False


BROKEN = {
    "no JSON": (b"{", "is no JSON"),
    "no UTF-8": (b"\xff\xfe", "no UTF-8"),
    "a list": (b"[1]", "accepted: an object"),
    "nested too deeply": (b"[" * 100000, "no JSON"),
    "a number of too many digits": (b'{"request_id": ' + b"1" * 5000 + b"}", "no JSON"),
}
CHANGES = {
    "no request_id": ({"request_id": None}, "request_id"),
    "an empty request_id": ({"request_id": ""}, "request_id"),
    "a number as request_id": ({"request_id": 7}, "request_id"),
    "a size of one number": ({"original_size": [90]}, "original_size"),
    "a size of zero": ({"original_size": [0, 70]}, "original_size"),
    "a size as text": ({"original_size": ["90", "70"]}, "original_size"),
    "an enormous size": ({"original_size": [10**9, 70]}, "original_size"),
    "a negative margin": ({"padding_info": [-1, 0, 0, 0]}, "padding_info"),
    "margins that leave nothing": ({"padding_info": [64, 0, 64, 0]}, "leaves nothing"),
    "an unknown dtype": ({PICTURE: {**GOOD[PICTURE], "dtype": "float32"}}, "dtype"),
    "a size that is not the shape's": ({PICTURE: {**GOOD[PICTURE], "size": 49151}}, "not that of shape"),
    "a grey picture": ({PICTURE: {**GOOD[PICTURE], "shape": [128, 128], "size": 16384}}, "accepted: [H, W, 3]"),
    "a mask of another size": ({MASK: {**GOOD[MASK], "shape": [64, 256]}}, "it must be [128, 128]"),
    "a segment that is a path": ({PICTURE: {**GOOD[PICTURE], "shm_name": "../etc/passwd"}}, "no segment's name"),
    "a segment that is a folder": ({PICTURE: {**GOOD[PICTURE], "shm_name": ".."}}, "no segment's name"),
    "a missing block": ({MASK: None}, MASK),
    "is_long as text": ({"is_long": "true"}, "is_long"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_refused(name):
    payload, words = BROKEN[name]
    with pytest.raises(TaskError, match=words):
        parse(item(payload))
    assert envelope(item(payload)).segments == ()


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_no_task_is_refused_by_its_field(name):
    changes, words = CHANGES[name]
    fields = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(TaskError) as caught:
        parse(of(fields))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_a_broken_payload_its_name_and_its_segments_are_known_still():
    said = envelope(of({**GOOD, "original_size": None, "is_long": True}))
    assert (said.request_id, said.image_id, said.is_long) == ("r-1", "쪽-001.jpg", "true")
    assert said.segments == ("psm_a", "psm_b")


def test_a_path_is_never_a_segment_to_remove():
    assert envelope(of({**GOOD, PICTURE: {"shm_name": "../../tmp/x"}, MASK: 3})).segments == ("", "")


def entry(**fields):
    return Item(b"1-0", {name.encode(): value for name, value in fields.items()})


def test_an_entry_of_a_stream():
    task = parse(entry(request_id="r-1 요청".encode(), image=b"PNG", mask=b"PNG", margin=b"64", fill_flat=b"true"))
    assert (task.request_id, task.image, task.options) == ("r-1 요청", b"PNG", {"margin": 64, "fill_flat": True})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": None}, "image"),
        ({"mask": b""}, "mask"),
        ({"margin": b"wide"}, "margin"),
        ({"fill_flat": b"perhaps"}, "fill_flat"),
        ({"feater": b"3"}, "feater"),
        ({"request_id": None}, "request_id"),
        ({"request_id": b"\xff"}, "request_id"),
    ],
)
def test_an_entry_that_is_no_task_is_refused_by_its_field(changes, words):
    fields = {"request_id": b"r", "image": b"PNG", "mask": b"PNG", **changes}
    with pytest.raises(TaskError, match=words):
        parse(entry(**{name: value for name, value in fields.items() if value is not None}))
