"""`composite` and `composite_stream` of both clients, on a real server without weights."""

import asyncio
import io
from contextlib import aclosing

import numpy as np
import pytest
from PIL import Image

from atelier.client import AsyncClient, Client, CompositeProgress, CompositeResult, InvalidRequest, ServerError
from tests.model_repository.composing import REPOSITORIES, file_of, scene, thing

BOX = (60, 30, 110, 110)
CLASSICAL = {"box": BOX, "mode": "classical"}


@pytest.fixture(scope="module")
def server(launch):
    return launch(*REPOSITORIES, models=("composite", "composite_stream"))


@pytest.fixture(params=["grpc", "http", "shared memory"])
def client(request, server):
    url = server.http_url if request.param == "http" else server.grpc_url
    with Client(url, shared_memory=request.param == "shared memory") as client:
        yield client


def test_every_way_to_hold_a_picture_gives_the_same(client, tmp_path):
    background, reference = tmp_path / "배경.png", tmp_path / "물건.png"
    background.write_bytes(file_of(scene()))
    reference.write_bytes(file_of(thing()))
    forms = [
        (background, str(reference)),
        (background.read_bytes(), bytearray(reference.read_bytes())),
        (scene(), thing()),
        (Image.fromarray(scene()), Image.fromarray(thing())),
    ]
    results = [client.composite(*form, **CLASSICAL) for form in forms]
    for result in results:
        np.testing.assert_array_equal(result.image, results[0].image)
        np.testing.assert_array_equal(result.mask, results[0].mask)
    image, mask = results[0].image, results[0].mask
    np.testing.assert_array_equal(image[mask == 0], scene()[mask == 0])
    assert (image[mask > 0] != scene()[mask > 0]).any()


def test_a_mask_a_point_and_a_scale_reach_the_server(client):
    mask = np.zeros((120, 200), bool)
    mask[30:100, 20:70] = True
    by_mask = client.composite(scene(), thing(), mask=mask, mode="classical").report["placement"]
    assert by_mask["source"] == "mask"
    assert 20 <= by_mask["box"][0] < by_mask["box"][2] <= 70
    place = client.composite(scene(), thing(), point=(100, 110), scale=0.5, mode="classical").report["placement"]
    assert place["source"] == "point"
    assert abs((place["box"][3] - place["box"][1]) - 60) <= 1


def test_the_analysis_is_in_the_language_that_was_asked_for(client):
    result = client.composite(scene(), thing(), language="ko", **CLASSICAL)
    assert any("가" <= letter <= "힣" for letter in result.analysis)


def test_what_is_refused_is_an_invalid_request(client):
    with pytest.raises(InvalidRequest, match="BOX"):
        client.composite(scene(), thing(), box=(0, 0, 900, 9))
    with pytest.raises(InvalidRequest, match="MODE"):
        client.composite(scene(), thing(), mode="best")


def test_a_stream_ends_with_the_same_picture(server):
    told = []
    with Client(server.grpc_url) as client:
        stream = client.composite_stream(scene(), thing(), on_progress=told.append, **CLASSICAL)
        *progress, result = stream
        again = stream.result()
        alone = client.composite(scene(), thing(), **CLASSICAL)
    assert all(isinstance(event, CompositeProgress) for event in progress)
    assert isinstance(result, CompositeResult)
    assert [event.stage for event in told[: len(progress)]] == [event.stage for event in progress]
    stages = [stage for stage in dict.fromkeys(event.stage for event in progress) if stage != "queued"]
    assert stages == ["analysis", "extraction", "placement", "decoding"]
    for other in (again, alone):
        np.testing.assert_array_equal(other.image, result.image)
        np.testing.assert_array_equal(other.mask, result.mask)
    assert alone.analysis == result.analysis
    assert alone.report["placement"] == result.report["placement"]


def test_what_a_stream_refuses_has_no_code_in_its_words(server):
    with Client(server.grpc_url) as client, pytest.raises(InvalidRequest, match="BOX") as refused:
        client.composite_stream(scene(), thing(), box=(0, 0, 900, 9)).result()
    assert not str(refused.value).startswith("[")


def test_asyncio_has_both_and_many_at_once(server):
    async def run():
        async with AsyncClient(server.grpc_url) as client:
            calls = [client.composite(scene(), thing(), **CLASSICAL) for _ in range(3)]
            plain = await asyncio.gather(*calls)
            streamed = await client.composite_stream(scene(), thing(), **CLASSICAL)
            events = [event async for event in client.composite_stream(scene(), thing(), **CLASSICAL)]
            left = client.composite_stream(scene(), thing(), **CLASSICAL)
            async with aclosing(left):
                async for event in left:
                    assert isinstance(event, CompositeProgress)
                    break
            return [*plain, streamed, events[-1], await client.composite(scene(), thing(), **CLASSICAL)]

    results = asyncio.run(run())
    for result in results:
        np.testing.assert_array_equal(result.image, results[0].image)


def test_a_background_of_many_pixels(server):
    with Client(server.grpc_url) as client:
        result = client.composite(scene(2000, 3000), thing(400, 300), box=(900, 600, 1500, 1500), mode="classical")
    assert result.image.shape == (2000, 3000, 3)
    assert Image.open(io.BytesIO(result.data)).format == "PNG"


def test_a_server_without_the_pipeline_says_so(server):
    with Client(server.grpc_url) as client, pytest.raises(ServerError, match="inpaint"):
        client.inpaint(scene(), scene()[..., 0])
