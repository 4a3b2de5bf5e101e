import numpy as np
import pytest
import torch
from torch.nn import functional

from atelier.errors import InvalidInput
from atelier.matting.geometry import plan_geometry, prepare, restore, threshold


@pytest.mark.parametrize(
    ("source", "size", "longest", "resized"),
    [  # height, width; the figures of facts that were measured with torchvision
        ((1080, 1920), 720, 1024, (576, 1024)),
        ((720, 1280), 720, 1024, (576, 1024)),
        ((96, 128), 720, 1024, (720, 960)),
        ((1920, 1080), 720, 1024, (1024, 576)),
        ((1080, 1920), 720, 720, (405, 720)),  # what upstream refuses
        ((1080, 1920), 720, 512, (288, 512)),
        ((500, 500), 720, 1024, (720, 720)),
    ],
)
def test_sizes(source, size, longest, resized):
    geometry = plan_geometry(source, size, longest)
    assert geometry.resized == resized
    assert all(side % 32 == 0 and 0 <= side - inner < 32 for side, inner in zip(geometry.padded, resized, strict=True))
    assert geometry.latent == tuple(side // 8 for side in geometry.padded)


@pytest.mark.parametrize("source", [(1, 1), (1, 500), (2, 20000)])
def test_frames_that_cannot_be_resized_are_refused(source):
    with pytest.raises(InvalidInput, match=f"{source[1]}x{source[0]}"):
        plan_geometry(source, 96, 128)


@pytest.mark.parametrize(("height", "width"), [(144, 192), (50, 70), (97, 131)])
def test_resizing_is_pytorch_s_with_antialiasing(height, width):
    frame = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    geometry = plan_geometry((height, width), 96, 120)
    plane = torch.from_numpy(frame).permute(2, 0, 1)[None] / 255
    options = {"mode": "bilinear", "antialias": True, "align_corners": False}
    expected = functional.interpolate(plane, geometry.resized, **options)[0].numpy() * 2 - 1
    top, left = geometry.padding
    found = prepare([frame], geometry)[0]
    inner = found[:, top : top + geometry.resized[0], left : left + geometry.resized[1]]
    np.testing.assert_allclose(inner, expected, atol=3e-5)  # PyTorch's coefficients are float32
    outside = found.copy()
    outside[:, top : top + geometry.resized[0], left : left + geometry.resized[1]] = -1
    assert (outside == -1).all()  # black


@pytest.mark.parametrize(("height", "width"), [(144, 192), (50, 70), (97, 131)])
def test_restoring_is_pytorch_s_without_antialiasing(height, width):
    geometry = plan_geometry((height, width), 96, 120)
    alpha = np.random.default_rng(2).random((2, *geometry.padded), np.float32)
    top, left = geometry.padding
    inner = alpha[:, top : top + geometry.resized[0], left : left + geometry.resized[1]]
    expected = functional.interpolate(torch.from_numpy(inner)[:, None], (height, width), mode="bilinear")[:, 0]
    np.testing.assert_allclose(restore(alpha, geometry), expected, atol=2e-5)  # OpenCV's coefficients are float32


def test_thresholds():
    values = np.array([0, 25 / 255, 25.5 / 255, 0.5, 239.5 / 255, 240 / 255, 1], np.float32)
    found = threshold(values)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [0, 0, values[2], 0.5, values[4], 1, 1])
