import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atelier.media import feather, paste

shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=16)
masks = hnp.arrays(np.uint8, shapes, elements=st.sampled_from([0, 1, 77, 255]))
radii = st.sampled_from([0, 0.5, 1, 2, 3, 4.5, 20])


def distances(mask: np.ndarray) -> np.ndarray:
    """Euclidean distance of each pixel to the nearest one outside the hole; infinite where there is none."""
    rows, columns = np.indices(mask.shape)
    outside = np.argwhere(mask == 0)
    if not len(outside):
        return np.full(mask.shape, np.inf)
    return np.hypot(rows[..., None] - outside[:, 0], columns[..., None] - outside[:, 1]).min(axis=2)


@given(masks, radii)
def test_weights_rise_with_the_distance_from_the_holes_border(mask, radius):
    weight = feather(mask, radius)
    assert weight.dtype == np.float32 and weight.shape == mask.shape
    assert np.all(weight[mask == 0] == 0)
    assert np.all(weight[mask != 0] > 0) and np.all(weight <= 1)
    if radius == 0:
        assert np.array_equal(weight, mask != 0)
    else:
        expected = np.where(mask != 0, np.minimum(distances(mask) / radius, 1), 0)
        assert np.allclose(weight, expected, atol=0.03)


def test_weight_is_one_from_the_radius_on_and_less_before():
    mask = np.ones((1, 20), np.uint8)
    mask[0, 0] = 0
    weight = feather(mask, 5)[0]
    assert np.allclose(weight[:6], [0, 0.2, 0.4, 0.6, 0.8, 1]) and np.all(weight[5:] == 1)


def test_the_pictures_border_is_not_the_holes_border():
    assert np.all(feather(np.ones((9, 9), np.uint8), 4) == 1)


@st.composite
def pasting(draw):
    mask = draw(masks)
    channels = draw(st.integers(1, 4))
    base, patch = (draw(hnp.arrays(np.uint8, (*mask.shape, channels))) for _ in range(2))
    return base, patch, mask


@given(pasting(), radii)
def test_pixels_outside_the_hole_are_those_of_the_base(pictures, radius):
    base, patch, mask = pictures
    before = base.copy()
    pasted = paste(base, patch, mask, radius)
    assert pasted.dtype == np.uint8 and pasted.shape == base.shape
    assert np.array_equal(base, before) and not np.shares_memory(pasted, base)
    assert np.array_equal(pasted[mask == 0], base[mask == 0])
    weight = feather(mask, radius)
    assert np.array_equal(pasted[weight == 1], patch[weight == 1])
    exact = base + weight[..., None].astype(np.float64) * (patch.astype(np.float64) - base)
    assert np.all(np.abs(pasted - exact) <= 0.501)


@given(pasting())
def test_radius_zero_is_a_plain_choice(pictures):
    base, patch, mask = pictures
    assert np.array_equal(paste(base, patch, mask), np.where(mask[..., None] != 0, patch, base))


def test_bad_arguments_are_refused():
    base, mask = np.zeros((4, 5, 3), np.uint8), np.ones((4, 5), np.uint8)
    with pytest.raises(ValueError, match="shapes"):
        paste(base, np.zeros((4, 5, 1), np.uint8), mask)
    with pytest.raises(ValueError, match="shapes"):
        paste(base, base, np.ones((5, 4), np.uint8))
    with pytest.raises(ValueError, match="shapes"):
        paste(base[..., 0], base[..., 0], mask)
    with pytest.raises(ValueError, match="uint8"):
        paste(base, base.astype(np.float32), mask)
    for radius in (-1, float("nan")):
        with pytest.raises(ValueError, match="radius"):
            paste(base, base, mask, radius)
    with pytest.raises(ValueError, match="shape"):
        feather(np.ones((2, 2, 1)), 1)
