import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.media import Box, cut, window_around


@st.composite
def picture_and_box(draw):
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return height, width, Box(top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left)))


@given(picture_and_box(), st.integers(1, 70), st.integers(1, 70))
def test_a_window_lies_in_the_picture_and_contains_a_box_that_fits(picture, rows, columns):
    height, width, box = picture
    window = window_around(box, rows, columns, height, width)
    assert Box(0, 0, height, width).contains(window)
    assert (window.height, window.width) == (min(rows, height), min(columns, width))
    if box.height <= rows and box.width <= columns:
        assert window.contains(box)


def test_a_window_away_from_the_borders_is_centred():
    assert window_around(Box(50, 60, 10, 20), 40, 60, 200, 200) == Box(35, 40, 40, 60)
    assert window_around(Box(0, 190, 10, 10), 40, 40, 200, 200) == Box(0, 160, 40, 40)


@given(picture_and_box(), st.integers(1, 70), st.integers(1, 70), st.sampled_from([(), (3,)]))
def test_cut_is_the_windows_pixels_then_their_mirror(picture, rows, columns, tail):
    height, width, box = picture
    array = np.arange(height * width * int(np.prod(tail))).reshape(height, width, *tail)
    window = window_around(box, rows, columns, height, width)
    tile = cut(array, window, rows, columns)
    assert tile.shape == (rows, columns, *tail)
    assert np.array_equal(tile[: window.height, : window.width], array[window.slices])
    padding = [(0, rows - window.height), (0, columns - window.width)] + [(0, 0)] * len(tail)
    assert np.array_equal(tile, np.pad(array[window.slices], padding, mode="symmetric"))


def test_a_single_pixel_fills_a_tile():
    pixel = np.array([[[1, 2, 3]]], np.uint8)
    assert np.array_equal(cut(pixel, Box(0, 0, 1, 1), 64, 32), np.broadcast_to(pixel, (64, 32, 3)))


@pytest.mark.parametrize("window", [Box(-1, 0, 4, 4), Box(0, 7, 4, 4), Box(0, 0, 0, 4), Box(0, 0, 5, 4)])
def test_cut_refuses_a_window_that_is_outside_empty_or_too_large(window):
    with pytest.raises(ValueError, match="Box"):
        cut(np.zeros((10, 10), np.uint8), window, 4, 4)


@pytest.mark.parametrize("sizes", [(0, 5, 5, 5), (5, 0, 5, 5), (5, 5, 0, 5), (5, 5, 5, 0)])
def test_window_around_refuses_sizes_below_one(sizes):
    with pytest.raises(ValueError, match="at least 1"):
        window_around(Box(0, 0, 1, 1), *sizes)
