"""Shared memory where there is too little of it, and where the server has forgotten it."""

import asyncio
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from atelier.client import AsyncClient, Client, DeadlineExceeded, ServerError
from atelier.client.requests import Deadline
from atelier.client.shared import Load, NoRoom, Segment
from tests.client.test_mistakes import TENSORS

SHM = Path("/dev/shm")


def free():
    facts = os.statvfs(SHM)
    return facts.f_bavail * facts.f_frsize


def segments():
    return {path.name for path in SHM.glob("atelier_*") if not path.name.startswith(("atelier_py_", "atelier_new_"))}


@pytest.fixture(params=["grpc", "http"])
def url(server, request):
    return server.grpc_url if request.param == "grpc" else server.http_url


def memory(fact):
    (line,) = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith(f"{fact}:")]
    return int(line.split()[1]) * 1024


# What is free is asked when the test runs: other programmes' memory comes and goes.
WISHES = {
    "more than /dev/shm has free": lambda: free() + 2**30,
    "more memory than the machine has": lambda: memory("MemTotal") + 2**30,
    "more than there is": lambda: 2**70,
}


@pytest.mark.parametrize("wish", WISHES)
def test_a_segment_that_cannot_be_held_is_refused_and_not_written_to(wish):
    before, size = segments(), WISHES[wish]()
    with pytest.raises(NoRoom, match="bytes of shared memory cannot be had"):
        Segment(size)
    assert segments() == before


def test_memory_is_there_for_what_a_call_needs_and_no_more():
    segment = Segment(5 * 2**20)
    try:
        file = SHM / segment.name
        assert (segment.size, file.stat().st_size) == (8 * 2**20, 8 * 2**20)
        assert 5 * 2**20 <= file.stat().st_blocks * 512 < 6 * 2**20
        segment.reserve(7 * 2**20)
        assert file.stat().st_blocks * 512 >= 7 * 2**20
        with pytest.raises(ValueError, match="the segment holds"):
            segment.reserve(9 * 2**20)
    finally:
        segment.close()


def test_a_call_that_finds_no_room_is_sent_in_the_message_and_it_is_said_once(url, caplog):
    before = segments()
    with Client(url, shared_memory=True) as client, caplog.at_level(logging.WARNING):
        for _ in range(2):
            answer = client.infer("lama", TENSORS, outputs={"INPAINTED": free() + 2**30})["INPAINTED"]
            assert answer.shape == TENSORS["IMAGE"].shape
        assert segments() == before
        assert len(caplog.records) == 1
        assert "tensors are sent in the message" in caplog.text
        small = client.infer("lama", TENSORS, outputs={"INPAINTED": answer.nbytes})["INPAINTED"]
        np.testing.assert_array_equal(small, answer)
        assert len(segments() - before) == 1, "calls that find room use it"


def test_bytes_of_numpy_s_own_type_have_their_lengths_in_shared_memory():
    (payload,) = Load({"X": np.array([[b"abc", b"d"]])}, {}).payloads.values()
    assert payload.tobytes() == b"\3\0\0\0abc\1\0\0\0d"


def test_a_forgotten_segment_is_registered_again_once(url):
    async def send():
        async with AsyncClient(url, shared_memory=True) as client:
            await client.infer("lama", TENSORS)
            first = segments() - before
            await client._transport._unregister("", Deadline(5))
            await client.infer("lama", TENSORS)
            return first, segments() - before

    before = segments()
    first, second = asyncio.run(send())
    assert (len(first), len(second)) == (1, 1)
    assert first != second


def test_a_retry_has_the_time_that_is_left(url):
    """One deadline holds for registering, the call and the second try."""

    async def send():
        async with AsyncClient(url, shared_memory=True) as client:
            transport = client._transport
            await client.infer("lama", TENSORS)
            await transport._unregister("", Deadline(5))
            deadline = Deadline(0.3)
            await asyncio.sleep(0.4)
            with pytest.raises(DeadlineExceeded, match="within 0.3 s"):
                await transport._infer_shared("lama", Load(TENSORS, {}), deadline, "")

    asyncio.run(send())


def test_an_error_in_a_segment_is_sent_once_and_the_segment_kept(url):
    with Client(url, shared_memory=True) as client:
        client.infer("lama", TENSORS)
        before = segments()
        with pytest.raises(ServerError, match="unknown model"):
            client.infer("ghost", TENSORS)
        assert segments() == before
