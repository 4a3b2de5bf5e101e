"""What is drawn on surfaces: curves, hatching, speed lines, figures, balloons, panels, controls of a screen.

Everything draws into ``picture``, H x W x 3 float32 or uint8 in 0..255, in place. OpenCV's anti-aliasing needs uint8.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training import tones

Picture = NDArray[np.uint8]
_SHIFT = 4  # binary places of OpenCV's coordinates


def curve(rng: np.random.Generator, height: int, width: int, reach: float = 1.0) -> NDArray[np.float32]:
    """Points of a smooth random curve (cubic Bezier), N x 2, in pixels; ``reach`` scales its extent."""
    side = float(max(height, width))
    start = rng.uniform(-0.2, 1.2, 2) * (width, height)
    knots = start + np.concatenate([[[0, 0]], rng.uniform(-1, 1, (3, 2)).cumsum(0)]) * side * 0.5 * reach
    t = np.linspace(0, 1, 24)[:, None]
    points = (1 - t) ** 3 * knots[0] + 3 * t * (1 - t) ** 2 * knots[1] + 3 * t**2 * (1 - t) * knots[2] + t**3 * knots[3]
    return points.astype(np.float32)


def polyline(
    picture: Picture,
    points: NDArray[np.float32],
    ink: tones.Colour,
    thickness: int,
    closed: bool = False,
    smooth: bool = True,
) -> None:
    """A line through ``points``."""
    cv2.polylines(
        picture, [_fixed(points)], closed, ink.tolist(), thickness, cv2.LINE_AA if smooth else cv2.LINE_8, _SHIFT
    )


def polygon(picture: Picture, points: NDArray[np.float32], fill: tones.Colour) -> None:
    """A filled polygon."""
    cv2.fillPoly(picture, [_fixed(points)], fill.tolist(), cv2.LINE_AA, _SHIFT)


def blob(rng: np.random.Generator, height: int, width: int, size: float | None = None) -> NDArray[np.float32]:
    """Outline of a random figure: ellipse, polygon, rectangle or star, N x 2 in pixels."""
    radius = (
        size if size is not None else float(np.exp(rng.uniform(np.log(5), np.log(max(8.0, max(height, width) * 0.6)))))
    )
    centre = rng.uniform(-0.15, 1.15, 2) * (width, height)
    kind = rng.integers(4)
    if kind == 0:
        angles, radii = np.linspace(0, 2 * np.pi, 48, endpoint=False), np.ones(48)
    elif kind == 1:
        count = int(rng.integers(3, 9))
        angles, radii = np.sort(rng.uniform(0, 2 * np.pi, count)), rng.uniform(0.5, 1.2, count)
    elif kind == 2:
        angles, radii = np.arange(4) * np.pi / 2 + np.pi / 4, np.ones(4)
    else:
        count = 2 * int(rng.integers(5, 14))
        angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
        radii = np.where(np.arange(count) % 2, rng.uniform(0.45, 0.9), 1.0)
    shape = np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None] * (radius, radius * rng.uniform(0.3, 1.0))
    turn = rng.uniform(0, np.pi) if rng.random() < 0.6 else 0.0
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return (shape @ matrix.T + centre).astype(np.float32)


def strokes(rng: np.random.Generator, picture: Picture, count: int) -> None:
    """Line art: curves, straight lines and outlines in one ink, a few widths."""
    height, width = picture.shape[:2]
    ink = _ink(rng)
    smooth = rng.random() < 0.8
    for _ in range(count):
        kind = rng.random()
        thickness = int(rng.choice([1, 1, 2, 2, 3, 4, 6]))
        if kind < 0.5:
            polyline(picture, curve(rng, height, width), ink, thickness, smooth=smooth)
        elif kind < 0.8:
            ends = rng.uniform(-0.3, 1.3, (2, 2)) * (width, height)
            if rng.random() < 0.4:  # level or upright, as in buildings, tables and frames
                ends[1, int(rng.integers(2))] = ends[0, int(rng.integers(2))]
            polyline(picture, ends.astype(np.float32), ink, thickness, smooth=smooth)
        else:
            polyline(picture, blob(rng, height, width), ink, thickness, closed=True, smooth=smooth)


def strands(rng: np.random.Generator, picture: Picture) -> None:
    """Hair, grass or folds: curves side by side."""
    height, width = picture.shape[:2]
    ink, base = _ink(rng), curve(rng, height, width, 1.5)
    step = rng.uniform(-1, 1, 2)
    step *= rng.uniform(3, 11) / (np.hypot(*step) + 1e-6)
    bend = rng.uniform(-0.02, 0.02)
    thickness = int(rng.choice([1, 1, 2]))
    for number in range(int(rng.integers(6, 30))):
        polyline(picture, (base * (1 + bend * number) + step * number).astype(np.float32), ink, thickness)


def speed_lines(rng: np.random.Generator, picture: Picture) -> None:
    """Lines that run to one point, as long and as dense as action is drawn."""
    height, width = picture.shape[:2]
    centre = rng.uniform(-0.5, 1.5, 2) * (width, height)
    ink, far = _ink(rng), float(height + width) * 2
    near = rng.uniform(0, 0.6) * max(height, width)
    for angle in rng.uniform(0, 2 * np.pi, int(rng.integers(30, 160))):
        way = np.array([np.cos(angle), np.sin(angle)])
        start = centre + way * near * rng.uniform(0.7, 1.3)
        polyline(picture, np.stack([start, centre + way * far]).astype(np.float32), ink, int(rng.choice([1, 1, 2, 3])))


def hatching(rng: np.random.Generator, picture: Picture) -> None:
    """Patches of short parallel pen strokes, not quite regular; crossed at times."""
    height, width = picture.shape[:2]
    ink, length = _ink(rng), rng.uniform(15, 0.6 * max(height, width) + 16)
    for _ in range(int(rng.integers(1, 3))):
        angle, pitch = rng.uniform(0, np.pi), rng.uniform(3.5, 12)
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        wobble, thickness = rng.uniform(0, 0.15), int(rng.choice([1, 1, 2]))
        reach = float(np.hypot(height, width)) * rng.uniform(0.3, 1.0)
        centre = rng.uniform(0, 1, 2) * (width, height)
        for offset in np.arange(-reach / 2, reach / 2, pitch):
            middle = centre + across * (offset + rng.normal() * wobble * pitch) + along * rng.normal() * wobble * length
            half = along * length * (1 + rng.normal() * wobble) / 2
            polyline(picture, np.stack([middle - half, middle + half]).astype(np.float32), ink, thickness)


def balloon(rng: np.random.Generator, picture: Picture) -> NDArray[np.float32]:
    """A speech balloon, empty, with a tail at times; returns its outline."""
    height, width = picture.shape[:2]
    size = rng.uniform(0.25, 0.6) * min(height, width)
    centre = rng.uniform(0.2, 0.8, 2) * (width, height)
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    kind, power = (
        rng.random(),
        rng.choice([2.0, 2.0, 3.0, 6.0]),
    )  # superellipses: from round to a box with round corners
    cos, sin = np.cos(angles), np.sin(angles)
    radii = (np.abs(cos) ** power + np.abs(sin) ** power) ** (-1 / power)
    if kind < 0.2:
        radii = radii * (1 + 0.12 * np.abs(np.sin(angles * rng.integers(4, 9))))  # a cloud
    elif kind < 0.35:
        radii = radii * np.where(np.arange(72) % 6 < 3, 1.15, 0.9)  # a shout
    outline = centre + np.stack([cos, sin], 1) * radii[:, None] * (size, size * rng.uniform(0.5, 1.0))
    if rng.random() < 0.6:
        at = int(rng.integers(72))
        outline[at] = centre + (outline[at] - centre) * rng.uniform(1.3, 1.8)
    outline = outline.astype(np.float32)
    fill = np.full(3, 255, np.float32) if rng.random() < 0.8 else tones.colour(rng)
    polygon(picture, outline, fill)
    if rng.random() < 0.9:
        polyline(picture, outline, _ink(rng), int(rng.integers(1, 5)), closed=True)
    return outline


def screen(rng: np.random.Generator, picture: Picture) -> None:
    """Bars, buttons, cards, rules and icons of a web page or a program, all level and upright."""
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(3, 14))):
        left, top = (rng.uniform(-0.2, 0.9, 2) * (width, height)).astype(int)
        wide, high = int(rng.uniform(8, width)), int(np.exp(rng.uniform(np.log(4), np.log(height * 0.7 + 5))))
        kind, fill = rng.random(), tones.colour(rng)
        if kind < 0.35:
            cv2.rectangle(picture, (left, top), (left + wide, top + high), fill.tolist(), -1)
            if rng.random() < 0.5:
                cv2.rectangle(picture, (left, top), (left + wide, top + high), tones.colour(rng).tolist(), 1)
        elif kind < 0.6:
            rounded(picture, left, top, wide, high, fill)
        elif kind < 0.85:
            line = (left, top, left + wide, top) if rng.random() < 0.6 else (left, top, left, top + high)
            cv2.line(picture, line[:2], line[2:], fill.tolist(), int(rng.choice([1, 1, 2])))
        else:
            cv2.circle(picture, (left, top), int(rng.uniform(4, 30)), fill.tolist(), -1, cv2.LINE_AA)


def rounded(picture: Picture, left: int, top: int, wide: int, high: int, fill: tones.Colour) -> None:
    """A filled box with round corners."""
    r = min(wide, high) // 4
    for x, y in (
        (left + r, top + r),
        (left + wide - r, top + r),
        (left + r, top + high - r),
        (left + wide - r, top + high - r),
    ):
        cv2.circle(picture, (x, y), r, fill.tolist(), -1, cv2.LINE_AA)
    cv2.rectangle(picture, (left + r, top), (left + wide - r, top + high), fill.tolist(), -1)
    cv2.rectangle(picture, (left, top + r), (left + wide, top + high - r), fill.tolist(), -1)


def _ink(rng: np.random.Generator) -> tones.Colour:
    return np.full(3, rng.uniform(0, 40), np.float32) if rng.random() < 0.75 else tones.colour(rng)


def _fixed(points: NDArray[np.float32]) -> NDArray[np.int32]:
    return np.rint(points.clip(-8000, 8000) * (1 << _SHIFT)).astype(np.int32)
