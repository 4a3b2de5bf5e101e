"""`generate` over Wan's own layout, several prompts together, and a server that is stopped while a video is made."""

import asyncio
import contextlib
import io
import os
import shutil
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from atelier.client import AsyncClient, Client, QueueTimeout, ServerUnavailable
from atelier.generation.original import TEXT_ENCODER_FILE
from export.wan.synthetic import write
from tests.conftest import ROOT, sing

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

    def serve(layout, exit_timeout=10, models=("generate",), waits=3600, **settings):
        values = SETTINGS | {"checkpoint": layouts / layout} | settings
        environment = {f"ATELIER_GENERATE_{name.upper()}": str(value) for name, value in values.items()}
        environment["ATELIER_SYNC_GENERATE_TIMEOUT"] = str(waits)
        return launch(ROOT / "model_repository", models=models, environment=environment, exit_timeout=exit_timeout)

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


class Trap:
    """What runs code when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("kind", ["code", "cut"])
def test_a_checkpoint_that_is_none_is_a_failed_model(start, layouts, tmp_path, kind):
    """The server comes up, the model does not, nothing of the file is run, and a sentence says what is wrong."""
    folder, mark = tmp_path / "spoilt", tmp_path / "mark"
    shutil.copytree(layouts / "original", folder)
    file = folder / TEXT_ENCODER_FILE
    if kind == "code":
        torch.save({"token_embedding.weight": Trap(mark)}, file)
    else:
        file.write_bytes(file.read_bytes()[:-1000])
    server = start(folder)
    (state,) = (state for state in server.states() if state.name == "generate")
    assert state.state == "FAILED"
    assert file.name in state.reason
    assert "Traceback" not in state.reason
    assert not mark.exists()


def test_prompts_with_equal_settings_are_worked_on_together(start):
    prompts, seen = ["a cat", "두 마리 고양이", "a dog"], []

    async def watch(client, prompt, **settings):
        async for event in client.generate(prompt, **settings):
            seen.append((prompt, event.stage if hasattr(event, "stage") else "done"))
        return event

    async def run(url):
        async with AsyncClient(url) as client:
            first = asyncio.create_task(watch(client, "before", sample_steps=600))
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
    steps = [prompt for prompt, stage in seen if stage == "denoising" and prompt != "before"]
    assert set(steps[:4]) == {"a cat", "두 마리 고양이"}  # in turn, step by step


def test_a_request_waits_no_longer_than_it_may(start):
    server = start("diffusers", models=("generate", "generate_sync"), waits=4)
    with Client(server.grpc_url) as client, Client(server.http_url, timeout=60) as other:
        progress = iter(client.generate("a cat", sample_steps=1000))
        while next(progress).stage != "denoising":
            pass
        sing(server, "generate")  # answered while it works
        with pytest.raises(QueueTimeout, match="waited for its turn for longer"):
            other.generate("a dog").result()
        progress.close()  # cancels it
        assert other.generate("a dog", seed=4).result().metadata["seed"] == 4
    sing(server, "generate", "generate_sync")


def living(group):
    """Names of the processes of a group."""
    names = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                names.append(process.name())
    return names


def test_what_outlasts_the_time_at_the_end_is_ended(start):
    server = start("diffusers", exit_timeout=1, sizes="192*128", size="192*128")
    with Client(server.grpc_url) as client:
        progress = iter(client.generate("a cat", sample_steps=1000, frame_num=121))  # minutes, on any machine
        while next(progress).stage != "denoising":
            pass
        group = server.pid
        assert server.stop() != 0
        with pytest.raises(ServerUnavailable):
            list(progress)
    deadline = time.monotonic() + 10
    while living(group) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert living(group) == []


def test_a_server_that_is_stopped_finishes_its_video(start):
    server = start("diffusers", exit_timeout=60, max_queue=1)
    with Client(server.grpc_url) as client, ThreadPoolExecutor(1) as pool:
        progress = iter(client.generate("a cat", seed=1, sample_steps=100))
        while (event := next(progress)).stage != "denoising" or event.step < 2:
            pass
        waiting = iter(client.generate("a dog", seed=2))
        assert next(waiting).stage == "queued"  # the server has it before it is stopped
        stopped = pool.submit(server.stop)
        *_, result = progress
        assert frames_of(result).shape == (5, 64, 96, 3)
        *_, second = waiting
        assert second.metadata["seed"] == 2
        assert stopped.result() == 0
