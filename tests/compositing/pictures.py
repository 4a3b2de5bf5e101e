"""Pictures that the tests of compositing share: made, small, the same each time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from atelier.compositing.jobs import Light, Placement, PlacementJob, Scene, StageReport
from atelier.compositing.masks import MaskGenerator
from atelier.compositing.settings import PlacementSettings

NOWHERE = Path("/nowhere")


def meadow(height: int = 120, width: int = 160, seed: int = 0) -> np.ndarray:
    """Bright sky over rough grass."""
    rng = np.random.default_rng(seed)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = (190, 215, 240)
    ground = height // 2
    picture[ground:] = (70, 120, 50)
    picture[ground:] += rng.integers(0, 30, (height - ground, width, 3), dtype=np.uint8)
    return picture


def noise(height: int = 120, width: int = 160) -> np.ndarray:
    """A background that is anything but plain."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)


def disc(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    """A mask, bool, of a disc."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.hypot(columns - x, rows - y) <= radius


def vase(height: int = 60, width: int = 40) -> np.ndarray:
    """An object RGBA: a red ellipse with stripes, transparent corners."""
    rows, columns = np.mgrid[0:height, 0:width]
    inside = np.hypot((columns + 0.5) / width - 0.5, (rows + 0.5) / height - 0.5) <= 0.5
    rgb = np.where((rows // 6 % 2)[..., None], (200, 40, 30), (240, 200, 60)).astype(np.uint8)
    return np.dstack([rgb, np.where(inside, np.uint8(255), np.uint8(0))])


def scene(**changes: object) -> Scene:
    """A scene with light from the upper left."""
    values: dict[str, object] = {
        "text": "밝은 장면입니다.",
        "prompt": "A photograph of a vase.",
        "light": Light((-0.6, -0.8), 0.25, (255, 240, 220), "hard light"),
        "palette": ("#597236", "#e6f3f9"),
        "mood": "calm",
        "camera": "landscape format",
        "surfaces": "green ground",
        "box": None,
        "language": "ko",
        "report": StageReport("classical", seconds={"analysis": 0.1}, facts={"n": 1, "list": [1, "둘", None]}),
    }
    return Scene(**{**values, **changes})  # type: ignore[arg-type]


def placed(background: np.ndarray, cutout: np.ndarray, **job: object) -> Placement:
    """Where the mask generator puts an object."""
    return MaskGenerator(PlacementSettings())(PlacementJob(background, cutout, **job))  # type: ignore[arg-type]
