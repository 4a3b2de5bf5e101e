"""`composite_stream` and `composite` with FLUX.1-Fill of a tiny random checkpoint: progress, seeds, cancellation."""

import asyncio
import json
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from atelier.client import AsyncClient, Client, DeadlineExceeded, InvalidRequest, QueueFull
from export.flux.synthetic import write_fill, write_redux
from tests.conftest import logged
from tests.model_repository.composing import REPOSITORIES, pixels_of, scene, thing

BOX = (60, 30, 110, 110)


@pytest.fixture(scope="module")
def server(launch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flux")
    write_fill("tiny", folder / "fill", 0)
    write_redux("tiny", folder / "redux", 0)
    settings = {"checkpoint": folder / "fill", "redux": folder / "redux", "resolution": 64, "steps": 3, "max_queue": 2}
    environment = {f"ATELIER_OBJECT_SYNTHESIZER_{name.upper()}": str(value) for name, value in settings.items()}
    environment["ATELIER_COMPOSITE_STREAM_MAX_QUEUE"] = "1"
    return launch(*REPOSITORIES, models=("composite", "composite_stream"), environment=environment)


@pytest.fixture(scope="module")
def client(server):
    with Client(server.grpc_url) as client:
        yield client


def stream(client, **more):
    *progress, result = client.composite_stream(scene(), thing(), **{"box": BOX, **more})
    return progress, result


def test_progress_comes_in_order_and_the_picture_last(client):
    progress, result = stream(client, seed=7, prompt="마루 위의 빨간 상자", preview_every=1)
    stages = list(dict.fromkeys(event.stage for event in progress))
    assert stages[-6:] == ["analysis", "extraction", "placement", "encoding", "denoising", "decoding"]
    steps = [event.step for event in progress if event.stage == "denoising"]
    assert steps == sorted(steps) and steps[-1] == 3
    previews = [pixels_of(event.preview) for event in progress if event.preview is not None]
    assert previews and all(max(preview.shape) <= 256 for preview in previews)
    mask = result.mask
    assert (result.image[mask == 0] == scene()[mask == 0]).all()
    assert (result.image[mask > 0] != scene()[mask > 0]).any()
    report = result.report
    assert report["modes"]["object_synthesizer"] == "neural"
    assert (report["seed"], report["prompt"]) == (7, "마루 위의 빨간 상자")
    assert report["metrics"]["outside_max_difference"] == 0
    assert report["memory"]["object_synthesizer"]["ready"]["host"] > 0
    assert any("Non-Commercial" in json.dumps(facts) for facts in report["models"].values())


def test_the_ensemble_answers_the_same(server, client):
    _, streamed = stream(client, seed=7)
    with Client(server.http_url) as http:
        for asked in (client, http):
            assert (asked.composite(scene(), thing(), box=BOX, seed=7).image == streamed.image).all()
        other = http.composite(scene(), thing(), box=BOX, seed=8)
    assert (other.image != streamed.image).any()


def test_a_seed_that_is_not_given_is_drawn_and_told(client):
    first, second = (client.composite(scene(), thing(), box=BOX) for _ in range(2))
    assert first.report["seed"] != second.report["seed"]
    again = client.composite(scene(), thing(), box=BOX, seed=first.report["seed"])
    assert (again.image == first.image).all()


def test_the_best_of_several_seeds_is_answered(client):
    progress, result = stream(client, seed=7, seeds=3)
    candidates = result.report["candidates"]
    assert [candidate["seed"] for candidate in candidates] == [7, 8, 9]
    assert {event.candidate for event in progress if event.stage == "denoising"} == {1, 2, 3}
    best = max(candidates, key=lambda candidate: candidate["score"])
    assert result.report["seed"] == best["seed"] and result.report["metrics"] == best["metrics"]
    alone = client.composite(scene(), thing(), box=BOX, seed=best["seed"])
    assert (alone.image == result.image).all()


def test_without_a_network_seeds_have_no_effect(client):
    _, result = stream(client, mode="classical", seeds=3)
    assert len(result.report["candidates"]) == 1
    assert any("SEEDS" in warning for warning in result.report["warnings"])


@pytest.mark.parametrize(
    "given, word",
    [
        ({"seeds": 0}, "SEEDS"),
        ({"seeds": 99}, "SEEDS"),
        ({"preview_every": -1}, "PREVIEW_EVERY"),
        ({"box": (0, 0, 900, 9)}, "BOX"),
        ({"steps": 0}, "STEPS"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(client, given, word):
    with pytest.raises(InvalidRequest, match=word) as refused:
        stream(client, **given)
    assert "Traceback" not in str(refused.value)
    assert stream(client, seed=7)[1].image.shape == scene().shape


def test_a_mask_by_both_names_is_refused(server):
    given = dict.fromkeys(("BACKGROUND", "REFERENCE", "MASK", "PLACEMENT_MASK"), "words")
    url = f"{server.http_url}/v2/models/composite_stream/generate_stream"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(given).encode()))
    assert "PLACEMENT_MASK and MASK are two names of one input" in refused.value.read().decode()


def test_cancelling_reaches_the_step_that_is_done(server):
    async def run():
        async with AsyncClient(server.grpc_url) as client:
            made = client.composite_stream(scene(), thing(), box=BOX, seed=7, steps=200)
            async for event in made:
                if event.stage == "denoising" and event.step >= 2:
                    break
            await made.aclose()
            # Of another size, and right: nothing of the stopped one is left.
            return await client.composite(scene(90, 150), thing(), box=(30, 20, 80, 80), seed=3)

    after = asyncio.run(run())
    with Client(server.grpc_url) as client:
        again = client.composite(scene(90, 150), thing(), box=(30, 20, 80, 80), seed=3)
        assert (after.image == again.image).all()
        assert client.composite(scene(), thing(), box=BOX, seed=7).report["seed"] == 7
    counted = [f'model="{model}",outcome="cancelled"' for model in ("composite_stream", "object_synthesizer_stream")]
    deadline, page = time.monotonic() + 30, ""
    while not all(words in page for words in counted):  # each when it has noticed
        assert time.monotonic() < deadline, page
        page = urllib.request.urlopen(server.metrics_url).read().decode()


def test_a_deadline_stops_the_work(server):
    with Client(server.grpc_url) as client:
        with pytest.raises(DeadlineExceeded):
            client.composite_stream(scene(), thing(), box=BOX, steps=200, timeout=1.5).result()
        assert client.composite(scene(), thing(), box=BOX, seed=7).image.shape == scene().shape


def test_a_full_queue_is_told(server):
    async def run():
        async with AsyncClient(server.grpc_url) as client:
            calls = [
                asyncio.ensure_future(anext(aiter(client.composite_stream(scene(), thing(), box=BOX, steps=200))))
                for _ in range(5)
            ]
            return await asyncio.gather(*calls, return_exceptions=True)

    assert any(isinstance(outcome, QueueFull) for outcome in asyncio.run(run()))


def test_memory_is_logged_and_exported_after_each_load_stage(server):
    page = urllib.request.urlopen(server.metrics_url).read().decode()
    assert 'atelier_memory_bytes{kind="host",model="object_synthesizer_stream",stage="ready"}' in page or (
        'model="object_synthesizer_stream"' in page and 'stage="ready"' in page
    )
    assert logged(server, "of host memory after ready")
    assert np.isfinite(float(page.split("atelier_memory_bytes{")[1].split("} ")[1].split("\n")[0]))
