"""Pictures of many sizes for a while, after a warm-up: memory stays. `python -m perf soak` does it for longer."""

import pytest

from atelier.client import Client
from perf.soak_traffic import pages
from tests.conftest import ROOT
from tests.faults.test_clients import MIB, resident, shared_memory

SIZES = 6
ROUNDS = 4


@pytest.fixture(scope="module")
def server(launch):
    return launch(ROOT / "model_repository", models=("inpaint",))


def test_memory_is_flat_after_a_warm_up(server):
    pictures = pages(1)[:SIZES]
    with Client(server.grpc_url, shared_memory=True) as client:

        def each_once():
            for picture in pictures:
                outside = picture.mask == 0
                answer = client.inpaint(*picture.files).image
                assert (answer[outside] == picture.pixels[outside]).all()

        for _ in range(2):
            each_once()
        memory, segments = resident(server), shared_memory(server)
        for _ in range(ROUNDS):
            each_once()
        assert shared_memory(server) == segments
        assert resident(server) < memory + 24 * MIB
