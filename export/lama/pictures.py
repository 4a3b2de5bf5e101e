"""The pictures that an artefact is compared on: sizes, contents and masks that have broken LaMa exports elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
_SAMPLES = 4  # pictures
_SAMPLE_SIDE = 256  # pixels
_TEXTURE_NOISE = 18.0  # levels


@dataclass(frozen=True)
class Case:
    """One call of the network: ``image`` uint8 N x H x W x 3 and ``mask`` uint8 N x H x W, not 0 in the hole."""

    name: str
    image: np.ndarray
    mask: np.ndarray


def cases(samples: Path) -> Iterator[Case]:
    """Synthetic pictures, then those found in a folder, in alphabetical order.

    Args:
        samples: A folder of pictures; files with "mask" in their name are not used. It may be missing.
    """
    rng = np.random.default_rng(0)
    yield Case("gradient 96x64", _gradient(64, 96)[None], _strokes(rng, 64, 96)[None])
    yield Case("text 128x128", _text(rng, 128, 128)[None], _strokes(rng, 128, 128)[None])
    yield Case("noise, bottleneck 13x9", _noise(rng, 72, 104)[None], _strokes(rng, 72, 104)[None])
    yield Case("white 160x160", np.full((1, 160, 160, 3), 255, np.uint8), _strokes(rng, 160, 160)[None])
    yield Case("smallest 16x16", _noise(rng, 16, 16)[None], _strokes(rng, 16, 16)[None])
    batch = np.stack([_gradient(80, 120), _text(rng, 80, 120), _noise(rng, 80, 120), np.zeros((80, 120, 3), np.uint8)])
    masks = np.stack(
        [_strokes(rng, 80, 120), np.ones((80, 120), np.uint8), np.zeros((80, 120), np.uint8), _strokes(rng, 80, 120)]
    )
    yield Case("batch of 4, 120x80", batch, masks)
    yield Case("texture 256x256", _texture(rng, 256, 256)[None], _strokes(rng, 256, 256)[None])
    for path in _sample_files(samples):
        image = _sample(path)
        yield Case(f"samples/{path.name}", image[None], _strokes(rng, *image.shape[:2])[None])


def _sample_files(folder: Path) -> list[Path]:
    files = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and "mask" not in path.stem.lower()
    )
    return files[:_SAMPLES]


def _sample(path: Path) -> np.ndarray:
    """The middle of a picture, sides multiples of 8."""
    with Image.open(path) as picture:
        image = np.asarray(picture.convert("RGB"))
    height, width = (min(side, _SAMPLE_SIDE) // 8 * 8 for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def _strokes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Bars and a box, in the values that masks come with: 1, 127, 255."""
    mask = np.zeros((height, width), np.uint8)
    for value in (1, 127, 255):
        top, left = int(rng.integers(0, height - 4)), int(rng.integers(0, width // 2))
        mask[top : top + max(2, height // 10), left : left + width // 2] = value
    mask[height // 3 : height // 2, width // 3 : width // 2] = 255
    return mask


def _gradient(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    red, green = x * 255 / (width - 1), y * 255 / (height - 1)
    return np.stack([red, green, 255 - red], axis=2).astype(np.uint8)


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _text(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Lines of small black blocks on white."""
    image = np.full((height, width, 3), 255, np.uint8)
    for top in range(6, height - 10, 14):
        for left in range(6, width - 8, 7):
            if rng.random() < 0.8:
                image[top : top + int(rng.integers(4, 9)), left : left + int(rng.integers(2, 6))] = 0
    return image


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    waves = 128 + 60 * np.sin(x / 9) + 50 * np.cos((x + 2 * y) / 23)
    return np.clip(waves[..., None] + rng.normal(0, _TEXTURE_NOISE, (height, width, 3)), 0, 255).astype(np.uint8)
