"""FLUX.1-Fill on tiny checkpoints: what its pictures depend on, and that work can be stopped."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from diffusers import FluxFillPipeline, FluxPriorReduxPipeline
from PIL import Image

from atelier.compositing.neural import diptych
from atelier.compositing.neural.pictures import square
from atelier.compositing.neural.prompts import NEUTRAL
from atelier.compositing.neural.synthesis import NeuralSynthesizer
from atelier.errors import InvalidInput
from atelier.media.boxes import Box
from tests.compositing.neural.flux import RESOLUTION, an_object, job, scene, settings, write_all


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("flux"))


@pytest.fixture(scope="module")
def redux(folders):
    return NeuralSynthesizer(folders, settings())


@pytest.fixture(scope="module")
def alone(folders):
    return NeuralSynthesizer(folders, settings(identity="none"))


@pytest.fixture(scope="module")
def beside(folders):
    return NeuralSynthesizer(folders, settings(identity="diptych"))


def test_the_seed_decides(redux):
    (first, seed, _, _), (again, *_), (other, *_) = redux(job()), redux(job()), redux(job(seed=2))
    np.testing.assert_array_equal(first, again)
    assert seed == 1
    assert np.abs(first.astype(int) - other).mean() > 5


def test_a_seed_is_drawn_and_told(alone):
    first, drawn, _, _ = alone(job(seed=None))
    assert 0 <= drawn < 2**63
    np.testing.assert_array_equal(alone(job(seed=drawn))[0], first)
    assert alone(job(seed=None))[1] != drawn


def test_it_is_what_diffusers_own_pipeline_makes(folders, alone):
    pipe = FluxFillPipeline.from_pretrained(folders["checkpoint"], dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    asked = job(strength=0.8)
    rows, columns = asked.placement.crop.slices
    expected = pipe(
        prompt=asked.prompt,
        image=Image.fromarray(asked.placement.pre_composite[rows, columns]),
        mask_image=Image.fromarray(asked.placement.fill_mask[rows, columns]),
        height=80,
        width=96,
        strength=0.8,
        num_inference_steps=4,
        guidance_scale=30.0,
        generator=torch.Generator("cpu").manual_seed(1),
    ).images[0]
    np.testing.assert_allclose(alone(asked)[0].astype(int), np.asarray(expected), atol=1)


@pytest.mark.parametrize("size", [(70, 90), (33, 101), (16, 16), (5, 96), (300, 40)])
def test_the_crop_comes_back_at_its_own_size(alone, size):
    crop = Box(3, 4, *size)
    found, _, _, report = alone(job(crop, steps=1))
    assert found.shape == (*size, 3)
    assert found.dtype == np.uint8
    width, height = report.facts["size"]
    assert max(width, height) == RESOLUTION
    assert width % 16 == height % 16 == 0
    if min(size) > 30:
        assert width / height == pytest.approx(size[1] / size[0], rel=0.35)


def test_what_is_outside_the_crop_plays_no_part(alone):
    asked = job()
    crop = asked.placement.crop
    outside = np.full_like(asked.background, 77)
    outside[crop.slices] = asked.placement.pre_composite[crop.slices]
    changed = replace(asked, background=outside, placement=replace(asked.placement, pre_composite=outside))
    np.testing.assert_array_equal(alone(asked)[0], alone(changed)[0])


def test_only_less_than_full_strength_keeps_something_of_the_paste(alone):
    full = [alone(job(paste_seed=seed))[0] for seed in (5, 6)]
    half = [alone(job(paste_seed=seed, strength=0.5))[0] for seed in (5, 6)]
    np.testing.assert_array_equal(*full)
    assert np.abs(half[0].astype(int) - half[1]).mean() > 1


def test_the_scene_around_the_mask_is_seen(alone):
    first, other = (alone(job(background_seed=seed, paste_seed=9))[0] for seed in (0, 1))
    assert np.abs(first.astype(int) - other).mean() > 1


@pytest.mark.parametrize(
    ("steps", "strength", "done"), [(8, 0.5, 4), (4, 1.0, 4), (5, 0.3, 2), (3, 0.01, 1), (1, 0.5, 1)]
)
def test_the_steps_that_are_told_are_those_that_are_done(alone, steps, strength, done):
    told = []
    _, _, _, report = alone(job(steps=steps, strength=strength, on_progress=told.append))
    denoising = [(entry.step, entry.of) for entry in told if entry.stage == "denoising"]
    assert denoising == [(step, done) for step in range(done + 1)]
    assert [entry.stage for entry in told if entry.step == 0] == ["encoding", "denoising", "decoding"]
    assert sorted(entry.seconds for entry in told) == [entry.seconds for entry in told]
    assert report.facts["steps"] == done
    assert report.seconds.keys() == {"encoding", "denoising", "decoding"}


def test_a_korean_prompt_works_and_what_t5_does_not_know_is_told(alone):
    found, _, prompt, report = alone(job(prompt="탁자 위의 빨간 컵"))
    assert prompt == "탁자 위의 빨간 컵"
    assert np.abs(found.astype(int) - alone(job())[0]).max() > 0
    assert np.abs(found.astype(int) - alone(job(prompt="창가의 파란 컵"))[0]).max() > 0  # by CLIP, which reads bytes
    (warning,) = report.warnings
    assert warning == "T5 does not know 4 of the prompt's 9 tokens: English works better."


def test_a_prompt_that_is_too_long_is_cut_and_that_is_told(alone, caplog):
    text = "a cup, " * 120
    _, _, prompt, report = alone(job(prompt=text, steps=1))
    assert prompt == text.strip()
    clip, t5 = report.warnings
    assert clip.endswith("tokens; CLIP reads the first 77.")
    assert t5 == "The prompt has 841 tokens; T5 reads the first 512."
    assert "cup" not in caplog.text


def test_the_users_prompt_wins_then_the_scenes_then_a_neutral_one(alone):
    mine, seen = scene("a wooden table"), job(prompt=" ", scene=scene("a wooden table"), steps=1)
    assert alone(job(scene=mine, steps=1))[2] == "a red cup on a table"
    assert alone(seen)[2] == "a wooden table"
    assert alone(job(prompt="", scene=scene(" "), steps=1))[2] == NEUTRAL


def test_redux_shows_the_object(redux, alone):
    shown = [redux(job(object_seed=seed, paste_seed=0))[0] for seed in (5, 6)]
    hidden = [alone(job(object_seed=seed, paste_seed=0))[0] for seed in (5, 6)]
    np.testing.assert_array_equal(*hidden)
    assert np.abs(shown[0].astype(int) - shown[1]).max() > 0
    assert np.abs(shown[0].astype(int) - hidden[0]).mean() > 0.5
    assert redux(job(steps=1))[3].facts["identity"] == "redux"
    assert alone(job(steps=1))[3].facts["identity"] == "none"


def test_redux_puts_the_tokens_where_diffusers_own_pipeline_does(folders, redux):
    paint = redux._paint
    parts = {
        name: getattr(paint._pipe, name) for name in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    }
    prior = FluxPriorReduxPipeline.from_pretrained(folders["redux"], dtype=torch.float32, **parts)
    expected = prior(Image.fromarray(square(an_object())), prompt="a red cup on a table")
    tokens, pooled = paint._embeddings("a red cup on a table", job())
    assert tokens.shape == (1, 512 + 16, 64)
    torch.testing.assert_close(tokens, expected.prompt_embeds)
    torch.testing.assert_close(pooled, expected.pooled_prompt_embeds)


def test_the_diptych_shows_the_object_and_gives_the_scene_back(beside):
    found, _, prompt, report = beside(job(paste_seed=0))
    other = beside(job(object_seed=6, paste_seed=0))[0]
    assert found.shape == (80, 96, 3)
    assert prompt == diptych.prompt("a red cup on a table")
    assert np.abs(found.astype(int) - other).max() > 0
    assert report.facts["identity"] == "diptych"
    assert report.facts["size"] == [64, 48]  # of the half
    assert report.facts["image_tokens"] == 8 * 3


def test_the_halves_of_a_diptych():
    crop, mask = np.full((32, 48, 3), 50, np.uint8), np.full((32, 48), 255, np.uint8)
    picture, painted = diptych.join(an_object(height=10, width=10), crop, mask)
    assert picture.shape == (32, 96, 3)
    assert not painted[:, :48].any()
    assert painted[:, 48:].all()
    np.testing.assert_array_equal(diptych.right(picture), crop)
    assert (picture[:, :8] == 255).all()  # white beside the square object
    assert (picture[16:, 8:40] != 255).any()


class Stop(Exception):
    pass


@pytest.mark.parametrize("stage", ["encoding", "denoising", "decoding"])
def test_work_stops_in_every_stage_and_the_next_picture_of_another_size_is_right(folders, redux, stage):
    reached = []

    def check():
        if reached and reached[-1].stage == stage and (stage != "denoising" or reached[-1].step == 2):
            raise Stop

    with pytest.raises(Stop):
        redux(job(seed=7, prompt=f"stopped in {stage}", check=check, on_progress=reached.append))
    assert reached[-1].stage == stage
    other = job(Box(2, 3, 60, 44), seed=3)
    fresh = NeuralSynthesizer(folders, settings())
    np.testing.assert_array_equal(redux(other)[0], fresh(other)[0])


def test_previews_come_as_often_as_asked_and_the_last_one_is_the_picture(alone):
    told = []
    found, *_ = alone(job(preview_every=2, steps=5, on_progress=told.append))
    shown = {entry.step: entry.preview for entry in told if entry.preview is not None}
    assert shown.keys() == {2, 4}
    told.clear()
    found, *_ = alone(job(preview_every=2, on_progress=told.append))
    previews = [entry.preview for entry in told if entry.preview is not None]
    np.testing.assert_allclose(previews[-1].astype(int), found, atol=1)
    assert np.abs(previews[0].astype(int) - found).mean() > 1
    told.clear()
    np.testing.assert_array_equal(alone(job(on_progress=told.append))[0], found)  # and change nothing
    assert all(entry.preview is None for entry in told)


def test_a_preview_of_a_diptych_is_its_right_half(beside):
    told = []
    beside(job(preview_every=4, on_progress=told.append))
    (preview,) = (entry.preview for entry in told if entry.preview is not None)
    assert preview.shape == (48, 64, 3)


def test_previews_are_small(folders):
    told = []
    large = NeuralSynthesizer(folders, settings(identity="none", resolution=512))
    large(job(steps=1, preview_every=1, on_progress=told.append))
    (preview,) = (entry.preview for entry in told if entry.preview is not None)
    assert preview.shape == (216, 256, 3)  # of 432 x 512


def test_values_that_are_not_finite_are_no_picture(alone):
    with pytest.raises(InvalidInput, match="values that are not finite"):
        alone(job(guidance_scale=1e38))  # what is set is not that large
    np.testing.assert_array_equal(alone(job())[0], alone(job())[0])


def test_a_mask_that_is_elsewhere_is_refused(alone):
    asked = job()
    nothing = replace(asked.placement, fill_mask=np.zeros_like(asked.placement.fill_mask))
    with pytest.raises(InvalidInput, match="fill mask is empty inside the crop"):
        alone(replace(asked, placement=nothing))


def test_a_prompt_is_encoded_once(alone):
    calls = []
    hook = alone._paint._pipe.text_encoder_2.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        first = alone(job(prompt="only here"))[0]
        again = alone(job(prompt="only here"))[0]
    finally:
        hook.remove()
    assert len(calls) == 1
    np.testing.assert_array_equal(first, again)


def test_the_report_is_told_in_json_and_nothing_is_invented(redux):
    report = redux(job(steps=1))[3]
    assert json.loads(json.dumps(asdict(report)))["mode"] == "neural"
    assert report.models.keys() == {"flux.1-fill", "flux.1-redux"}
    for facts in report.models.values():
        assert len(facts["digest"]) == 64
        assert facts["licence"] == "FLUX.1 [dev] Non-Commercial"
    stages = ["transformer", "text_encoder_2", "text_encoder", "vae", "image_encoder", "image_embedder", "ready"]
    assert list(redux.loaded) == stages
    assert list(report.memory) == [*stages, "after"]
    assert all(entry.keys() == {"host"} for entry in report.memory.values())  # there is no GPU in it
    assert report.memory["after"]["host"] > 10**8


def test_no_gradients_are_kept(redux):
    redux(job(steps=1))
    pipe = redux._paint._pipe
    assert not any(
        p.requires_grad for name in ("transformer", "text_encoder_2", "vae") for p in getattr(pipe, name).parameters()
    )
    assert torch.is_grad_enabled()
