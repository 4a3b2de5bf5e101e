"""Ten times as many callers as there is room for: clear refusals, bounded memory, and all is well soon after."""

import asyncio
import os
import time
from collections import Counter
from types import SimpleNamespace

from atelier.client import AsyncClient, QueueFull, QueueTimeout
from atelier.client.transport import strings
from tests.faults.test_clients import MIB, resident, shared_memory

CALLERS = 80
"""``moody`` works on 4 requests and lets 4 wait."""
SECONDS = int(os.environ.get("OVERLOAD_SECONDS", "12"))
"""A minute and more: ``OVERLOAD_SECONDS=60``."""


async def storm(url, callers, seconds):
    """Callers that ask again at once; what became of all their requests, and the longest wait for any answer."""
    outcomes, longest = Counter(), 0.0
    deadline = time.monotonic() + seconds

    async def call_again_and_again(client, number):
        nonlocal longest
        mood = f"sleep 0.1 {number}"
        while time.monotonic() < deadline:
            began = time.monotonic()
            try:
                answer = (await client.infer("moody", {"MOOD": strings(mood.encode())}, timeout=20))["ANSWER"].item()
                outcomes["right" if answer.decode().startswith(f"{mood} ") else "wrong"] += 1
            except (QueueFull, QueueTimeout) as error:
                outcomes[type(error).__name__] += 1
                await asyncio.sleep(0.05)
            longest = max(longest, time.monotonic() - began)

    async with AsyncClient(url) as client:
        await asyncio.gather(*(call_again_and_again(client, number) for number in range(callers)))
    return outcomes, longest


def test_ten_times_the_capacity(serve):
    serving = serve("--models", "moody")
    server = SimpleNamespace(pid=serving.triton, _prefix=f"atelier_py_*_{serving.process.pid}_", **vars(serving))
    asyncio.run(storm(server.grpc_url, CALLERS, 3))  # the buffers of so many calls are there from now on
    memory, segments = resident(server), shared_memory(server)
    outcomes, longest = asyncio.run(storm(server.grpc_url, CALLERS, SECONDS))
    assert outcomes["right"] >= SECONDS, outcomes
    assert outcomes["QueueFull"] > outcomes["right"], outcomes
    assert set(outcomes) <= {"right", "QueueFull", "QueueTimeout"}, outcomes
    assert longest < 10, "5 s in the queue at most, and the work of those before"
    assert resident(server) < memory + 64 * MIB
    assert shared_memory(server) <= segments
    began = time.monotonic()
    after, _ = asyncio.run(storm(server.grpc_url, 1, 1))
    assert time.monotonic() - began < 20
    assert set(after) == {"right"}, after
    assert (serving.triton, serving.health()[1]["restarts"]) == (server.pid, 0)
