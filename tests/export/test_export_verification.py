"""What tells a wrong artefact from a right one."""

import numpy as np
import pytest
from PIL import Image

from atelier.inpainting import load_generator
from export.errors import ExportError
from export.lama.pictures import Case, cases
from export.lama.targets import onnx_model, run_onnx
from export.lama.verify import TOLERANCE, compare, reference, refuse_differences, table, verify
from tests.golden.lama.cases import FOLDER

FP32 = TOLERANCE["fp32"]


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    mask = np.zeros((1, 64, 64), np.uint8)
    mask[:, 8:56, 8:56] = 1
    return Case("case", rng.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8), mask)


@pytest.fixture
def expected(case):
    answer = case.image.copy()
    answer[case.mask > 0] = 100
    return answer


def refusal(difference):
    with pytest.raises(ExportError) as caught:
        refuse_differences([difference], FP32)
    return str(caught.value)


def test_the_same_answer_is_accepted(case, expected):
    difference = compare(case, expected, expected, finite=True)
    assert (difference.max_levels, difference.share, difference.psnr) == (0, 0.0, None)
    assert difference.values == 48 * 48 * 3
    assert difference.violations(FP32) == []
    refuse_differences([difference], FP32)


def test_a_few_values_that_cross_a_whole_number_are_accepted(case, expected):
    found = expected.copy()
    found[0, 20, 20] += 1
    difference = compare(case, expected, found, finite=True)
    assert difference.max_levels == 1
    assert difference.share == pytest.approx(1 / 48**2)
    assert difference.rmse == pytest.approx(1 / 48)
    assert difference.psnr == pytest.approx(20 * np.log10(255 * 48))
    assert difference.violations(FP32) == []
    refuse_differences([difference], FP32)


def test_what_is_refused(case, expected):
    known = expected.copy()
    known[0, 0, 0, 0] ^= 1
    assert "pixels outside the hole are changed" in refusal(compare(case, expected, known, finite=True))

    far = expected.copy()
    far[0, 20, 20, 0] += 2
    assert "on case, a value differs by 2 levels (accepted: 1)" in refusal(compare(case, expected, far, finite=True))

    many = expected.copy()
    many[0, 20:22, 20:24] += 1
    assert "over all cases, 0.35% of the values differ (accepted: 0.10%)" in refusal(
        compare(case, expected, many, finite=True)
    )

    black = np.where(case.mask[..., None] > 0, 0, case.image).astype(np.uint8)
    assert "the hole is painted black" in refusal(compare(case, expected, black, finite=True))
    assert "the network's output is not finite" in refusal(compare(case, expected, expected, finite=False))
    with pytest.raises(ExportError, match=r"answers uint8 \[1, 56, 64, 3\] to case, not \[1, 64, 64, 3\]"):
        compare(case, expected, expected[:, :56], finite=True)
    with pytest.raises(ExportError, match="answers float32"):
        compare(case, expected, expected.astype(np.float32), finite=True)


def test_one_value_of_a_small_hole_is_no_large_share(case, expected):
    """One value is two percent of a tiny hole; among all cases it counts as one value."""
    mask = np.zeros_like(case.mask)
    mask[0, 20:24, 20:24] = 1
    small = Case("small", case.image, mask)
    answer = np.where(mask[..., None] > 0, 100, case.image).astype(np.uint8)
    found = answer.copy()
    found[0, 20, 20, 0] += 1
    entry = compare(small, answer, found, finite=True)
    assert entry.share > FP32.max_share
    with pytest.raises(ExportError, match="over all cases"):
        refuse_differences([entry], FP32)
    refuse_differences([entry] + [compare(case, expected, expected, finite=True)] * 8, FP32)


def test_a_black_hole_is_accepted_where_the_checkpoint_paints_one(case):
    black = np.where(case.mask[..., None] > 0, 0, case.image).astype(np.uint8)
    assert compare(case, black, black, finite=True).violations(FP32) == []


def test_an_artefact_of_other_weights_is_refused(tmp_path):
    """The golden network's picture against the same network with one convolution 1 % stronger."""
    generator = load_generator(FOLDER)
    generator.model[5].conv1.ffc.convg2g.fu.conv_layer.weight *= 1.01
    (tmp_path / "model.onnx").write_bytes(onnx_model(generator, "fp32"))
    pictures = list(cases(tmp_path))[:2]
    differences = verify(run_onnx(tmp_path / "model.onnx"), load_generator(FOLDER), "fp32", pictures)
    assert [difference.case for difference in differences] == ["gradient 96x64", "text 128x128"]
    with pytest.raises(ExportError, match=r"was not kept: on gradient 96x64, .*; and more, in 2 other place\(s\)\."):
        refuse_differences(differences, FP32)
    assert table(differences, FP32).row_count == 3


def test_the_pictures_cover_what_broke_exports_elsewhere(tmp_path):
    pictures = list(cases(tmp_path / "missing"))
    assert len({case.name for case in pictures}) == len(pictures) >= 7
    sizes = {case.image.shape[:3] for case in pictures}
    assert any(batch > 1 for batch, _, _ in sizes)
    assert any(height // 8 % 2 and width // 8 % 2 for _, height, width in sizes)
    assert (1, 16, 16) in sizes
    assert any((case.image == 255).all() for case in pictures)
    assert {0, 1, 127, 255} <= {value for case in pictures for value in np.unique(case.mask)}
    for case in pictures:
        assert case.image.dtype == case.mask.dtype == np.uint8
        assert case.image.shape == (*case.mask.shape, 3)
        assert not any(side % 8 for side in case.mask.shape[1:])


def test_real_pictures_are_used_where_there_are_some(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "pages").mkdir()
    for name, height, width in (("b.png", 301, 77), ("pages/a.jpg", 90, 400), ("b_mask.png", 64, 64)):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    found = {case.name: case.image.shape for case in cases(tmp_path) if case.name.startswith("samples/")}
    assert found == {"samples/b.png": (1, 256, 72, 3), "samples/a.jpg": (1, 88, 256, 3)}


def test_the_reference_is_upstreams_answer():
    """Truncated, not rounded; known pixels as they were."""
    generator = load_generator(FOLDER)
    case = next(cases(FOLDER / "missing"))
    answer = reference(generator, case)
    np.testing.assert_array_equal(answer[case.mask == 0], case.image[case.mask == 0])
    generator.model[-2].weight.zero_()
    generator.model[-2].bias.fill_(0.0)  # a sigmoid of 0 is 127.5 levels
    np.testing.assert_array_equal(reference(generator, case)[case.mask > 0], 127)
