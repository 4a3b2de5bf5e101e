"""What inpainting is judged on: pages that were never trained on, and photographs, which were not trained on at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image

from training import masks, pages
from training.fonts import FontSet

Pixels = NDArray[np.uint8]

SERIES = 2_000_000
"""Added to the training's seed: the pages' own series, which training does not draw from."""

PHOTOGRAPHS = {
    "astronaut": ("astronaut.png", "NASA, public domain"),
    "coffee": ("coffee.png", "Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0"),
    "chelsea": ("chelsea.png", "Stéfan van der Walt, CC0"),
    "rocket": ("rocket.jpg", "SpaceX, public domain"),
    "hubble": ("hubble_deep_field.jpg", "NASA, public domain"),
    "retina": ("retina.jpg", "Mikael Häggström, CC0"),
    "tissue": ("ihc.png", "Center for Microscopy and Molecular Imaging, no known copyright restrictions"),
    "camera": ("camera.png", "Lav Varshney, CC0; grey"),
    "coins": ("coins.png", "Brooklyn Museum, no known copyright restrictions; grey"),
    "brick": ("brick.png", "CC0Textures, CC0; grey"),
    "grass": ("grass.png", "linolafett, CC0; grey"),
    "gravel": ("gravel.png", "CC0Textures, CC0; grey"),
}
"""File and credit, by name, as the documentation of `skimage.data` gives them; all are in scikit-image's wheel.

Left out: ``motorcycle`` and ``moon``, whose licence is not told there, a blurred clock, and what is no photograph."""

DATA = Path(skimage.__file__).parent / "data"

_STRIDE = 10_000  # pages of one category at most; a category's pages do not depend on how many are drawn
_MODULUS = 8
_PAINT = 255  # a photograph is spoiled with white


class EvaluationError(RuntimeError):
    """An evaluation that cannot be run; the sentence is for the user."""


@dataclass(frozen=True)
class Case:
    """One hole in one picture.

    Attributes:
        group: ``pages`` or ``photographs``.
        category: the page's, or the mask's kind.
        source: the page or photograph; several masks on one photograph are one source.
        number: which of its group and category it is, from 0.
        total: of how many.
        picture: uint8 [H, W, 3]: what is to be repaired, as a user would see it.
        mask: uint8 [H, W], 255 in the hole.
        truth: uint8 [H, W, 3].
    """

    group: str
    category: str
    source: str
    number: int
    total: int
    picture: Pixels
    mask: Pixels
    truth: Pixels

    def is_among(self, chosen: int) -> bool:
        """Whether it is one of ``chosen`` that are spread evenly over its group and category; all if that is more."""
        return self.number * chosen % self.total < chosen


def page_cases(seed: int, count: int, side: int, fonts: FontSet) -> Iterator[Case]:
    """Square pages, ``count`` of every category.

    Args:
        seed: of the training; see `SERIES`.
        count: pages of a category.
        side: in pixels.
        fonts: for their lettering.
    """
    for number, category in enumerate(pages.CATEGORIES):
        for index in range(count):
            sample = pages.draw(seed + SERIES, number * _STRIDE + index, side, side, fonts, category)
            name = f"{category} {index}"
            yield Case("pages", category, name, index, count, sample.picture, sample.mask, sample.truth)


def photograph_cases(seed: int, count: int, side: int, fonts: FontSet) -> Iterator[Case]:
    """The middle of every photograph with ``count`` masks of every kind.

    Args:
        seed: of the training; see `SERIES`.
        count: masks of a kind for each photograph.
        side: largest side in pixels; a smaller photograph is shown whole, but for what is no multiple of 8.
        fonts: for masks that are lettering.

    Raises:
        EvaluationError: scikit-image was installed without its photographs.
    """
    for number, name in enumerate(PHOTOGRAPHS):
        truth = photograph(name, side)
        height, width = truth.shape[:2]
        for index, kind in enumerate(masks.KINDS):
            for draw in range(count):
                rng = np.random.default_rng((seed + SERIES, number, index, draw))
                mask = masks.draw(kind, rng, height, width, fonts)
                picture = truth.copy()
                picture[mask > 0] = _PAINT
                place, total = number * count + draw, len(PHOTOGRAPHS) * count
                yield Case("photographs", kind, name, place, total, picture, mask, truth)


def photograph(name: str, side: int, folder: Path = DATA) -> Pixels:
    """The middle of one of `PHOTOGRAPHS`, uint8 [H, W, 3], H and W multiples of 8 and ``side`` at most.

    Args:
        name: of the photograph.
        side: in pixels.
        folder: where scikit-image has its files.

    Raises:
        EvaluationError: its file was not installed. scikit-image would download it; this does not.
    """
    file = folder / PHOTOGRAPHS[name][0]
    if not file.is_file():
        raise EvaluationError(
            f"scikit-image {skimage.__version__} was installed without {file.name}, and nothing is downloaded here: "
            "install the wheel of the version that pyproject.toml names."
        )
    with Image.open(file) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    height, width = (min(length, side) // _MODULUS * _MODULUS for length in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])
