"""Planning: which tiles, where, and what each answers for."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.errors import InvalidInput
from atelier.inpainting import regions
from atelier.inpainting.regions import group_parts, plan_page, plan_regions
from atelier.inpainting.settings import InpaintSettings
from atelier.media import Box, connected_regions

SIZES = (256, 512, 768, 1024)


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
        count[piece.window.slices] += piece.own(plan.labels)
    return count


def network_pixels(plan):
    return sum(tile.shape[0] * tile.shape[1] for tile in plan.tiles)


def dots(height, width, step=20):
    mask = np.zeros((height, width), np.uint8)
    mask[step // 2 :: step, step // 2 :: step] = 255
    return mask


def test_a_small_part_gets_the_smallest_tile_with_its_context():
    mask = with_holes(800, 800, (300, 400, 40, 60))
    (tile,) = plan_regions(noise(800, 800), mask, settings()).tiles
    assert tile.shape == (256, 256)
    assert (tile.scale, tile.margin) == (1, 64)
    window = tile.window
    assert window.top <= 300 - 64
    assert window.left <= 400 - 64
    assert window.bottom >= 340 + 64
    assert window.right >= 460 + 64


def test_lettering_is_wide_and_its_tile_too():
    (tile,) = plan_regions(noise(1200, 1200), with_holes(1200, 1200, (600, 200, 30, 700)), settings()).tiles
    assert (tile.shape, tile.scale) == ((256, 1024), 1)
    assert tile.window.contains(Box(600, 200, 30, 700).grow(64))


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
    mask = with_holes(1200, 1200, (100, 100, 20, 20), (350, 350, 20, 20))
    tiles = plan_regions(noise(1200, 1200), mask, settings()).tiles
    assert [tile.shape for tile in tiles] == [(256, 256)] * 2


def test_a_part_too_large_is_scaled_and_its_hole_grows():
    height = width = 2000
    mask = with_holes(height, width, (200, 300, 1500, 1400))
    image = np.full((height, width, 3), 10, np.uint8)
    image[mask != 0] = 255
    (tile,) = plan_regions(image, mask, settings()).tiles
    shown, hole = tile.cut(image, mask)
    assert shown.shape == (1024, 1024, 3)
    assert tile.scale == pytest.approx(1024 / (1500 + 128))
    assert shown[hole == 0].max() == 10, "nothing of what the mask covers shines through"
    patch = tile.patch(np.full((1024, 1024, 3), 77, np.uint8))
    assert patch.shape == (tile.window.height, tile.window.width, 3)


def test_a_long_part_is_scaled_to_the_longest_side_and_keeps_its_proportions():
    mask = with_holes(400, 3000, (190, 100, 20, 2800))
    (tile,) = plan_regions(noise(400, 3000), mask, settings()).tiles
    assert tile.shape == (256, 1024)
    assert tile.window == Box(0, 36, 400, 2928), "the shorter side shows as much of the page as the tile holds"
    assert tile.cut(noise(400, 3000), mask)[0].shape == (256, 1024, 3)


def test_other_parts_in_a_tile_are_holes_but_are_answered_for_elsewhere():
    mask = with_holes(1200, 1200, (100, 100, 20, 20), (100, 260, 20, 20))
    image = noise(1200, 1200)
    plan = plan_regions(image, mask, settings(tile_sizes=(256,)))
    assert covered(plan, mask.shape).max() == 1
    for tile in plan.tiles:
        inside = mask[tile.window.slices] != 0
        np.testing.assert_array_equal(tile.cut(image, mask)[1] != 0, inside)


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
    shown, hole = tile.cut(image, mask)
    np.testing.assert_array_equal(shown, np.pad(image, ((0, 3), (0, 5), (0, 0)), "symmetric"))
    np.testing.assert_array_equal(hole, np.pad(mask, ((0, 3), (0, 5)), "symmetric"))
    assert tile.shape == hole.shape


@pytest.mark.parametrize(("shape", "said"), [((8, 500), "sides of 9 pixels"), ((2049, 2049), r"at most 4\.2 MP")])
def test_page_refuses_what_the_network_cannot_take(shape, said):
    with pytest.raises(InvalidInput, match=said):
        plan_page(noise(*shape), np.ones(shape, np.uint8), settings())


def test_thousands_of_specks_are_planned_quickly_and_completely():
    generator = np.random.default_rng(3)
    mask = (generator.random((3000, 3000)) < 0.0004).astype(np.uint8)
    plan = plan_regions(noise(3000, 3000), mask, settings())
    np.testing.assert_array_equal(covered(plan, mask.shape), mask)
    pixels = network_pixels(plan)
    assert pixels < 2.5 * mask.size, "larger tiles replace many small ones whose contexts overlap"


@pytest.mark.parametrize(
    ("picture", "part", "margin"),
    [
        ((800, 800), (350, 350, 100, 100), 480),
        ((800, 800), (350, 350, 100, 100), 1024),
        ((5, 7), (1, 2, 2, 2), 1024),
        ((1024, 1024), (500, 500, 20, 20), 1024),
        ((3000, 900), (0, 100, 600, 600), 200),
    ],
)
def test_what_fits_the_largest_tile_is_not_scaled_whatever_the_margin(picture, part, margin):
    """The margin does not count where there is no picture."""
    (tile,) = plan_regions(noise(*picture), with_holes(*picture, part), settings(margin=margin)).tiles
    assert (tile.scale, tile.margin) == (1, margin)
    seen = Box(*part).grow(margin).clip(*picture)
    assert tile.window.contains(seen)


@pytest.mark.parametrize(("side", "margin", "left"), [(900, 64, 62), (100, 1024, 462), (960, 500, 32)])
def test_a_part_that_fits_without_its_whole_margin_gets_less_of_it(side, margin, left):
    mask = with_holes(3000, 3000, (1000, 1000, side, side))
    (tile,) = plan_regions(noise(3000, 3000), mask, settings(margin=margin)).tiles
    assert (tile.shape, tile.scale, tile.margin) == ((1024, 1024), 1, left)
    assert tile.window.contains(Box(1000, 1000, side, side).grow(left))


def test_a_part_with_hardly_any_context_left_is_scaled_no_more_than_needed():
    mask = with_holes(3000, 3000, (1000, 1000, 1000, 1000))
    (tile,) = plan_regions(noise(3000, 3000), mask, settings(margin=1024)).tiles
    assert (tile.margin, tile.scale) == (125, pytest.approx(1024 / 1250))


@pytest.mark.parametrize(
    ("side", "margin", "tiles"), [(600, 1024, 1), (1000, 480, 1), (2000, 480, 16), (2000, 1024, 16)]
)
def test_dots_with_a_large_margin_share_tiles(side, margin, tiles):
    """A tile for each dot would be 10 GP of them for the last picture."""
    mask = dots(side, side)
    plan = plan_regions(noise(side, side), mask, settings(margin=margin))
    assert len(plan.tiles) <= tiles
    assert all(tile.scale == 1 and tile.margin >= min(margin, 256) for tile in plan.tiles)
    np.testing.assert_array_equal(covered(plan, mask.shape), mask != 0)


def test_a_margin_is_whole_where_tiles_of_their_own_can_be_afforded():
    mask = with_holes(2000, 2000, (900, 700, 20, 20), (900, 1100, 20, 20))
    image = noise(2000, 2000)
    assert [tile.margin for tile in plan_regions(image, mask, settings(margin=480)).tiles] == [480, 480]
    poor = settings(margin=480, max_network_pixels=1024 * 1024)
    assert [tile.margin for tile in plan_regions(image, mask, poor).tiles] == [302]


def test_work_beyond_the_limit_is_refused_with_a_way_out():
    mask, image = dots(1000, 1000, 200), noise(1000, 1000)
    needed = network_pixels(plan_regions(image, mask, settings()))
    plan_regions(image, mask, settings(max_network_pixels=needed))
    with pytest.raises(InvalidInput, match=r"25 parts, .* MARGIN 64 .* 0\.9 MP .*smaller MARGIN or strategy page"):
        plan_regions(image, mask, settings(max_network_pixels=900_000))


def test_windows_that_are_scaled_count_as_work():
    """Long diagonals have windows of the whole picture each, though small tiles."""
    mask = np.zeros((2000, 2000), np.uint8)
    for start in range(0, 600, 60):
        for i in range(1400):
            mask[i + start, i + 600 - start] = 255
    image = noise(2000, 2000)
    work = settings(tile_sizes=(256,), max_network_pixels=10 * 256 * 256)
    with pytest.raises(InvalidInput, match="MARGIN"):
        plan_regions(image, mask, work)
    assert len(plan_regions(image, mask, settings(tile_sizes=(256,))).tiles) == 10


def nested_rings(side):
    mask = np.zeros((side, side), np.uint8)
    for i in range(0, side // 2, 20):
        mask[i : side - i, i : side - i] = 255
        mask[i + 1 : side - i - 1, i + 1 : side - i - 1] = 0
    return mask


def test_nested_rings_are_one_tile_and_cost_no_more_than_the_picture(monkeypatch):
    looked = []
    ground = regions._ground
    monkeypatch.setattr(regions, "_ground", lambda image, *rest: looked.append(image.size // 3) or ground(image, *rest))
    mask = nested_rings(1600)
    plan = plan_regions(noise(1600, 1600), mask, settings(fill_flat=True))
    assert [tile.parts for tile in plan.tiles] == [40]
    np.testing.assert_array_equal(covered(plan, mask.shape), mask != 0)
    assert sum(looked) <= regions.FLAT_SHARE * mask.size < sum(part.box.area for part in connected_regions(mask, 16)[1])


@pytest.mark.parametrize("fill_flat", [False, True])
def test_planning_stops_when_nobody_waits(fill_flat):
    looks = 0

    def check():
        nonlocal looks
        looks += 1
        if looks > 12:
            raise TimeoutError("gone")

    with pytest.raises(TimeoutError):
        plan_regions(noise(1600, 1600), dots(1600, 1600), settings(fill_flat=fill_flat), check)


def test_a_plan_holds_no_pixels_of_its_tiles():
    """484 tiles of 1024 x 1024 would be 2 GB; a plan for them is boxes and numbers."""
    mask = dots(3000, 3000, 100)
    image = noise(3000, 3000)
    tracemalloc.start()
    try:
        plan = plan_regions(image, mask, settings(margin=500, max_network_pixels=10**10))
        assert tracemalloc.get_traced_memory()[1] < 150e6
    finally:
        tracemalloc.stop()
    assert len(plan.tiles) > 400


boxes = st.builds(Box, *(st.integers(0, 2000) for _ in range(2)), *(st.integers(1, 1500) for _ in range(2)))


@given(st.lists(boxes, max_size=40), st.integers(0, 1024))
def test_every_part_is_in_one_group(parts, margin):
    groups = group_parts(parts, SIZES, margin, (3500, 3500))
    assert sorted(i for group in groups for i in group) == list(range(len(parts)))


@given(st.lists(boxes, min_size=2, max_size=12), st.integers(0, 600))
def test_parts_share_only_what_a_tile_holds(parts, margin):
    for group in group_parts(parts, SIZES, margin, (3500, 3500)):
        union = parts[group[0]]
        for i in group[1:]:
            union = union.union(parts[i])
        seen = union.grow(margin).clip(3500, 3500)
        fits = max(seen.height, seen.width) <= SIZES[-1]
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
    image = noise(*mask.shape)
    plan = plan_regions(image, mask, chosen)
    np.testing.assert_array_equal(covered(plan, mask.shape), mask != 0)
    for tile in plan.tiles:
        shown, hole = tile.cut(image, mask)
        assert shown.shape[:2] == hole.shape == tile.shape
        assert set(hole.shape) <= {16, 32, 64}
        assert hole.any()
