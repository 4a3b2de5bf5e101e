import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atelier.media import Box, connected_regions

masks = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14),
    elements=st.sampled_from([0, 0, 0, 1, 255]),
)


def flood(mask: np.ndarray, reach: int) -> list[frozenset[tuple[int, int]]]:
    """The holes by the definition: pixels at most reach + 1 rows and columns apart belong together."""
    left = {(int(row), int(column)) for row, column in zip(*np.nonzero(mask), strict=True)}
    holes = []
    while left:
        hole, frontier = set(), [left.pop()]
        while frontier:
            row, column = frontier.pop()
            hole.add((row, column))
            near = {p for p in left if abs(p[0] - row) <= reach + 1 and abs(p[1] - column) <= reach + 1}
            left -= near
            frontier.extend(near)
        holes.append(frozenset(hole))
    return holes


@settings(max_examples=300)
@given(masks, st.integers(0, 5))
def test_regions_are_those_of_a_flood_fill(mask, reach):
    labels, regions = connected_regions(mask, reach)
    assert labels.dtype == np.int32 and labels.shape == mask.shape
    assert np.array_equal(labels != 0, mask != 0)
    assert [region.label for region in regions] == list(range(1, len(regions) + 1))
    found = []
    for region in regions:
        rows, columns = np.nonzero(labels == region.label)
        found.append(frozenset(zip(rows.tolist(), columns.tolist(), strict=True)))
        assert region.area == len(rows)
        top, left = int(rows.min()), int(columns.min())
        assert region.box == Box(top, left, int(rows.max()) + 1 - top, int(columns.max()) + 1 - left)
    assert set(found) == set(flood(mask, reach)) and len(found) == len(set(found))


def test_an_empty_mask_has_no_regions():
    labels, regions = connected_regions(np.zeros((5, 6), np.uint8), reach=3)
    assert regions == [] and not labels.any()


@pytest.mark.parametrize("hole", [True, 1.5, -1, 256])
def test_every_value_other_than_zero_is_hole(hole):
    mask = np.zeros((4, 4), np.asarray(hole).dtype)
    mask[1, 2] = hole
    assert [region.box for region in connected_regions(mask)[1]] == [Box(1, 2, 1, 1)]


def test_twenty_megapixels_of_noise_take_seconds_at_most():
    mask = np.random.default_rng(0).random((4000, 5000)) < 0.02
    started = time.process_time()
    labels, regions = connected_regions(mask, reach=2)
    # About 1.5 s of one core where this was written; a loop over the pixels takes more than a minute.
    assert time.process_time() - started < 20
    assert sum(region.area for region in regions) == np.count_nonzero(mask)
    assert labels.max() == len(regions)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="reach"):
        connected_regions(np.zeros((3, 3)), reach=-1)
    for shape in [(3, 3, 1), (0, 3), (3,)]:
        with pytest.raises(ValueError, match="shape"):
            connected_regions(np.zeros(shape))
