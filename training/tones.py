"""What surfaces are filled with: flat and graded colours, screentones, hatching lines, weaves, grain, fractal clouds.

All functions return float32 in 0..255 of the size asked for, H x W or H x W x 3, and take all randomness from ``rng``.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Colour = NDArray[np.float32]


def colour(rng: np.random.Generator) -> Colour:
    """Paper white, ink black, greys and colours, as often as pages have them."""
    kind = rng.random()
    if kind < 0.25:
        return np.full(3, rng.choice([255, 255, 250, 245]), np.float32)
    if kind < 0.32:
        return np.full(3, rng.choice([0, 0, 10, 25]), np.float32)
    if kind < 0.5:
        return np.full(3, rng.uniform(30, 240), np.float32)
    hue = np.uint8([[[rng.integers(180), rng.integers(20, 256), rng.integers(60, 256)]]])
    return cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)


def two_colours(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Ink and paper that can be told apart; black on white is the most frequent pair."""
    if rng.random() < 0.35:
        pair = np.full(3, rng.uniform(0, 90), np.float32), np.full(3, rng.uniform(215, 256), np.float32).clip(0, 255)
        return pair if rng.random() < 0.85 else pair[::-1]
    for _ in range(8):
        ink, paper = colour(rng), colour(rng)
        if np.abs(ink - paper).mean() > 35:
            break
    return ink, paper


def mix(coverage: Plane, ink: Colour, paper: Colour) -> Plane:
    """Ink where ``coverage``, in 0..1, is 1, paper where it is 0: H x W to H x W x 3."""
    return paper + coverage[..., None] * (ink - paper)


def levels(picture: Plane) -> NDArray[np.uint8]:
    """Rounded to whole levels, contiguous, as OpenCV draws on."""
    return np.ascontiguousarray(np.rint(picture.clip(0, 255)).astype(np.uint8))


def flat(rng: np.random.Generator, height: int, width: int) -> Plane:
    """One colour."""
    return np.broadcast_to(colour(rng), (height, width, 3)).astype(np.float32)


