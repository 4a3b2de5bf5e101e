"""FLUX.2 klein on a tiny checkpoint."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinInpaintPipeline
from PIL import Image

from atelier.compositing.neural.pictures import on_white
from atelier.compositing.neural.synthesis import NeuralSynthesizer
from atelier.media.boxes import Box
from tests.compositing.neural.flux import an_object, job, settings, write_all


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("flux"))


@pytest.fixture(scope="module")
def klein(folders):
    return NeuralSynthesizer({"klein": folders["klein"]}, settings(network="flux.2-klein"))


@pytest.fixture(scope="module")
def guided(folders, tmp_path_factory):
    """Of a checkpoint that is not distilled, as FLUX.2-klein-base-4B is not."""
    folder = shutil.copytree(folders["klein"], tmp_path_factory.mktemp("base") / "klein")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"is_distilled": False}))
    return NeuralSynthesizer({"klein": folder}, settings(network="flux.2-klein"))


def mean(first, second):
    return np.abs(first.astype(int) - second).mean()


def test_the_seed_decides(klein):
    first, again, other = klein(job())[0], klein(job())[0], klein(job(seed=2))[0]
    np.testing.assert_array_equal(first, again)
    assert mean(first, other) > 2


@pytest.mark.parametrize("distilled", [True, False])
def test_it_is_what_diffusers_own_pipeline_makes(folders, klein, guided, distilled):
    pipe = Flux2KleinInpaintPipeline.from_pretrained(folders["klein"], dtype=torch.float32, is_distilled=distilled)
    pipe.set_progress_bar_config(disable=True)
    asked = job(strength=0.8, guidance_scale=4.0)
    rows, columns = asked.placement.crop.slices
    expected = pipe(
        prompt=asked.prompt,
        image=Image.fromarray(asked.placement.pre_composite[rows, columns]),
        mask_image=Image.fromarray(asked.placement.fill_mask[rows, columns]),
        image_reference=Image.fromarray(on_white(an_object(), 80, 96)),
        strength=0.8,
        num_inference_steps=4,
        guidance_scale=4.0,
        generator=torch.Generator("cpu").manual_seed(1),
    ).images[0]
    found = (klein if distilled else guided)(asked)[0]
    np.testing.assert_allclose(found.astype(int), np.asarray(expected), atol=1)


def test_the_object_is_shown_unless_it_is_not_wanted(folders, klein):
    hidden = NeuralSynthesizer(folders, settings(network="flux.2-klein", identity="none"))
    shown = [klein(job(object_seed=seed, paste_seed=0)) for seed in (5, 6)]
    unseen = [hidden(job(object_seed=seed, paste_seed=0)) for seed in (5, 6)]
    assert mean(shown[0][0], shown[1][0]) > 0.1
    np.testing.assert_array_equal(unseen[0][0], unseen[1][0])
    assert (shown[0][3].facts["identity"], unseen[0][3].facts["identity"]) == ("reference", "none")


def test_guidance_counts_where_it_can_and_else_that_is_told(klein, guided):
    np.testing.assert_array_equal(klein(job(guidance_scale=4.0))[0], klein(job(guidance_scale=9.0))[0])
    assert any("guidance_scale has no effect" in warning for warning in klein(job(steps=1))[3].warnings)
    assert klein(job(steps=1, guidance_scale=1.0))[3].warnings == []
    first, other = guided(job(guidance_scale=4.0)), guided(job(guidance_scale=9.0))
    assert mean(first[0], other[0]) > 0.1
    assert first[3].warnings == []
    assert guided(job(steps=1))[3].warnings == [
        "guidance_scale is 30, which is of FLUX.1-Fill's kind; FLUX.2 klein's is about 4."
    ]


def test_a_korean_prompt_is_read_and_a_long_one_is_cut(klein):
    first, other = (klein(job(prompt=prompt))[0] for prompt in ("탁자 위의 빨간 컵", "창가의 파란 컵"))
    assert np.abs(first.astype(int) - other).max() > 0
    warnings = klein(job(prompt="컵 " * 200, steps=1, guidance_scale=1.0))[3].warnings
    assert len(warnings) == 1
    assert warnings[0].endswith("tokens; Qwen3 reads the first 512.")


@pytest.mark.parametrize("size", [(70, 90), (33, 101), (7, 96)])
def test_the_crop_comes_back_at_its_own_size(klein, size):
    assert klein(job(Box(3, 4, *size), steps=1))[0].shape == (*size, 3)


def test_the_last_preview_is_the_picture(klein):
    told = []
    found = klein(job(preview_every=4, on_progress=told.append))[0]
    (preview,) = (entry.preview for entry in told if entry.preview is not None)
    np.testing.assert_allclose(preview.astype(int), found, atol=1)


class Stop(Exception):
    pass


def test_work_stops_between_steps_and_the_next_picture_of_another_size_is_right(folders, klein):
    told = []

    def check():
        if told and told[-1].stage == "denoising" and told[-1].step == 2:
            raise Stop

    with pytest.raises(Stop):
        klein(job(seed=7, check=check, on_progress=told.append))
    other = job(Box(2, 3, 60, 44), seed=3)
    fresh = NeuralSynthesizer(folders, settings(network="flux.2-klein"))
    np.testing.assert_array_equal(klein(other)[0], fresh(other)[0])


def test_weights_in_8_bits_and_groups_on_the_host(folders, klein):
    few = NeuralSynthesizer(folders, settings(network="flux.2-klein", quantisation="torchao-int8", offload="group"))
    found, expected = few(job()), klein(job())
    assert 0 < mean(found[0], expected[0]) < 6
    after, before = (entry[3].models["flux.2-klein"] for entry in (found, expected))
    assert after["licence"] == "Apache-2.0"
    assert after["bytes"]["transformer"] < 0.3 * before["bytes"]["transformer"]
    assert after["bytes"]["text_encoder"] < before["bytes"]["text_encoder"]
