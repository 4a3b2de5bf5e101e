"""Shared memory: read where it lies, handed over whole, removed once."""

import subprocess
import sys
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest

from clients.redis_bridge import segments
from clients.redis_bridge.producer import share
from clients.redis_bridge.tasks import SegmentInfo, TaskError
from tests.conftest import ROOT

PIXELS = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)


@pytest.fixture
def given():
    info = SegmentInfo.model_validate(share(PIXELS))
    yield info
    segments.unlink(info.name)


def test_a_producer_s_array_is_read_where_it_lies(given):
    array = segments.attach(given)
    assert (array == PIXELS).all()
    assert not array.flags.writeable
    producer = SharedMemory(name=given.name)
    producer.buf[0] = 200
    assert array[0, 0, 0] == 200
    producer.close()


def test_a_segment_that_is_gone_or_too_small_is_refused(given):
    with pytest.raises(TaskError, match="has .* bytes, not"):
        segments.attach(given.model_copy(update={"size": 10**6}))
    segments.unlink(given.name)
    with pytest.raises(TaskError, match=f"no segment {given.name}"):
        segments.attach(given)


def test_a_link_is_no_segment(given, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(24))
    link = segments.FOLDER / f"{given.name}_link"
    link.symlink_to(secret)
    try:
        with pytest.raises(TaskError, match="cannot be read"):
            segments.attach(given.model_copy(update={"shm_name": link.name}))
    finally:
        link.unlink()


def test_what_is_handed_over_outlives_the_process_that_made_it():
    code = (
        "from clients.redis_bridge import segments\n"
        "made = segments.create('inpainted_test_outlives', (2, 4, 3))\n"
        "made.array[:] = 7\n"
        "print(made.info())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "'size': 24" in done.stdout
    assert done.stderr == ""  # the resource tracker has nothing to say
    memory = SharedMemory(name="inpainted_test_outlives")
    assert bytes(memory.buf[:24]) == bytes([7]) * 24
    memory.close()
    memory.unlink()


def test_a_second_making_replaces_the_first_and_leaves_its_readers_alone():
    first = segments.create("inpainted_test_twice", (2, 2))
    first.array[:] = 1
    second = segments.create("inpainted_test_twice", (4, 4))
    second.array[:] = 2
    assert first.array.sum() == 4
    segments.unlink("inpainted_test_twice")
    segments.unlink("inpainted_test_twice")


def test_memory_that_is_not_there_is_said_and_nothing_stays():
    with pytest.raises(segments.NoRoom, match="can be made"):
        segments.create("inpainted_test_huge", (2**20, 2**22))
    assert not (segments.FOLDER / "inpainted_test_huge").exists()
