"""Planning: which tiles, where, and what each answers for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.errors import InvalidInput
from atelier.inpainting.regions import group_parts, plan_page, plan_regions
from atelier.inpainting.settings import InpaintSettings
from atelier.media import Box

SIZES = (256, 512, 1024)


def settings(**changes):
    return InpaintSettings(**{"fill_flat": False, **changes})


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def with_holes(height, width, *boxes):
    mask = np.zeros((height, width), np.uint8)
    for top, left, h, w in boxes:
        mask[top : top + h, left : left + w] = 255
    return mask


def covered(plan, shape):
    """How many times each pixel is answered for."""
    count = np.zeros(shape, int)
    for piece in (*plan.tiles, *plan.flats):
        count[piece.window.slices] += piece.own
    return count


def test_a_small_part_gets_the_smallest_tile_with_its_context():
    mask = with_holes(800, 800, (300, 400, 40, 60))
    (tile,) = plan_regions(noise(800, 800), mask, settings()).tiles
    assert tile.image.shape == (256, 256, 3)
    assert tile.scale == 1
    window = tile.window
    assert window.top <= 300 - 64
    assert window.left <= 400 - 64
    assert window.bottom >= 340 + 64
    assert window.right >= 460 + 64


def test_a_part_at_the_border_shifts_its_tile_inwards():
    (tile,) = plan_regions(noise(600, 600), with_holes(600, 600, (0, 570, 20, 30)), settings()).tiles
    assert (tile.window.top, tile.window.left) == (0, 600 - 256)


def test_neighbours_share_a_tile_and_strangers_do_not():
    near = with_holes(1200, 1200, (100, 100, 20, 20), (100, 160, 20, 20))
    far = with_holes(1200, 1200, (100, 100, 20, 20), (1000, 1000, 20, 20))
    assert [tile.parts for tile in plan_regions(noise(1200, 1200), near, settings()).tiles] == [2]
    assert [tile.parts for tile in plan_regions(noise(1200, 1200), far, settings()).tiles] == [1, 1]


def test_sharing_never_costs_more_pixels_than_two_tiles():
    """Two parts that fit a 512 tile together but a 256 tile each stay apart: 2 x 256^2 is less than 512^2."""
    mask = with_holes(1200, 1200, (100, 100, 20, 20), (100, 350, 20, 20))
    tiles = plan_regions(noise(1200, 1200), mask, settings()).tiles
    assert [tile.image.shape[0] for tile in tiles] == [256, 256]


def test_a_part_too_large_is_scaled_and_its_hole_grows():
    height = width = 2000
    mask = with_holes(height, width, (200, 300, 1500, 1400))
    image = np.full((height, width, 3), 10, np.uint8)
    image[mask != 0] = 255
    (tile,) = plan_regions(image, mask, settings()).tiles
    assert tile.image.shape == (1024, 1024, 3)
    assert tile.scale == pytest.approx(1024 / (1500 + 128))
    assert tile.image[tile.mask == 0].max() == 10, "nothing of what the mask covers shines through"
    patch = tile.patch(np.full((1024, 1024, 3), 77, np.uint8))
    assert patch.shape == (tile.window.height, tile.window.width, 3)


def test_other_parts_in_a_tile_are_holes_but_are_answered_for_elsewhere():
    mask = with_holes(1200, 1200, (100, 100, 20, 20), (100, 260, 20, 20))
    plan = plan_regions(noise(1200, 1200), mask, settings(tile_sizes=(256,)))
    assert covered(plan, mask.shape).max() == 1
    for tile in plan.tiles:
        inside = mask[tile.window.slices] != 0
        np.testing.assert_array_equal(tile.mask != 0, inside)


def test_flat_surroundings_need_no_network():
    image = np.full((400, 400, 3), 250, np.uint8)
    image[100:140, 100:200] = 0
    image[300:] = noise(100, 400)
    mask = with_holes(400, 400, (95, 95, 50, 110), (340, 100, 20, 20))
    plan = plan_regions(image, mask, settings(fill_flat=True))
    (flat,) = plan.flats
    assert flat.colour.tolist() == [250, 250, 250]
    assert len(plan.tiles) == 1
    assert not plan_regions(image, mask, settings()).flats


def test_a_gradient_is_not_flat():
    image = np.broadcast_to(np.arange(400, dtype=np.uint8)[:, None, None] // 2, (400, 400, 3)).copy()
    plan = plan_regions(image, with_holes(400, 400, (150, 100, 60, 60)), settings(fill_flat=True))
    assert (len(plan.flats), len(plan.tiles)) == (0, 1)


def test_a_mask_without_surroundings_is_not_flat():
    image = np.full((64, 64, 3), 9, np.uint8)
    plan = plan_regions(image, np.full((64, 64), 255, np.uint8), settings(fill_flat=True))
    assert (len(plan.flats), len(plan.tiles)) == (0, 1)


def test_page_is_padded_as_upstream_does():
    image, mask = noise(61, 83), with_holes(61, 83, (10, 70, 20, 13))
    (tile,) = plan_page(image, mask, settings()).tiles
    np.testing.assert_array_equal(tile.image, np.pad(image, ((0, 3), (0, 5), (0, 0)), "symmetric"))
    np.testing.assert_array_equal(tile.mask, np.pad(mask, ((0, 3), (0, 5)), "symmetric"))


@pytest.mark.parametrize(("shape", "said"), [((8, 500), "sides of 9 pixels"), ((2049, 2049), r"at most 4\.2 MP")])
def test_page_refuses_what_the_network_cannot_take(shape, said):
    with pytest.raises(InvalidInput, match=said):
        plan_page(noise(*shape), np.ones(shape, np.uint8), settings())


def test_thousands_of_specks_are_planned_quickly_and_completely():
    generator = np.random.default_rng(3)
    mask = (generator.random((3000, 3000)) < 0.0004).astype(np.uint8)
    plan = plan_regions(noise(3000, 3000), mask, settings())
    np.testing.assert_array_equal(covered(plan, mask.shape), mask)
    pixels = sum(tile.mask.size for tile in plan.tiles)
    assert pixels < 2.5 * mask.size, "larger tiles replace many small ones whose contexts overlap"


boxes = st.builds(Box, *(st.integers(0, 2000) for _ in range(2)), *(st.integers(1, 1500) for _ in range(2)))


@given(st.lists(boxes, max_size=40), st.integers(0, 300))
def test_every_part_is_in_one_group(parts, margin):
    groups = group_parts(parts, SIZES, margin)
    assert sorted(i for group in groups for i in group) == list(range(len(parts)))


@given(st.lists(boxes, min_size=2, max_size=12), st.integers(0, 128))
def test_parts_share_only_what_a_tile_holds(parts, margin):
    for group in group_parts(parts, SIZES, margin):
        union = parts[group[0]]
        for i in group[1:]:
            union = union.union(parts[i])
        fits = max(union.height, union.width) + 2 * margin <= SIZES[-1]
        contained = any(parts[i] == union for i in group)
        assert len(group) == 1 or fits or contained


@st.composite
def masks(draw):
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    seed, share = draw(st.integers(0, 999)), draw(st.sampled_from([0.001, 0.05, 0.5, 1.0]))
    return (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8) * 255


@given(masks(), st.integers(0, 40), st.booleans())
def test_every_masked_pixel_is_answered_for_once(mask, margin, fill_flat):
    chosen = settings(margin=margin, tile_sizes=(16, 32, 64), fill_flat=fill_flat)
    plan = plan_regions(noise(*mask.shape), mask, chosen)
    np.testing.assert_array_equal(covered(plan, mask.shape), mask != 0)
    for tile in plan.tiles:
        assert tile.image.shape[:2] == tile.mask.shape
        assert tile.mask.shape[0] in (16, 32, 64)
        assert tile.mask.any()
