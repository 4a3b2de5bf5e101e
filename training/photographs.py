"""Stand-ins for photographs, drawn: no data set is fetched.

Two models of natural pictures that are known to teach restoration networks much of what photographs do: fractal noise,
whose spectrum falls like theirs, and dead leaves (Lee, Mumford and Huang 2001, "Occlusion models for natural images"):
opaque figures of all sizes that hide one another, here with shading, texture of their own, depth of field and grain.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training import drawing, tones


def draw(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """H x W x 3: dead leaves, a landscape, or clouds alone."""
    kind = rng.random()
    if kind < 0.65:
        picture = _leaves(rng, height, width)
    elif kind < 0.85:
        picture = _landscape(rng, height, width)
    else:
        picture = tones.clouds(rng, height, width)
    if rng.random() < 0.7:  # a lens: never sharp to the pixel
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.4))
    if rng.random() < 0.6:
        noise = rng.standard_normal((height, width, 1), np.float32) * rng.uniform(0.5, 6)
        picture = picture + noise
    return tones.levels(picture)


def _leaves(rng: np.random.Generator, height: int, width: int) -> tones.Plane:
    """Figures of power-law sizes, each with a colour, a slope of light and a share of two textures."""
    count = int(np.exp(rng.uniform(np.log(8), np.log(160))))
    labels = np.zeros((height, width), np.int32)
    largest, smallest = max(height, width) * rng.uniform(0.3, 1.0), np.exp(rng.uniform(np.log(3), np.log(40)))
    for label in range(1, count):
        # Sizes with density 1/r^3 look alike at every scale; larger ones first, so that small ones are seen.
        share = label / count
        radius = 1 / np.sqrt((1 - share) / largest**2 + share / smallest**2)
        points = drawing.blob(rng, height, width, float(radius) * rng.uniform(0.6, 1.6))
        cv2.fillPoly(labels, [np.rint(points).astype(np.int32)], label)
    palette = np.stack([tones.colour(rng) for _ in range(int(rng.integers(3, 9)))])
    palette = palette * rng.uniform(0.25, 0.9) + palette.mean(0) * rng.uniform(0.1, 0.3)  # one light on all of them
    colours = palette[rng.integers(len(palette), size=count)] + rng.normal(0, 18, (count, 3))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width) - 0.5
    slope = rng.normal(0, rng.uniform(5, 60), (2, count)).astype(np.float32)
    rough = np.abs(rng.normal(0, rng.uniform(2, 22), (2, count))).astype(np.float32)
    shade = slope[0][labels] * x + slope[1][labels] * y
    for number, persistence in enumerate(rng.uniform(0.4, 0.85, 2)):
        shade = shade + rough[number][labels] * tones.fractal(rng, height, width, float(persistence))
    return (colours.astype(np.float32)[labels] + shade[..., None]).astype(np.float32)


def _landscape(rng: np.random.Generator, height: int, width: int) -> tones.Plane:
    """A sky and ridges before one another, each rougher than the one behind."""
    picture = tones.clouds(rng, height, width)
    x = np.arange(width)
    y = np.arange(height, dtype=np.float32)[:, None]
    level = rng.uniform(0.1, 0.6) * height
    for _ in range(int(rng.integers(1, 5))):
        ridge = level + tones.fractal(rng, 8, width, 0.5)[4] * rng.uniform(2, max(2.0, 0.12 * height))
        inside = np.clip(y - ridge[x][None], 0, 1)[..., None]
        ground = tones.colour(rng) * rng.uniform(0.3, 1.0)
        texture = tones.fractal(rng, height, width, rng.uniform(0.5, 0.9))[..., None] * rng.uniform(2, 25)
        light = (y[..., None] - level) / height * rng.uniform(-80, 80)
        picture = picture * (1 - inside) + (ground + texture + light) * inside
        level += rng.uniform(0.05, 0.35) * height
    return picture.astype(np.float32)