def gradient(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Two or three colours along a line or around a point, in steps of whole levels at times."""
    x, y = _grid(rng, height, width, 1.0, rng.uniform(0, 2 * np.pi))
    span = float(np.hypot(height, width)) * rng.uniform(0.5, 2)
    if rng.random() < 0.35:
        x, y = x - rng.uniform(0, width), y - rng.uniform(0, height)
        ramp = np.sqrt(x * x + y * y) / span
    else:
        ramp = x / span + rng.uniform(0, 1)
    ramp = np.abs((ramp + 1) % 2 - 1)  # there and back, so that it never jumps
    stops = np.stack([colour(rng) for _ in range(int(rng.integers(2, 4)))])
    at = ramp * (len(stops) - 1)
    low = np.clip(at.astype(np.int64), 0, len(stops) - 2)
    part = (at - low)[..., None]
    return (stops[low] * (1 - part) + stops[low + 1] * part).astype(np.float32)


def dots(rng: np.random.Generator, height: int, width: int) -> Plane:
    """A screentone: dots on a turned lattice, of one size or growing."""
    pitch = np.exp(rng.uniform(np.log(3.5), np.log(18)))
    x, y = _grid(rng, height, width, pitch, rng.choice([0, np.pi / 4, np.pi / 12, rng.uniform(0, np.pi)]))
    if rng.random() < 0.3:
        x = x + 0.5 * (np.floor(y) % 2)  # rows shifted by half a step
    distance = np.hypot(x - np.floor(x) - 0.5, y - np.floor(y) - 0.5)
    radius = rng.uniform(0.16, 0.46)
    if rng.random() < 0.4:
        radius = radius * (0.5 + gradient_ramp(rng, height, width))
    return mix(_edge(rng, (radius - distance) * pitch), *two_colours(rng))


def lines(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Parallel lines; crossed by a second set at times."""
    coverage = _stripes(rng, height, width)
    if rng.random() < 0.3:
        coverage = np.maximum(coverage, _stripes(rng, height, width))
    return mix(coverage, *two_colours(rng))


def weave(rng: np.random.Generator, height: int, width: int) -> Plane:
    """A periodic pattern of any kind: a few waves on one lattice, cut at a level or left soft; checks and grids too."""
    pitch = np.exp(rng.uniform(np.log(4), np.log(32)))
    x, y = _grid(rng, height, width, pitch, rng.choice([0, 0, np.pi / 4, rng.uniform(0, np.pi)]))
    kind = rng.random()
    if kind < 0.25:
        coverage = ((np.floor(x) + np.floor(y)) % 2).astype(np.float32)
    elif kind < 0.5:
        thin = rng.uniform(0.06, 0.3)
        coverage = (((x % 1) < thin) | ((y % rng.choice([1, 1, 2])) < thin)).astype(np.float32)
    else:
        wave = np.zeros((height, width), np.float32)
        for _ in range(int(rng.integers(2, 5))):
            kx, ky = rng.integers(-2, 3, 2)
            wave += rng.uniform(0.3, 1) * np.cos(2 * np.pi * (kx * x + ky * y) + rng.uniform(0, 2 * np.pi))
        coverage = np.clip(0.5 + wave * rng.choice([0.25, 4.0]), 0, 1)
    return mix(coverage.astype(np.float32), *two_colours(rng))


def grain(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Noise: film grain on a colour, or a stippled tone."""
    noise = rng.standard_normal((height, width), np.float32)
    if rng.random() < 0.6:
        noise = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.5, 1.6))
        noise /= noise.std() + 1e-6
    if rng.random() < 0.4:
        return mix(_edge(rng, (noise - rng.uniform(0.3, 1.6)) * 2), *two_colours(rng))
    base = gradient(rng, height, width) if rng.random() < 0.5 else flat(rng, height, width)
    return np.clip(base + noise[..., None] * rng.uniform(3, 28), 0, 255)


def clouds(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Fractal noise, as skies, stone, skin and out-of-focus backgrounds have it; channels move together, mostly."""
    first, second = colour(rng), colour(rng)
    shade = fractal(rng, height, width, rng.uniform(0.35, 0.7))
    picture = mix(np.clip(0.5 + shade * 0.25, 0, 1), first, second)
    if rng.random() < 0.5:
        tint = np.stack([fractal(rng, height, width, 0.4) for _ in range(3)], axis=-1)
        picture = picture + tint * rng.uniform(2, 14)
    return np.clip(picture, 0, 255).astype(np.float32)


def fractal(rng: np.random.Generator, height: int, width: int, persistence: float) -> Plane:
    """Octaves of smooth noise, each finer one weaker by ``persistence``: mean 0, deviation 1."""
    total = np.zeros((height, width), np.float32)
    cell, weight = float(max(height, width)) * rng.uniform(0.4, 1.0), 1.0
    while cell > 1.5:
        rows, columns = int(height / cell) + 3, int(width / cell) + 3
        field = rng.standard_normal((rows, columns), np.float32)
        big = cv2.resize(field, (int(columns * cell) + 1, int(rows * cell) + 1), interpolation=cv2.INTER_CUBIC)
        top, left = rng.integers(0, int(cell) + 1, 2)
        total += weight * big[top : top + height, left : left + width]
        cell, weight = cell / 2, weight * persistence
    return (total - total.mean()) / (total.std() + 1e-6)


def gradient_ramp(rng: np.random.Generator, height: int, width: int) -> Plane:
    """0..1 along a random direction."""
    x, _ = _grid(rng, height, width, 1.0, rng.uniform(0, 2 * np.pi))
    return ((x - x.min()) / (np.ptp(x) + 1e-6)).astype(np.float32)


def _grid(rng: np.random.Generator, height: int, width: int, pitch: float, angle: float) -> tuple[Plane, Plane]:
    """Coordinates in steps of ``pitch`` pixels, turned, from a random origin."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x + rng.uniform(0, 1000), y + rng.uniform(0, 1000)
    cos, sin = np.float32(np.cos(angle) / pitch), np.float32(np.sin(angle) / pitch)
    return x * cos + y * sin, y * cos - x * sin


def _stripes(rng: np.random.Generator, height: int, width: int) -> Plane:
    pitch = np.exp(rng.uniform(np.log(3.5), np.log(28)))
    angle = rng.choice([0, np.pi / 2, np.pi / 4, 3 * np.pi / 4, rng.uniform(0, np.pi)])
    x, y = _grid(rng, height, width, pitch, angle)
    if rng.random() < 0.2:
        x = x + rng.uniform(0.1, 0.5) * np.sin(2 * np.pi * y * rng.uniform(0.05, 0.3))
    return _edge(rng, (rng.uniform(0.1, 0.36) - np.abs(x - np.floor(x) - 0.5)) * pitch)


def _edge(rng: np.random.Generator, distance: Plane) -> Plane:
    """Coverage of a pixel that lies ``distance`` pixels inside: smooth, or hard as in a one-bit scan."""
    if rng.random() < 0.3:
        return (distance > 0).astype(np.float32)
    return np.clip(distance + 0.5, 0, 1).astype(np.float32)


SURFACES = (flat, gradient, dots, lines, weave, grain, clouds)
