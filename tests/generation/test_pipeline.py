"""The pipeline against the golden runs: diffusers' and the official loop's."""

import io
import json
import math
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from atelier.errors import InvalidInput
from atelier.generation.adapters import AdapterStore
from atelier.generation.errors import LoraError
from atelier.generation.jobs import GenerationJob
from atelier.generation.loading import LoadOptions
from atelier.generation.pipeline import GenerationPipeline
from atelier.generation.settings import GenerationSettings
from tests.generation.conftest import GOLDEN

CALL = json.loads((GOLDEN / "expected.json").read_text())["call"]
TOLERANCE = 2e-3


def job(kind="t2v", scale=0.0, **changes):
    settings = {
        "frame_num": CALL["num_frames"],
        "size": f"{CALL['width']}*{CALL['height']}",
        "sample_steps": CALL["num_inference_steps"],
        "guidance_scale": CALL["guidance_scale"],
        "negative_prompt": CALL["negative_prompt"],
        "format": "frames",
    }
    image = (GOLDEN / "first_frame.png").read_bytes() if kind == "i2v" else None
    loras = [("epoch-0", scale)] if scale else []
    extra = {name: changes.pop(name) for name in ("check", "on_progress", "sources") if name in changes}
    return GenerationJob(CALL["prompt"], GenerationSettings(**settings | changes), image=image, loras=loras, **extra)


@pytest.mark.parametrize("kind", ["t2v", "i2v"])
@pytest.mark.parametrize("seed", [42, 123])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_diffusers_latents(pipeline, kind, seed, scale):
    with np.load(GOLDEN / "pipeline_io.npz") as golden:
        expected = golden[f"{kind}_seed{seed}_alpha{scale}_latents"]
    found = pipeline.latents(job(kind, scale, seed=seed, grid="diffusers"))
    assert np.abs(found - expected).max() < TOLERANCE


@pytest.mark.parametrize("kind", ["t2v", "i2v"])
@pytest.mark.parametrize("seed", [42, 123])
@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_the_official_loop_s_latents(pipeline, kind, seed, steps, scale):
    with np.load(GOLDEN / "official_parity.npz") as golden:
        expected = golden[f"{kind}_seed{seed}_steps{steps}_alpha{scale}_latents"]
    found = pipeline.latents(job(kind, scale, seed=seed, sample_steps=steps))
    assert np.abs(found - expected).max() < 1e-5  # what the facts call parity, not the looser tolerance of others


def test_guidance_of_one_leaves_the_negative_prompt_out(pipeline):
    found = pipeline(job(seed=1, guidance_scale=1.0, sources={"negative_prompt": "request"}))
    assert "NEGATIVE_PROMPT has no effect: GUIDANCE_SCALE is not above 1." in found.metadata["warnings"]
    other = pipeline(job(seed=1, guidance_scale=1.0, negative_prompt="something else"))
    assert found.video == other.video


class Stop(Exception):
    pass


@pytest.mark.parametrize("stage", ["denoising", "decoding", "encoding_video"])
@pytest.mark.parametrize("cache", [0.0, 0.2])
def test_work_stops_in_every_stage_and_the_next_video_of_another_size_is_right(stage, cache):
    options = LoadOptions(text_length=64, first_block_cache=cache)
    pipeline = GenerationPipeline.from_pretrained(GOLDEN / "pipeline", options, loras=GOLDEN / "lora")
    expected = pipeline(job(seed=1, size="64*96"))
    reached = []

    def check():
        if reached and reached[-1].stage == stage and reached[-1].step >= 1:
            raise Stop

    with pytest.raises(Stop):
        pipeline(job(seed=1, check=check, on_progress=reached.append))
    assert reached[-1].stage == stage
    assert reached[-1].step == 1
    assert pipeline(job(seed=1, size="64*96")).video == expected.video


def test_the_cache_is_left_off_with_adapters_and_that_is_said(pipeline):
    options = LoadOptions(text_length=64, first_block_cache=1.0)
    cached = GenerationPipeline.from_pretrained(GOLDEN / "pipeline", options, loras=GOLDEN / "lora")
    plain, fast = (p.latents(job(seed=1, sample_steps=20)) for p in (pipeline, cached))
    assert np.abs(plain - fast).max() > 1e-3
    adapted = cached(job(scale=1.0, seed=1))
    assert adapted.video == pipeline(job(scale=1.0, seed=1)).video
    assert "The first-block cache was left off: adapters are in use." in adapted.metadata["warnings"]
    np.testing.assert_array_equal(cached.latents(job(seed=1, sample_steps=20)), fast)


def test_half_precision_is_near(pipeline):
    options = LoadOptions(text_length=64, convert_model_dtype=True)
    half = GenerationPipeline.from_pretrained(GOLDEN / "pipeline", options, loras=GOLDEN / "lora")
    found, expected = (p.latents(job(scale=1.0, seed=1)) for p in (half, pipeline))
    assert np.abs(found - expected).mean() < 0.02


def test_several_prompts_at_once_are_as_each_by_itself(pipeline):
    jobs = [replace(job(scale=1.0, seed=seed), prompt=prompt) for seed, prompt in ((1, "a cat"), (2, "두 마리 개"))]
    assert jobs[0].kind == jobs[1].kind is not None
    single = [pipeline(entry).video for entry in jobs]
    for found, expected in zip(pipeline.together(jobs), single, strict=True):
        frames, wanted = (
            [np.asarray(Image.open(file)) for file in pictures(video)] for video in (found.video, expected)
        )
        assert np.abs(np.stack(frames).astype(int) - np.stack(wanted)).max() <= 1


def pictures(video):
    archive = zipfile.ZipFile(io.BytesIO(video))
    return [archive.open(name) for name in archive.namelist()]


