"""SAM 2, and the extractor that puts it and BiRefNet together."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from atelier.compositing.jobs import ExtractionJob
from atelier.compositing.neural.cutout import NeuralExtractor, alpha_at, alpha_in_mask
from atelier.compositing.neural.sam2 import Sam2
from atelier.compositing.settings import ExtractorSettings
from atelier.errors import CheckpointError, InvalidInput
from export.compositing.networks import sam2_config


@pytest.fixture(scope="module")
def sam2(tiny):
    return Sam2(tiny / "sam2", "cpu")


def extractor(tiny, *keys, **settings):
    folders = {key: tiny / ("birefnet" if key == "rmbg" else key) for key in keys}
    return NeuralExtractor(folders, ExtractorSettings(device="cpu", **settings))


def test_sam2_answers_points_boxes_and_both(sam2, picture):
    answers = [
        sam2(picture, point=(60.0, 45.0)),
        sam2(picture, box=(30.0, 15.0, 90.0, 75.0)),
        sam2(picture, point=(60.0, 45.0), box=(30.0, 15.0, 90.0, 75.0)),
    ]
    for mask, overlap in answers:
        assert (mask.shape, mask.dtype) == ((91, 140), bool)
        assert 0 <= overlap <= 1
    assert len({mask.tobytes() for mask, _ in answers}) == 3
    np.testing.assert_array_equal(sam2(picture, point=(60.0, 45.0))[0], answers[0][0])


def test_sam2_is_not_asked_about_nothing(sam2, picture):
    with pytest.raises(InvalidInput, match="needs a point or a box"):
        sam2(picture)


def test_points_are_where_they_are_in_pictures_of_any_shape(sam2, picture):
    """The network sees a square: the same place of a picture and of one twice as wide give the same answer."""
    wide = np.repeat(picture, 2, axis=1)
    mask, overlap = sam2(picture, point=(40.0, 60.0))
    again, other = sam2(wide, point=(80.0, 60.0))
    assert again.shape == (91, 280)
    assert other == pytest.approx(overlap, abs=0.02)
    assert (again[:, ::2] == mask).mean() > 0.98


def test_of_three_masks_the_most_trusted_is_taken(sam2, picture):
    point = torch.tensor([[[[60.0 * 64 / 140, 45.0 * 64 / 91]]]])
    with torch.inference_mode():
        found = sam2._model(pixel_values=sam2._pixels(picture), input_points=point)
    scores = found.iou_scores[0, 0]
    assert scores.numel() == 3
    assert scores.unique().numel() == 3
    assert sam2(picture, point=(60.0, 45.0))[1] == pytest.approx(float(scores.max().clamp(0, 1)), abs=1e-5)


def test_other_folders_are_refused(tiny, tmp_path):
    with pytest.raises(CheckpointError, match="describes a qwen2_vl; accepted: sam2, sam2_video"):
        Sam2(tiny / "qwen2-vl", "cpu")
    folder = tmp_path / "sam2"
    shutil.copytree(tiny / "sam2", folder)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    with pytest.raises(CheckpointError, match=r"sam2/model.safetensors cannot be read"):
        Sam2(folder, "cpu")
    shutil.copy(tiny / "birefnet" / "model.safetensors", weights)
    with pytest.raises(CheckpointError, match=r"The checkpoint in sam2 lacks \d+ tensor\(s\)"):
        Sam2(folder, "cpu")
    weights.write_bytes(content)
    broken = sam2_config("tiny")
    broken["vision_config"]["backbone_config"]["embed_dim_per_stage"] = [8, 16, 24, 64]
    (folder / "config.json").write_text(json.dumps(broken))
    with pytest.raises(CheckpointError, match="sam2") as refused:
        Sam2(folder, "cpu")
    assert str(tmp_path) not in str(refused.value)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"lacks 1 file\(s\): model.safetensors"):
        Sam2(folder, "cpu")


def test_without_a_prompt_the_remover_works_alone(tiny, picture):
    found = extractor(tiny, "birefnet", "sam2")
    assert set(found.loaded) == {"birefnet", "sam2"}
    alpha, report = found(ExtractionJob(picture))
    assert (alpha.shape, alpha.dtype) == ((91, 140), np.uint8)
    assert (report.mode, report.facts["method"], report.warnings) == ("neural", "alone", [])
    assert set(report.models) == {"background_remover"}
    assert report.models["background_remover"]["licence"] == "MIT"
    assert report.memory["extraction"]["host"] > 0
    assert "gpu" not in report.memory["extraction"]  # there is none, and none is invented
    assert report.seconds["alpha"] > 0


def test_with_a_prompt_both_work(tiny, picture):
    alpha, report = extractor(tiny, "birefnet", "sam2")(ExtractionJob(picture, box=(30.0, 15.0, 90.0, 75.0)))
    assert alpha.shape == (91, 140)
    assert set(report.models) == {"background_remover", "prompted_segmenter"}
    assert report.models["prompted_segmenter"]["licence"] == "Apache-2.0"
    assert report.facts["method"] in ("prompted", "mask")
    assert set(report.seconds) == {"mask", "alpha"}


def test_rmbg_says_that_it_is_for_non_commercial_use(tiny, picture):
    _, report = extractor(tiny, "rmbg", background_remover="rmbg-2.0")(ExtractionJob(picture))
    assert report.models["background_remover"]["licence"] == "CC BY-NC 4.0"
    assert "non-commercial use alone" in report.warnings[0]
    with pytest.raises(InvalidInput, match="no weights of rmbg-2.0, which background_remover asks for"):
        extractor(tiny, "birefnet", background_remover="rmbg-2.0")


def opaque(seen):
    return np.full(seen.shape[:2], 200, np.uint8)


def nothing(seen):
    return np.zeros(seen.shape[:2], np.uint8)


def test_the_remover_sees_the_masks_surroundings_and_does_not_leave_the_mask(picture):
    mask = np.zeros((91, 140), bool)
    mask[20:60, 30:90] = True
    shown = []
    alpha, agreed = alpha_in_mask(picture, mask, lambda seen: shown.append(seen) or opaque(seen))
    assert len(shown) == 1
    np.testing.assert_array_equal(shown[0], picture[12:68, 22:98])
    assert (alpha[mask] == 200).all()
    assert alpha[19, 60] == 200  # hair
    assert not alpha[:15].any()
    assert not alpha[:, :25].any()
    assert agreed


def test_what_the_remover_does_not_see_has_the_masks_edge(picture):
    mask = np.zeros((91, 140), bool)
    mask[20:60, 30:90] = True
    alpha, agreed = alpha_in_mask(picture, mask, nothing)
    assert not agreed
    assert alpha[40, 60] == 255
    assert 0 < alpha[20, 60] < 255
    assert not alpha[:18].any()


def test_an_empty_mask_is_refused(picture):
    with pytest.raises(InvalidInput, match="Nothing was found at REFERENCE_POINT or in REFERENCE_BOX"):
        alpha_in_mask(picture, np.zeros((91, 140), bool), opaque)


def two_parts(seen):
    alpha = nothing(seen)
    alpha[10:30, 10:30] = 255
    alpha[50:70, 80:120] = 255
    alpha[40, :] = 2  # a haze, which joins nothing
    return alpha


def test_without_sam2_a_point_picks_a_part(picture):
    alpha = alpha_at(picture, None, (100.0, 60.0), two_parts)
    assert (alpha[50:70, 80:120] == 255).all()
    assert np.count_nonzero(alpha) == 20 * 40
    np.testing.assert_array_equal(alpha_at(picture, None, (119.5, 69.5), two_parts), alpha)
    with pytest.raises(InvalidInput, match="REFERENCE_POINT is on the background"):
        alpha_at(picture, None, (5.0, 5.0), two_parts)


def test_without_sam2_a_box_limits(picture):
    shown = []
    alpha = alpha_at(picture, (20.2, 10.0, 80.0, 50.5), None, lambda seen: shown.append(seen.shape) or opaque(seen))
    assert shown == [(51 - 10 + 8 + 8, 80 - 20 + 8 + 8, 3)]
    expected = np.zeros((91, 140), np.uint8)
    expected[10:51, 20:80] = 200
    np.testing.assert_array_equal(alpha, expected)


def test_without_sam2_the_report_says_so(tiny, picture):
    _, report = extractor(tiny, "birefnet")(ExtractionJob(picture, box=(20.2, 10.0, 80.0, 50.5)))
    assert report.warnings == ["There are no weights of SAM 2: the object was found by itself, then cut to the box."]
    assert report.facts["method"] == "alone, limited"


@pytest.mark.parametrize("prompt", [{}, {"point": (60.0, 45.0)}])
def test_it_stops_when_it_is_told_to(tiny, picture, prompt):
    calls = SimpleNamespace(left=0 if not prompt else 1)

    def check():
        if calls.left == 0:
            raise KeyboardInterrupt
        calls.left -= 1

    with pytest.raises(KeyboardInterrupt):
        extractor(tiny, "birefnet", "sam2")(ExtractionJob(picture, check=check, **prompt))


@pytest.mark.parametrize("height, width", [(1, 1), (2, 300), (257, 3)])
def test_odd_pictures_have_alphas_of_their_size(tiny, sam2, height, width):
    odd = np.full((height, width, 3), 90, np.uint8)
    assert extractor(tiny, "birefnet")(ExtractionJob(odd))[0].shape == (height, width)
    assert sam2(odd, point=(0.0, 0.0))[0].shape == (height, width)
