"""Clients that go away, wait for too long, or read slowly: the work stops, and nothing is left."""

import asyncio
from contextlib import aclosing

import numpy as np
import psutil
import pytest

from atelier.client import AsyncClient, DeadlineExceeded, InvalidRequest
from atelier.client.transport import strings
from atelier.serving.leftovers import SHARED_MEMORY
from tests.conftest import logged
from tests.faults.conftest import MODELS, STREAMS
from tests.served import until

MIB = 2**20


@pytest.fixture(scope="module")
def server(launch):
    return launch(MODELS, STREAMS)


def order(count, size, pause):
    return {
        "COUNT": np.array([[count]], np.int32),
        "SIZE": np.array([[size]], np.int32),
        "PAUSE": np.array([[pause]], np.float32),
    }


def shared_memory(server):
    """Bytes of the segments of a server's Python processes."""
    return sum(path.stat().st_blocks * 512 for path in SHARED_MEMORY.glob(f"{server._prefix}*"))


def resident(server):
    """Bytes of the server and its Python processes."""
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    return sum(process.memory_info().rss for process in processes)


async def read(server, count, size, pause, pieces, timeout=30.0, slowly=0.0):
    """The first pieces of a stream; then the reader goes away."""
    got = 0
    async with (
        AsyncClient(server.grpc_url) as client,
        aclosing(client._transport.stream("teller", order(count, size, pause), timeout=timeout)) as told,
    ):
        async for _ in told:
            got += 1
            if got == pieces:
                break
            await asyncio.sleep(slowly)
    return got


def stops(server):
    return server.logs().count("teller stopped at piece")


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_reader_that_goes_away_ends_the_work(server, pieces):
    before = stops(server)
    assert asyncio.run(read(server, 600, 1000, 0.05, pieces)) == pieces
    until(lambda: stops(server) == before + 1, 10, "the end")  # it would have gone on for 30 s


def test_a_deadline_ends_the_work(server):
    before = stops(server)
    with pytest.raises(DeadlineExceeded):
        asyncio.run(read(server, 600, 1000, 0.05, 600, timeout=4))
    until(lambda: stops(server) == before + 1, 10, "the end")


def test_a_refused_stream_is_read_to_its_end(server):
    """Triton 2.51 may die of a cancellation that meets the end of its stream."""

    async def refused():
        async with AsyncClient(server.grpc_url) as client:
            raw, made = client._transport._client, []
            stream_infer = raw.stream_infer

            def kept(*arguments, **options):
                made.append(stream_infer(*arguments, **options))
                return made[0]

            raw.stream_infer = kept
            with pytest.raises(InvalidRequest, match="COUNT is negative"):
                async for _ in client._transport.stream("teller", order(-1, 1, 0), timeout=30):
                    pass
            return made[0]._grpc_call

    assert not asyncio.run(refused()).cancelled()


def test_a_call_that_is_cancelled_ends_the_work(server):
    async def leave():
        async with AsyncClient(server.grpc_url) as client:
            call = asyncio.create_task(client.infer("moody", {"MOOD": strings(b"watch")}))
            await asyncio.sleep(2.5)  # it watches for 5 s
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    asyncio.run(leave())
    assert logged(server, "moody stopped: Cancelled")


def test_readers_that_keep_up_and_go_away_leave_nothing(server):
    """Each leaves in the midst of 256 MiB."""

    def leave():
        before = stops(server)
        assert asyncio.run(read(server, 1024, MIB // 4, 0.01, 40)) == 40
        until(lambda: stops(server) == before + 1, 10, "the end")

    leave()
    memory, segments = resident(server), shared_memory(server)
    for _ in range(6):
        leave()
    assert shared_memory(server) <= segments + MIB
    assert resident(server) < memory + 64 * MIB


def test_slow_readers_hold_up_nobody_and_leave_no_more_than_they_did_not_fetch(server):
    """Triton 2.51 keeps that for ever (docs/known-issues.md); not in shared memory, and no other copy of it."""

    def crawl():
        assert asyncio.run(read(server, 64, MIB, 0, 2, slowly=1)) == 2

    crawl()
    memory, segments = resident(server), shared_memory(server)
    for _ in range(3):
        crawl()
    assert shared_memory(server) <= segments + MIB
    assert resident(server) < memory + (3 * 64 + 64) * MIB
    assert asyncio.run(read(server, 3, 10, 0, 5)) == 3
