import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atelier.errors import InvalidInput
from atelier.inpainting import GeneratorConfig, LamaGenerator, load_generator
from atelier.inpainting.fourier import plan
from tests.golden.lama.cases import HOT, NAMES, golden

ATOL = 2e-5  # float32 variants that are all correct differ by up to 3.4e-6 on these networks
TRANSFORMS = ["fft", "matmul"]


def test_every_golden_case_is_there():
    assert len(NAMES) == 13
    assert sum(name.startswith("hot/") for name in NAMES) == 2


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", NAMES)
def test_upstreams_prediction(name, transform):
    case = golden(name)
    generator = load_generator(case.checkpoint, transform=transform)
    image, mask = case.tensors
    with torch.inference_mode():
        predicted, inpainted = generator.predict(image, mask), generator(image, mask)
    np.testing.assert_allclose(predicted.numpy(), case.predicted, rtol=0, atol=ATOL)
    np.testing.assert_allclose(inpainted.numpy(), case.inpainted, rtol=0, atol=ATOL)

    levels = case.cut((inpainted * 255).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())
    gap = np.abs(levels.astype(int) - case.levels)
    assert gap.max() <= 1
    assert (gap > 0).sum() <= max(2, 1e-3 * gap.size)  # one value of a small picture is a large share of it
    known = case.cut(case.mask) == 0
    np.testing.assert_array_equal(levels[known], case.cut(case.image)[known])


def spectrum_by_numpy(features):
    full = np.fft.rfft2(features, norm="ortho")
    return np.stack([full.real, full.imag], axis=2).reshape(features.shape[0], -1, *full.shape[2:])


def features_by_numpy(spectrum, width):
    """Complex inverse over the height, real inverse over the width, without the imaginary parts that cannot be."""
    columns = np.fft.ifft(spectrum[:, 0::2] + 1j * spectrum[:, 1::2], axis=-2, norm="ortho")
    columns[..., 0] = columns[..., 0].real
    if width % 2 == 0:
        columns[..., -1] = columns[..., -1].real
    return np.fft.irfft(columns, n=width, axis=-1, norm="ortho")


@pytest.mark.parametrize("transform", TRANSFORMS)
@given(height=st.integers(2, 24), width=st.integers(2, 24), seed=st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_the_transform_of_any_size_and_of_spectra_that_no_picture_has(transform, height, width, seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, 3, height, width))
    spectrum = rng.normal(size=(2, 6, height, width // 2 + 1))  # not Hermitian
    made = plan(transform, torch.empty(height, width))
    forward = made.forward(torch.from_numpy(features).float())
    inverse = made.inverse(torch.from_numpy(spectrum).float())
    np.testing.assert_allclose(forward.numpy(), spectrum_by_numpy(features), rtol=0, atol=1e-5)
    np.testing.assert_allclose(inverse.numpy(), features_by_numpy(spectrum, width), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("hot/")])
def test_a_fourier_unit_in_half_precision_overflows(name):
    """Why the exporter keeps it in float32: the same network, the same pictures, nothing but NaN."""
    case = golden(name)
    generator = load_generator(HOT, transform="matmul").half()
    image, mask = (tensor.half() for tensor in case.tensors)
    with torch.inference_mode():
        assert not torch.isfinite(generator.predict(image, mask)).any()


@pytest.mark.parametrize(
    ("blocks", "entries", "parameters"), [(18, 989, 50_975_875), (9, 521, 27_048_835)], ids=["big-lama", "lama-fourier"]
)
def test_the_published_networks_have_the_published_size(blocks, entries, parameters):
    with torch.device("meta"):
        generator = LamaGenerator(GeneratorConfig(n_blocks=blocks))
    assert len(generator.state_dict()) == entries
    assert sum(parameter.numel() for parameter in generator.parameters()) == parameters


@pytest.mark.parametrize(
    ("image", "mask", "sentence"),
    [
        ((1, 3, 20, 24), (1, 1, 20, 24), "image is 24x20 pixels; width and height must be multiples of 8, 16 or more"),
        ((1, 3, 8, 64), (1, 1, 8, 64), "image is 64x8 pixels"),
        ((1, 4, 64, 64), (1, 1, 64, 64), "accepted is batch x 3 x height x width"),
        ((2, 3, 64, 64), (1, 1, 64, 64), r"it must be \[2, 1, 64, 64\]"),
        ((1, 3, 64, 64), (1, 64, 64), "mask has shape"),
    ],
)
def test_wrong_shapes_are_named(image, mask, sentence):
    generator = LamaGenerator(GeneratorConfig(ngf=4, n_blocks=1))
    with pytest.raises(InvalidInput, match=sentence):
        generator(torch.zeros(image), torch.zeros(mask))


def test_the_package_is_imported_without_pytorch_and_yaml():
    program = "import sys; sys.modules.update(torch=None, yaml=None); import atelier.inpainting; print('imported')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "imported\n"


def test_the_package_names_what_it_has():
    import atelier.inpainting as package

    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = package.nonsense