def test_one_that_is_given_up_leaves_the_others(pipeline):
    steps = []

    def check():
        if len(steps) >= 3:
            raise Stop

    jobs = [job(seed=1, check=check, on_progress=steps.append), job(seed=2)]
    failure, made = pipeline.together(jobs)
    assert isinstance(failure, Stop)
    assert made.metadata["seed"] == 2
    assert made.metadata["frames"] == 9


@pytest.mark.parametrize("stage", ["encoding", "denoising", "decoding", "encoding_video"])
@pytest.mark.parametrize("place", [0, 1])
def test_one_that_is_given_up_at_any_stage_leaves_the_others(pipeline, stage, place):
    seen = []

    def check():
        if seen and seen[-1].stage == stage:
            raise Stop

    jobs = [job(seed=2), job(seed=2)]
    jobs[place] = job(seed=1, check=check, on_progress=seen.append)
    found = pipeline.together(jobs)
    assert isinstance(found[place], Stop)
    assert found[1 - place].metadata["frames"] == 9


def test_values_that_are_not_finite_are_no_black_video(pipeline):
    asked = job(seed=1)
    beyond = asked.settings.model_copy(update={"guidance_scale": 1e38})  # what is set is not that large
    with pytest.raises(InvalidInput, match="values that are not finite"):
        pipeline(replace(asked, settings=beyond))
    assert pipeline(job(seed=1)).metadata["frames"] == 9


@pytest.mark.parametrize("scale", [100.5, -1e30, math.inf])
def test_scales_beyond_use_are_refused(pipeline, scale):
    with pytest.raises(InvalidInput, match="-100 to 100 is accepted"):
        pipeline(job(scale=scale, seed=1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"offload_model": True}, "offload_model needs a GPU; device is cpu"),
        ({"group_offload": True}, "group_offload needs a GPU"),
        ({"fp8_storage": True}, "fp8_storage needs a GPU"),
        ({"quantisation": "nf4"}, "quantisation needs a GPU; device is cpu"),
        ({"device": "tpu9"}, "device is 'tpu9'"),
        ({"device": "cuda:7"}, "PyTorch finds no GPU here|cuda:7"),
        ({"first_block_cache": 0.1, "compile": True}, "exclude each other"),
        ({"attention": "warp"}, "attention is 'warp'"),
    ],
)
def test_what_this_machine_cannot_do_is_said(options, words):
    with pytest.raises(InvalidInput, match=words):
        GenerationPipeline.from_pretrained(GOLDEN / "pipeline", LoadOptions(**options))


def test_the_fixed_negative_prompt_is_encoded_once(pipeline):
    seen = []
    network = pipeline._text._network
    hook = network.register_forward_pre_hook(lambda *_: seen.append(1))
    try:
        pipeline.latents(job(seed=1, negative_prompt="only here"))
        first = len(seen)
        pipeline.latents(job(seed=2, negative_prompt="only here"))
    finally:
        hook.remove()
    assert first >= 1
    assert len(seen) == first


@pytest.fixture
def folder(tmp_path):
    state = load_file(GOLDEN / "lora" / "epoch-0.safetensors")
    for number in range(3):
        save_file(
            {key: t * (number + 1) if "lora_B" in key else t for key, t in state.items()},
            tmp_path / f"스타일.{number}.safetensors",
        )
    return tmp_path


def test_adapters_are_kept_within_the_limit_and_the_least_recently_used_goes(folder, pipeline):
    size = (folder / "스타일.0.safetensors").stat().st_size
    store = AdapterStore(folder, pipeline._transformer, limit=2 * size)
    assert store.names() == ["스타일.0", "스타일.1", "스타일.2"]
    for name in ("스타일.0", "스타일.1", "스타일.0", "스타일.2"):
        (report,), _ = store.use([(name, 0.5)])
        assert (report.name, report.scale) == (name, 0.5)
    assert list(store.sizes()) == ["스타일.0", "스타일.2"]
    reports, _ = store.use([("스타일.1", 1.0), ("스타일.2", 0.25)])
    assert [(report.name, report.scale) for report in reports] == [("스타일.1", 1.0), ("스타일.2", 0.25)]
    store.use([])
    with pytest.raises(InvalidInput, match="no adapter 'gone'; there are: 스타일.0"):
        store.use([("gone", 1.0)])
    with pytest.raises(InvalidInput, match="twice"):
        store.use([("스타일.1", 1.0), ("스타일.1", 1.0)])


def test_a_changed_file_is_read_again_and_one_that_fails_leaves_the_old_one(folder, pipeline):
    store = AdapterStore(folder, pipeline._transformer, limit=2**30)
    (first,), _ = store.use([("스타일.0", 1.0)])
    shutil.copy(folder / "스타일.1.safetensors", folder / "스타일.0.safetensors")
    (second,), warnings = store.use([("스타일.0", 1.0)])
    assert second.delta_norm == pytest.approx(2 * first.delta_norm)
    assert warnings == []
    (folder / "스타일.0.safetensors").write_bytes(b"cut")
    (third,), (warning,) = store.use([("스타일.0", 1.0)])
    assert third.sha256 == second.sha256
    assert "has changed and cannot be used" in warning
    (folder / "스타일.2.safetensors").write_bytes(b"cut")
    with pytest.raises(LoraError, match=r"스타일.2.safetensors cannot be read"):
        store.use([("스타일.2", 1.0)])
    (still,), _ = store.use([("스타일.1", 1.0)])
    assert still.modules_applied == 30
    store.use([])


def test_torch_keeps_no_gradients(pipeline):
    pipeline.latents(job(scale=1.0, seed=1))
    assert not any(parameter.requires_grad for parameter in pipeline._transformer.parameters())
    assert torch.is_grad_enabled()
