import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.media import Box

boxes = st.builds(Box, st.integers(-20, 40), st.integers(-20, 40), st.integers(0, 30), st.integers(0, 30))


def pixels(box: Box) -> set[tuple[int, int]]:
    return {(row, column) for row in range(box.top, box.bottom) for column in range(box.left, box.right)}


def test_edges_area_and_slices():
    box = Box(top=2, left=3, height=4, width=5)
    assert (box.bottom, box.right, box.area) == (6, 8, 20)
    array = np.arange(100).reshape(10, 10)
    assert np.array_equal(array[box.slices], array[2:6, 3:8])


@given(boxes, boxes)
def test_union_is_the_smallest_box_that_contains_both(one, other):
    union = one.union(other)
    assert union.contains(one) and union.contains(other) and union == other.union(one)
    assert union.top in (one.top, other.top) and union.left in (one.left, other.left)
    assert union.bottom in (one.bottom, other.bottom) and union.right in (one.right, other.right)


@given(boxes, st.integers(1, 30), st.integers(1, 30))
def test_clip_keeps_the_pixels_inside(box, height, width):
    clipped = box.clip(height, width)
    assert Box(0, 0, height, width).contains(clipped)
    assert pixels(clipped) == pixels(box) & pixels(Box(0, 0, height, width))


@given(boxes, st.integers(0, 9))
def test_grow_adds_to_each_side(box, margin):
    grown = box.grow(margin)
    assert (grown.top, grown.left) == (box.top - margin, box.left - margin)
    assert (grown.bottom, grown.right) == (box.bottom + margin, box.right + margin)


def test_contains_looks_at_each_side():
    box = Box(10, 10, 10, 10)
    assert box.contains(box)
    for other in (Box(9, 10, 10, 10), Box(10, 9, 10, 10), Box(10, 10, 11, 10), Box(10, 10, 10, 11)):
        assert not box.contains(other)


def test_boxes_sort_from_the_top_left():
    assert sorted([Box(1, 0, 1, 1), Box(0, 5, 1, 1), Box(0, 2, 9, 9)])[0] == Box(0, 2, 9, 9)


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="negative"):
        Box(0, 0, -1, 1)
    with pytest.raises(ValueError, match="negative"):
        Box(0, 0, 3, 1).grow(-1)
