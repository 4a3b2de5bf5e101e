"""What is known of a video, and of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Facts:
    """What a video says of itself.

    Attributes:
        width, height: of the frames as they are given out, pixels.
        rate: frames a second on average.
        time_base: the unit of its times, seconds.
        frames: how many the file says it has; None where it does not say.
        codec: of the pictures.
        rotation: degrees, counter-clockwise, by which frames are turned upright.
        pixel_aspect: width of a stored pixel by its height; frames are given out with square ones.
        audio: codec of the first audio stream; None without.
        start: seconds that the file gives its first frame, which counts as 0 here; its sound is moved with it.
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    frames: int | None
    codec: str
    rotation: int = 0
    pixel_aspect: Fraction = Fraction(1)
    audio: str | None = None
    start: Fraction = Fraction(0)


@dataclass(frozen=True, eq=False)
class Timed:
    """A frame.

    Attributes:
        pixels: uint8 [H, W, 3] RGB.
        time: seconds after the first frame.
    """

    pixels: NDArray[np.uint8]
    time: Fraction
