"""Arrays that lie in segments of the caller's own: read and written where they are."""

import asyncio
import json
import logging
import urllib.request
from contextlib import contextmanager
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient

from atelier.access import GRPC_HEADER
from atelier.client import AsyncClient, Client, InvalidRequest, Mapped, ServerError
from atelier.client.shared import region_of
from tests.conftest import asking

IMAGE = np.random.default_rng(3).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
MASK = np.zeros((1, 64, 96), np.uint8)
MASK[:, 20:40, 20:60] = 1


@pytest.fixture(params=["grpc", "http"])
def url(server, request):
    return server.grpc_url if request.param == "grpc" else server.http_url


@contextmanager
def mapped(*arrays):
    """Copies of arrays, each in a segment."""
    memories = [SharedMemory(create=True, size=array.nbytes) for array in arrays]
    made = []
    for memory, array in zip(memories, arrays, strict=True):
        view = np.ndarray(array.shape, array.dtype, memory.buf)
        view[:] = array
        made.append(Mapped(view, memory.name))
    del view
    try:
        yield made
    finally:
        made.clear()
        for memory in memories:
            memory.unlink()


def regions(server):
    with urllib.request.urlopen(asking(server, "/v2/systemsharedmemory/status"), timeout=5) as reply:
        return [region["key"] for region in json.load(reply)]


@pytest.mark.parametrize("shared", [True, False], ids=["in place", "in messages"])
def test_inputs_are_read_and_an_output_is_written(server, url, shared):
    with Client(url) as plain:
        expected = plain.infer("lama", {"IMAGE": IMAGE, "MASK": MASK})["INPAINTED"]
    with mapped(IMAGE, MASK, np.zeros_like(IMAGE)) as (image, mask, out):
        with Client(url, shared_memory=shared) as client:
            answer = client.infer("lama", {"IMAGE": image, "MASK": mask}, outputs={"INPAINTED": out})["INPAINTED"]
        assert (answer == expected).all()
        assert (answer is out.array) == shared
        assert (out.array == expected).all() == shared
        assert not [key for key in regions(server) if key.strip("/") in (image.key, mask.key, out.key)]
        del answer
    assert (np.abs(expected[MASK == 0].astype(int) - IMAGE[MASK == 0]) == 0).all()


def test_some_may_lie_in_segments_and_others_be_sent(url):
    with mapped(IMAGE) as (image,), Client(url, shared_memory=True) as client:
        found = client.infer("lama", {"IMAGE": image, "MASK": MASK}, outputs={"INPAINTED": IMAGE.nbytes})["INPAINTED"]
        plain = client.infer("lama", {"IMAGE": IMAGE, "MASK": MASK})["INPAINTED"]
    assert (found == plain).all()


def test_a_segment_that_is_gone_is_named_and_others_are_still_read_in_place(url, caplog):
    with mapped(IMAGE, MASK) as (image, mask), Client(url, shared_memory=True) as client:
        Path("/dev/shm", mask.key).unlink()
        with caplog.at_level(logging.WARNING), pytest.raises(InvalidRequest, match=f"There is no segment {mask.key}"):
            client.infer("lama", {"IMAGE": image, "MASK": mask})
        client.infer("lama", {"IMAGE": image, "MASK": MASK})
        assert not caplog.records
        Path("/dev/shm", mask.key).touch()  # for the end of the test


@pytest.mark.parametrize(
    ("array", "key", "words"),
    [
        (IMAGE[:, ::2], "x", "no C-contiguous array"),
        (np.array([b"x"], object), "x", "no C-contiguous array"),
        (IMAGE, "", "The segment of IMAGE"),
        (IMAGE, 7, "The segment of IMAGE"),
        ("text", "x", "no C-contiguous array"),
    ],
)
def test_what_cannot_be_read_in_place_is_refused(url, array, key, words):
    with Client(url, shared_memory=True) as client:
        with pytest.raises(InvalidRequest, match=words):
            client.infer("lama", {"IMAGE": Mapped(array, key), "MASK": MASK})
        client.infer("lama", {"IMAGE": IMAGE, "MASK": MASK})


def test_a_place_of_another_shape_than_the_answer_is_refused(url):
    small = np.zeros((1, 8, 8, 3), np.uint8)
    with mapped(small) as (out,), Client(url, shared_memory=True) as client:
        with pytest.raises((InvalidRequest, ServerError)):
            client.infer("lama", {"IMAGE": IMAGE, "MASK": MASK}, outputs={"INPAINTED": out})
        client.infer("lama", {"IMAGE": IMAGE, "MASK": MASK})


def test_the_same_arrays_are_used_again_and_again_in_place(url):
    with mapped(IMAGE, MASK, np.zeros_like(IMAGE)) as (image, mask, out), Client(url, shared_memory=True) as client:
        for number in range(20):
            image.array[:] = number
            answer = client.infer("lama", {"IMAGE": image, "MASK": mask}, outputs={"INPAINTED": out})["INPAINTED"]
            assert answer is out.array
            assert (answer[MASK == 0] == number).all()
        del answer


def test_calls_at_once_share_a_segment(url):
    async def send(places):
        image, mask = places
        async with AsyncClient(url, shared_memory=True) as client:
            calls = [client.infer("lama", {"IMAGE": image, "MASK": mask}) for _ in range(8)]
            return [answer["INPAINTED"] for answer in await asyncio.gather(*calls)]

    with mapped(IMAGE, MASK) as places:
        answers = asyncio.run(send(places))
    assert all((answer == answers[0]).all() for answer in answers)


def test_what_a_killed_process_has_left_registered_is_replaced(server, url, caplog):
    # Under another name than ours it cannot be: such a call is sent. Over HTTP that looks like any other refusal.
    key = {GRPC_HEADER: server.options.admin_key}
    other_name = region_of("mask") if url == server.grpc_url else None
    with mapped(IMAGE, MASK) as (image, mask):
        with InferenceServerClient(server.grpc_url) as other:
            other.register_system_shared_memory(region_of(image.key), f"/{image.key}", IMAGE.nbytes, headers=key)
            other.register_system_shared_memory(
                other_name or region_of(mask.key), f"/{mask.key}", MASK.nbytes, headers=key
            )
        with Client(url, shared_memory=True) as client, caplog.at_level(logging.WARNING):
            for _ in range(2):
                answer = client.infer("lama", {"IMAGE": image, "MASK": mask})["INPAINTED"]
                assert (answer[MASK == 0] == IMAGE[MASK == 0]).all()
        assert not [record for record in caplog.records if "Shared memory is not used" in record.getMessage()]
        if other_name:
            with InferenceServerClient(server.grpc_url) as other:
                other.unregister_system_shared_memory(other_name, headers=key)
