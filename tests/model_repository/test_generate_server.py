"""`generate` over Wan's own layout, several prompts together, and a server that is stopped while a video is made."""

import asyncio
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from atelier.client import AsyncClient, Client
from export.wan.synthetic import write
from tests.conftest import ROOT

SETTINGS = {"sizes": "96*64", "size": "96*64", "frame_num": 5, "sample_steps": 4, "text_length": 64, "format": "frames"}


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """The same random weights in both published layouts."""
    folder = tmp_path_factory.mktemp("wan")
    for layout in ("diffusers", "original"):
        write("tiny", folder / layout, 0, layout)
    return folder


@pytest.fixture(scope="module")
def start(launch, layouts):
    """``start(layout, name=value, …)``: a server of ``generate`` with these settings."""

    def serve(layout, exit_timeout=10, **settings):
        values = SETTINGS | {"checkpoint": layouts / layout} | settings
        environment = {f"ATELIER_GENERATE_{name.upper()}": str(value) for name, value in values.items()}
        return launch(
            ROOT / "model_repository", models=("generate",), environment=environment, exit_timeout=exit_timeout
        )

    return serve


def frames_of(result):
    with zipfile.ZipFile(io.BytesIO(result.video)) as archive:
        return np.stack([np.asarray(Image.open(archive.open(name))) for name in archive.namelist()]).astype(int)


def test_wans_own_layout_gives_the_same_video(start):
    videos = {}
    for layout in ("diffusers", "original"):
        with Client(start(layout).grpc_url) as client:
            videos[layout] = client.generate("고양이", seed=3).result()
    assert np.abs(frames_of(videos["diffusers"]) - frames_of(videos["original"])).max() <= 1
    assert frames_of(videos["original"]).std() > 1


def test_prompts_with_equal_settings_are_worked_on_together(start):
    prompts, seen = ["a cat", "두 마리 고양이", "a dog"], []

    async def watch(client, prompt, **settings):
        async for event in client.generate(prompt, **settings):
            seen.append((prompt, event.stage if hasattr(event, "stage") else "done"))
        return event

    async def run(url):
        async with AsyncClient(url) as client:
            first = asyncio.create_task(watch(client, "before", sample_steps=200))
            while ("before", "denoising") not in seen:
                await asyncio.sleep(0.05)
            waiting = [watch(client, prompt, seed=seed) for seed, prompt in enumerate(prompts)]
            together = await asyncio.gather(*waiting)
            await first
            alone = [await client.generate(prompt, seed=seed) for seed, prompt in enumerate(prompts)]
            return together, alone

    together, alone = asyncio.run(run(start("diffusers", max_together=2).grpc_url))
    for one, other in zip(together, alone, strict=True):
        assert np.abs(frames_of(one) - frames_of(other)).max() <= 1  # sums of a batch are not those of one
    steps = [prompt for prompt, stage in seen if stage == "denoising"]
    assert set(steps[steps.index("a cat") :][:4]) == {"a cat", "두 마리 고양이"}  # in turn, step by step


def test_a_server_that_is_stopped_finishes_its_video(start):
    server = start("diffusers", exit_timeout=60, max_queue=1)
    with Client(server.grpc_url) as client, ThreadPoolExecutor(2) as pool:
        progress = iter(client.generate("a cat", seed=1, sample_steps=100))
        while (event := next(progress)).stage != "denoising" or event.step < 2:
            pass
        waiting = pool.submit(client.generate("a dog", seed=2).result)
        stopped = pool.submit(server.stop)
        *_, result = progress
        assert frames_of(result).shape == (5, 64, 96, 3)
        assert waiting.result().metadata["seed"] == 2
        assert stopped.result() == 0
