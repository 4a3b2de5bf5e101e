"""Sizes, pictures and previews around FLUX."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atelier.compositing.neural.klein import PIXELS
from atelier.compositing.neural.pictures import on_white, resize, resize_mask, square, working_size
from atelier.compositing.neural.watching import expected

SIDES = st.integers(1, 6000)


@pytest.mark.parametrize(
    ("size", "side", "found"),
    [
        ((1000, 1000), 1024, (1024, 1024)),
        ((200, 200), 1024, (1024, 1024)),
        ((1600, 900), 1024, (1024, 576)),
        ((900, 1600), 768, (432, 768)),
        ((3000, 10), 1024, (1024, 16)),
    ],
)
def test_working_sizes(size, side, found):
    assert working_size(*size, side) == found


@given(SIDES, SIDES, st.integers(4, 128).map(lambda number: number * 16))
def test_working_sizes_keep_the_shape_and_stay_below_what_klein_takes(width, height, side):
    found = working_size(width, height, side)
    assert all(length % 16 == 0 and length >= 16 for length in found)
    assert max(found) == side
    longer, shorter = max(width, height), min(width, height)
    assert abs(min(found) - max(16, side * shorter / longer)) <= 8
    limited = working_size(width, height, side, PIXELS)
    assert limited[0] * limited[1] <= PIXELS
    assert all(length % 16 == 0 and length >= 16 for length in limited)


def test_a_mask_loses_no_pixel_by_being_shrunk():
    mask = np.zeros((100, 100), np.uint8)
    mask[50, 50] = 1
    found = resize_mask(mask, 16, 32)
    assert found.shape == (32, 16)
    assert set(np.unique(found)) == {0, 255}
    assert (found == 255).sum() >= 1
    assert (resize_mask(np.full((5, 7), 9, np.uint8), 64, 32) == 255).all()
    assert not resize_mask(np.zeros((5, 7), np.uint8), 64, 32).any()


def test_an_object_on_white():
    picture = np.zeros((10, 20, 4), np.uint8)
    picture[..., 0] = 200
    picture[:, :10, 3] = 255
    picture[:, 10:, 3] = 128
    found = square(picture)
    assert found.shape == (20, 20, 3)
    assert (found[:5] == 255).all()
    assert (found[15:] == 255).all()
    assert (found[5:15, :10] == (200, 0, 0)).all()
    assert (found[5:15, 10:] == (227, 127, 127)).all()
    wide = on_white(picture, 40, 40)
    assert (wide[:10] == 255).all()
    assert (wide[20, 5] == (200, 0, 0)).all()


def test_resizing_leaves_what_has_the_size():
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert resize(picture, 4, 4) is picture
    assert resize(picture, 6, 8).shape == (8, 6, 3)


def test_previews_show_where_the_latents_go():
    """On a straight way from noise to data every step's preview is the data."""
    generator = torch.Generator().manual_seed(0)
    data, noise = (torch.randn(1, 6, 8, generator=generator) for _ in range(2))
    sigmas = torch.tensor([1.0, 0.7, 0.2, 0.0])
    way = [(1 - level) * data + level * noise for level in sigmas]
    for place in (1, 2, 3):
        scheduler = SimpleNamespace(sigmas=sigmas, step_index=place)
        torch.testing.assert_close(expected(way[place], way[place - 1], scheduler), data, atol=1e-5, rtol=1e-5)
    assert expected(way[1], None, None) is way[1]
