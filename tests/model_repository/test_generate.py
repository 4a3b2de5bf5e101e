"""`generate` and `generate_sync` on a real server, with the small golden pipeline."""

import asyncio
import io
import json
import time
import urllib.error
import urllib.request
import zipfile

import av
import numpy as np
import pytest
from PIL import Image

from atelier.client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    GenerateProgress,
    GenerateResult,
    InvalidRequest,
    QueueFull,
)
from tests.conftest import ROOT, logged

GOLDEN = ROOT / "tests" / "golden" / "wan"
CALL = json.loads((GOLDEN / "expected.json").read_text())["call"]
FRAME = GOLDEN / "first_frame.png"
LIKE_GOLDEN = {
    "negative_prompt": CALL["negative_prompt"],
    "guidance_scale": CALL["guidance_scale"],
    "grid": "diffusers",
    "format": "frames",
}


@pytest.fixture(scope="module")
def server(launch):
    settings = {
        "checkpoint": GOLDEN / "pipeline",
        "loras": GOLDEN / "lora",
        "sizes": "96*64,64*96,160*96",
        "size": "96*64",
        "frame_num": 9,
        "sample_steps": 5,
        "text_length": CALL["max_sequence_length"],
        "max_queue": 2,
    }
    environment = {f"ATELIER_GENERATE_{name.upper()}": str(value) for name, value in settings.items()}
    return launch(ROOT / "model_repository", models=("generate", "generate_sync"), environment=environment)


def frames_of(result):
    with zipfile.ZipFile(io.BytesIO(result.video)) as archive:
        return np.stack([np.asarray(Image.open(archive.open(name))) for name in archive.namelist()])


@pytest.mark.parametrize("kind", ["t2v", "i2v"])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_the_golden_frames_come_back(server, kind, scale):
    image, loras = (FRAME if kind == "i2v" else None), ({"epoch-0": scale} if scale else None)
    with Client(server.grpc_url) as client:
        result = client.generate(CALL["prompt"], image=image, loras=loras, seed=42, **LIKE_GOLDEN).result()
    with np.load(GOLDEN / "pipeline_io.npz") as golden:
        expected = golden[f"{kind}_seed42_alpha{scale}_frames"].astype(np.float64)
    assert np.abs(frames_of(result)[:, ::2, ::2] / 255 - expected).max() < 2e-3 + 0.5 / 255
    facts = result.metadata
    assert (facts["seed"], facts["frames"], facts["width"], facts["height"]) == (42, 9, 96, 64)
    assert [adapter["modules_applied"] for adapter in facts["adapters"]] == ([30] if scale else [])
    assert facts["settings"]["sample_steps"] == {"value": 5, "source": "environment"}
    assert facts["settings"]["guidance_scale"] == {"value": 5.0, "source": "request"}
    assert facts["settings"]["shift"] == {"value": 5.0, "source": "default"}


def test_progress_comes_in_order_and_the_video_last(server):
    with Client(server.grpc_url) as client:
        *progress, result = client.generate("고양이 두 마리가 권투를 한다", loras={"epoch-0": 0.7})
    assert all(isinstance(event, GenerateProgress) for event in progress)
    assert isinstance(result, GenerateResult)
    stages = list(dict.fromkeys(event.stage for event in progress))
    assert stages == ["queued", "encoding", "denoising", "decoding", "encoding_video"]
    steps = [event for event in progress if event.stage == "denoising"]
    assert [(event.step, event.of) for event in steps] == [(step, 5) for step in range(6)]
    assert steps[-1].left == 0
    assert result.metadata["prompt"] == "고양이 두 마리가 권투를 한다"
    assert set(result.metadata["seconds"]) == {"encoding", "denoising", "decoding", "encoding_video"}
    assert result.metadata["settings"]["seed"]["source"] == "drawn"
    assert result.metadata["memory"]["host"] > 10**8
    assert "gpu" not in result.metadata["memory"]


