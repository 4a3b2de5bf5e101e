"""A scene, an object, and what is asked of a server about them."""

import io

import numpy as np
from PIL import Image

from tests.conftest import ROOT

REPOSITORIES = (ROOT / "model_repository", ROOT / "ensembles")


def scene(height=120, width=200):
    """A wall above a floor, with some noise."""
    pixels = np.full((height, width, 3), (170, 180, 190), np.uint8)
    pixels[height * 2 // 3 :] = (120, 100, 80)
    return pixels + np.random.default_rng(0).integers(0, 8, pixels.shape, np.uint8)


def thing(height=48, width=32):
    """A red block with a blue foot, with alpha."""
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[4:-4, 4:-4] = (200, 40, 40, 255)
    pixels[-12:-4, 4:-4] = (40, 40, 200, 255)
    return pixels


def file_of(pixels, kind="PNG", mode=None):
    """An encoded picture."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind)
    return file.getvalue()


def pixels_of(data):
    """A picture's pixels."""
    return np.asarray(Image.open(io.BytesIO(data)))
