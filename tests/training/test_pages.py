"""The pages: decided by seed and number, of the promised kinds, with masks of the promised size."""

import numpy as np
import pytest

from training import fonts, lettering, masks, pages
from training.masks import COVERAGE, KINDS
from training.pages import CATEGORIES

NAMES = ["DejaVuSans.ttf", "DejaVuSerif-Bold.ttf", "NanumGothic.ttf", "ipag.ttf"]
SIDE = 96


@pytest.fixture(scope="module")
def found():
    return fonts.find(NAMES)


@pytest.fixture(scope="module")
def samples(found):
    return [pages.draw(5, index, SIDE, 128, found, name) for name in CATEGORIES for index in range(6)]


def test_a_seed_and_a_number_decide_everything(found):
    first, again = pages.draw(3, 7, 64, 80, found), pages.draw(3, 7, 64, 80, found)
    for name in ("picture", "mask", "truth"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.category == again.category
    for other in (pages.draw(4, 7, 64, 80, found), pages.draw(3, 8, 64, 80, found)):
        assert not np.array_equal(first.picture, other.picture)


def test_arrays_are_what_they_are_said_to_be(samples):
    for sample in samples:
        assert sample.picture.shape == sample.truth.shape == (SIDE, 128, 3)
        assert sample.mask.shape == (SIDE, 128)
        assert sample.picture.dtype == sample.truth.dtype == sample.mask.dtype == np.uint8
        assert set(np.unique(sample.mask)) == {0, 255}


def test_masks_cover_what_was_promised(samples):
    covered = np.array([np.count_nonzero(sample.mask) / sample.mask.size for sample in samples])
    assert covered.min() >= COVERAGE[0]
    assert covered.max() <= COVERAGE[1]
    assert covered.max() > 0.25  # large holes are among them
    assert covered.min() < 0.06  # and small ones


def test_what_is_to_go_is_below_the_mask(samples):
    """All but the rim that tight masks leave, and JPEG's noise: no letter can be read outside of the mask."""
    for sample in samples:
        changed = np.abs(sample.picture.astype(int) - sample.truth).max(axis=2) > 64
        outside = np.count_nonzero(changed & (sample.mask == 0))
        assert outside <= 0.35 * max(np.count_nonzero(changed), 60), sample.category


def test_categories_are_told_apart_by_their_surfaces(samples):
    """Share of pixels that equal their right neighbour: nearly all on flat paper, few where there is grain."""
    equal = {
        name: np.median([(s.truth[:, 1:] == s.truth[:, :-1]).all(axis=2).mean() for s in samples if s.category == name])
        for name in CATEGORIES
    }
    assert equal["flat"] > 0.85
    assert equal["screen"] > 0.85
    assert equal["photograph"] < 0.5
    assert equal["dots"] < equal["flat"]


def test_a_screentone_is_periodic(found):
    """The spectrum of a dotted page has peaks: what the Fourier units are there to see."""
    ratios = []
    for index in range(12):
        truth = pages.draw(11, index, 128, 128, found, "dots").truth.mean(axis=2)
        spectrum = np.abs(np.fft.rfft2(truth - truth.mean()))
        ratios.append(spectrum.max() / spectrum.mean())
    assert np.median(ratios) > 15


def test_small_pages_are_drawn_as_well(found):
    """Panels of a small comic page are a few pixels high."""
    for index in range(250):
        sample = pages.draw(999, index, 64, 64, found, "comic" if index % 2 else None)
        assert masks.fits(sample.mask)


def test_series_hold_all_categories(found):
    drawn = {pages.draw(0, index, 32, 32, found).category for index in range(120)}
    assert drawn == set(CATEGORIES)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_every_kind(kind, found):
    for seed in range(8):
        mask = masks.draw(kind, np.random.default_rng(seed), SIDE, SIDE, found)
        assert mask.shape == (SIDE, SIDE)
        assert set(np.unique(mask)) == {0, 255}
        assert masks.fits(mask)


def test_a_mask_of_lettering_holds_all_of_it(found):
    """But for tight masks, one in ten, whatever is painted is below the mask."""
    held = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        block = lettering.draw(rng, SIDE, SIDE, found)
        mask = masks.of_lettering(rng, block)
        held += not np.any(block.outline[mask == 0])
    assert 30 <= held < 40


@pytest.mark.parametrize(("script", "low", "high"), [("korean", 0xAC00, 0xD7A3), ("japanese", 0x3041, 0x9FFF)])
def test_words_are_of_their_writing(script, low, high):
    rng = np.random.default_rng(0)
    text = "".join(lettering.words(rng, script, 20).split()).translate({ord(mark): None for mark in "!?….,"})
    assert text
    assert all(low <= ord(letter) <= high for letter in text)


def test_fonts_are_sorted_by_their_writing(found):
    assert {name: len(files) for name, files in found.files.items()} == {"latin": 4, "korean": 1, "japanese": 2}


def test_a_missing_font_is_named_with_the_command_that_installs_it():
    with pytest.raises(fonts.InvalidInput, match=r"NoSuch\.ttf.*apt-get install.*fonts-nanum"):
        fonts.find([*NAMES, "NoSuch.ttf"])


def test_a_list_without_a_writing_is_refused():
    with pytest.raises(fonts.InvalidInput, match="korean and japanese"):
        fonts.find(["DejaVuSans.ttf"])