@pytest.mark.parametrize(("form", "codec"), [("mp4", "h264"), ("webm", "vp9")])
def test_videos_have_all_frames(server, form, codec, tmp_path):
    with Client(server.grpc_url) as client:
        result = client.generate("a cat", format=form, frame_num=13, size="64*96", fps=12).result()
    result.save(tmp_path / f"고양이.{form}")
    with av.open(str(tmp_path / f"고양이.{form}")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == (codec, 64, 96)
        assert stream.average_rate == 12
        assert len(list(container.decode(stream))) == 13


def test_the_seed_that_was_drawn_makes_the_video_again(server):
    with Client(server.grpc_url) as client:
        first = client.generate("a cat", format="frames").result()
        again = client.generate("a cat", format="frames", seed=first.metadata["seed"]).result()
        other = client.generate("a cat", format="frames").result()
    assert first.video == again.video
    assert first.video != other.video


def test_http_answers_at_once(server):
    with Client(server.http_url) as client:
        over_http = client.generate(CALL["prompt"], seed=42, loras={"epoch-0": 1.0}, **LIKE_GOLDEN).result()
        with pytest.raises(InvalidRequest, match="FRAME_NUM is 100; accepted: 4n \\+ 1"):
            client.generate("a cat", frame_num=100).result()
    with Client(server.grpc_url) as client:
        over_grpc = client.generate(CALL["prompt"], seed=42, loras={"epoch-0": 1.0}, **LIKE_GOLDEN).result()
    assert over_http.video == over_grpc.video


WRONG = [
    {"loras": {"gone": 1.0}},
    {"image": b"GIF89a"},
    {"loras": {"wrong_model": 1.0}},
    {"frame_num": 10},
    {"loras": {"epoch-0": 1e30}},
    {"loras": {"epoch-0": 1.0, "gone": 1.0}},
]


def test_what_is_refused_over_http_costs_nothing(server):
    """More refusals than `generate_sync` has instances, at every stage of the work: each is answered."""
    with Client(server.http_url, timeout=60) as client:
        for wrong in WRONG:
            with pytest.raises(InvalidRequest, match=r"accepted|there is no adapter|does not fit|no picture"):
                client.generate("a cat", **wrong).result()
        assert client.generate("a cat", seed=1).result().metadata["seed"] == 1


def test_many_short_requests_are_all_answered(server):
    with Client(server.grpc_url, timeout=60) as client:
        for seed in range(40):
            *progress, result = client.generate("a cat", seed=seed, sample_steps=1, frame_num=1, format="frames")
            assert progress[0].stage == "queued"
            assert "queued" not in [event.stage for event in progress[1:]]
            assert result.metadata["seed"] == seed


def test_http_streams_as_events(server):
    body = {"PROMPT": "a cat", "SEED": 3, "ENCODING": "base64", "FORMAT": "webm"}
    request = urllib.request.Request(
        f"{server.http_url}/v2/models/generate/generate_stream",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        events = [json.loads(line[6:]) for line in answer.read().decode().splitlines() if line.startswith("data: ")]
    assert json.loads(events[0]["PROGRESS"])["stage"] == "queued"
    assert "VIDEO" in events[-1]
    assert json.loads(events[-1]["METADATA"])["seed"] == 3


def test_adapters_over_json_are_lists_and_misspelt_settings_are_refused(server):
    body = {"PROMPT": "a cat", "ENCODING": "base64", "FRAME_NUM": 1, "LORA": ["epoch-0"], "LORA_SCALE": [0.5]}
    url = f"{server.http_url}/v2/models/generate_sync/generate"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=60) as answer:
        (adapter,) = json.loads(json.load(answer)["METADATA"])["adapters"]
    assert (adapter["name"], adapter["scale"], adapter["modules_applied"]) == ("epoch-0", 0.5, 30)
    for name in ("FRAMENUM", "frame_num"):
        request = urllib.request.Request(url, json.dumps(body | {name: 5}).encode())
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(request, timeout=60)


def test_a_picture_of_another_shape_keeps_it(server):
    picture = Image.fromarray(np.full((300, 100, 3), 128, np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6  # turned: 300 wide, 100 high
    packed = io.BytesIO()
    picture.save(packed, "JPEG", exif=exif)
    with Client(server.grpc_url) as client:
        facts = client.generate("a cat", image=packed.getvalue(), size="160*96").result().metadata
    assert (facts["width"], facts["height"]) == (192, 64)
    assert facts["mode"] == "image"


def test_cancelling_stops_the_work_and_the_next_request_of_another_size_is_right(server):
    with Client(server.grpc_url) as client:
        expected = client.generate("a cat", seed=1, size="64*96", format="frames").result()
        for event in client.generate("a cat", sample_steps=1000):
            if event.stage == "denoising" and event.step >= 2:
                break
        began = time.monotonic()
        after = client.generate("a cat", seed=1, size="64*96", format="frames").result()
    assert after.video == expected.video
    assert time.monotonic() - began < 60  # not after a thousand steps


@pytest.mark.parametrize(
    "wrong", [{"loras": {"gone": 1.0}}, {"loras": {"epoch-0": 1e30}}, {"image": FRAME.read_bytes()[:300]}]
)
def test_what_cannot_be_done_does_not_wait_for_its_turn(server, wrong):
    with Client(server.grpc_url) as client:
        working = iter(client.generate("a cat", sample_steps=1000))
        while next(working).stage != "denoising":
            pass
        with pytest.raises(InvalidRequest):
            client.generate("a cat", **wrong).result()
        assert next(working).stage == "denoising"
        working.close()  # cancels it


def test_a_deadline_stops_the_work(server):
    with Client(server.grpc_url) as client:
        with pytest.raises(DeadlineExceeded, match="within 2 s"):
            client.generate("a cat", sample_steps=1000, timeout=2).result()
        assert client.generate("a cat").result().metadata["frames"] == 9


def test_a_full_queue_refuses_and_those_that_wait_are_told_their_place(server):
    async def watch(client, seen, **settings):
        async for event in client.generate("a cat", **settings):
            seen.append(event)

    async def run():
        async with AsyncClient(server.grpc_url) as client:
            seen = [[], [], []]
            tasks = []
            for events in seen:
                tasks.append(asyncio.create_task(watch(client, events, sample_steps=1000)))
                while not any(e.stage == "denoising" for e in seen[0]) or not events:
                    await asyncio.sleep(0.05)
            with pytest.raises(QueueFull, match="maximum queue size"):
                await client.generate("a cat")
            positions = [[event.position for event in events if event.stage == "queued"] for events in seen]
            tasks[1].cancel()  # while it waits: its place goes to the next
            while not any(e.position == 1 for e in seen[2]):
                await asyncio.sleep(0.05)
                tasks[0].cancel()
                if any(e.stage == "denoising" for e in seen[2]):
                    break
            tasks[2].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return positions, await client.generate("a cat", seed=5)

    positions, after = asyncio.run(run())
    assert [first[0] for first in positions] == [0, 1, 2]
    assert after.metadata["seed"] == 5


BAD = {
    "an empty prompt": ({"prompt": "  "}, "PROMPT is empty"),
    "120 frames": ({"frame_num": 120}, "FRAME_NUM is 120; accepted: 4n \\+ 1, at least 1; the nearest are 117 and 121"),
    "no frames": ({"frame_num": 0}, "FRAME_NUM is 0; .* the nearest are 1 and 5"),
    "less than none": ({"frame_num": -3}, "FRAME_NUM is -3; .* the nearest are 1 and 5"),
    "too many frames": ({"frame_num": 1001}, "FRAME_NUM is 1001; 241 are the most"),
    "a size that is not listed": ({"size": "832*480"}, "SIZE is '832\\*480'; accepted: 96\\*64, 64\\*96, 160\\*96"),
    "no size": ({"size": "big"}, "SIZE is 'big'"),
    "no steps": ({"sample_steps": 0}, "SAMPLE_STEPS is 0; accepted"),
    "no number": ({"guidance_scale": float("nan")}, "GUIDANCE_SCALE is nan; accepted"),
    "an infinite one": ({"guidance_scale": float("inf")}, "GUIDANCE_SCALE is inf; accepted"),
    "a shift of 0": ({"shift": 0.0}, "SHIFT is 0.0; accepted"),
    "an unknown solver": ({"solver": "euler"}, "SOLVER is 'euler'; accepted"),
    "an unknown format": ({"format": "avi"}, "FORMAT is 'avi'; accepted"),
    "no frames a second": ({"fps": 0}, "FPS is 0; accepted"),
    "a crf beyond": ({"crf": 52}, "CRF is 52; accepted"),
    "no picture": ({"image": b"GIF89a"}, "IMAGE is no picture"),
    "an empty picture": ({"image": b" "}, "IMAGE is no picture"),
    "a cut picture": ({"image": FRAME.read_bytes()[:300]}, "IMAGE is damaged or cut off"),
    "an unknown adapter": ({"loras": {"gone": 1.0}}, "there is no adapter 'gone'; there are: epoch-0, wrong_model"),
    "a path": ({"loras": {"../lora/epoch-0": 1.0}}, "there is no adapter"),
    "another model's adapter": ({"loras": {"wrong_model": 1.0}}, "wrong_model.safetensors does not fit this network"),
    "a scale beyond use": ({"loras": {"epoch-0": 1e30}}, "-100 to 100 is accepted"),
    "a scale that is none": ({"loras": {"epoch-0": float("nan")}}, "scale of epoch-0.* is nan"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_done_is_refused_in_one_sentence(server, case):
    given, words = BAD[case]
    settings = {"prompt": "a cat", "seed": 42} | given
    with Client(server.grpc_url) as client, pytest.raises(InvalidRequest, match=words):
        client.generate(**settings).result()


def test_after_all_of_that_the_base_is_as_it_was(server):
    with Client(server.grpc_url) as client:
        result = client.generate(CALL["prompt"], seed=42, **LIKE_GOLDEN).result()
    with np.load(GOLDEN / "pipeline_io.npz") as golden:
        expected = golden["t2v_seed42_alpha0.0_frames"].astype(np.float64)
    assert np.abs(frames_of(result)[:, ::2, ::2] / 255 - expected).max() < 2e-3 + 0.5 / 255


def test_a_prompt_that_is_cut_is_reported(server):
    with Client(server.grpc_url) as client:
        facts = client.generate("고양이 " * 200).result().metadata
    assert any("tokens; the first 64 were used" in warning for warning in facts["warnings"])


def test_memory_is_logged_and_exported(server):
    assert logged(server, "MiB of host memory after transformer")
    with urllib.request.urlopen(server.metrics_url, timeout=10) as page:
        text = page.read().decode()
    stages = ("text_encoder", "transformer", "vae", "ready")
    for stage in stages:
        assert f'atelier_memory_bytes{{kind="host",model="generate",stage="{stage}"' in text
    assert 'kind="gpu"' not in text


def test_weights_that_are_missing_are_named(launch):
    server = launch(
        ROOT / "model_repository", models=("generate",), environment={"ATELIER_GENERATE_CHECKPOINT": "weights/gone"}
    )
    (state,) = [state for state in server.states() if state.name == "generate"]
    assert state.state != "READY"
    assert "weights/gone is missing, the folder of its weights" in state.reason


def test_who_gives_up_generate_sync_gives_up_the_video(server):
    def cancelled():
        page = urllib.request.urlopen(server.metrics_url).read().decode()
        counts = [line for line in page.splitlines() if 'model="generate",outcome="cancelled"' in line]
        return float(counts[0].split()[-1]) if counts else 0.0

    before = cancelled()
    inputs = {"PROMPT": np.array([["a cat"]], object), "SAMPLE_STEPS": np.array([[1000]], np.int32)}
    with Client(server.grpc_url) as client:
        with pytest.raises(DeadlineExceeded):
            client.infer("generate_sync", inputs, timeout=3)
        deadline = time.monotonic() + 60
        while cancelled() == before and time.monotonic() < deadline:
            time.sleep(0.2)
        assert cancelled() == before + 1
        assert client.generate("a cat").result().metadata["frames"] == 9
