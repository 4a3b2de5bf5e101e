"""From a frame to what the network sees, and from its alpha back to the frame's size.

Upstream resizes with torchvision (``Resize(size, max_size)``, bilinear with antialiasing, on floats) and pads with
zeros, centred, to multiples of 32. Its check ``max_size > size`` is left out: the formula holds without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atelier.errors import InvalidInput

MULTIPLE = 32
"""Of the padded sides: the VAE's 8 times the 4 by which GVM's own padding keeps the latents divisible."""
HIGH, LOW = 240 / 255, 25 / 255
"""From here up an alpha is 1, and from here down 0."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of a clip on its way.

    Attributes:
        source: height and width of the frames.
        resized: height and width after resizing.
        padding: rows above and columns to the left of the resized frame.
        padded: height and width that the network sees.
    """

    source: tuple[int, int]
    resized: tuple[int, int]
    padding: tuple[int, int]
    padded: tuple[int, int]

    @property
    def latent(self) -> tuple[int, int]:
        """Height and width of the latents."""
        return self.padded[0] // 8, self.padded[1] // 8


def plan_geometry(source: tuple[int, int], size: int, max_resolution: int) -> Geometry:
    """How frames are resized and padded.

    Args:
        source: height and width of the frames, pixels.
        size: pixels of the shorter side after resizing, larger or smaller than it was.
        max_resolution: pixels of the longer side at most, which takes precedence.

    Raises:
        InvalidInput: a frame is smaller than 2 × 2, or so long and narrow that a side would vanish.
    """
    height, width = source
    if min(source) < 2:
        raise InvalidInput(f"The frames are {width}x{height}; 2x2 pixels at least are accepted.")
    short, long = sorted((height, width))
    new_short, new_long = size, int(size * long / short)
    if new_long > max_resolution:
        new_short, new_long = int(max_resolution * new_short / new_long), max_resolution
    if not new_short:
        raise InvalidInput(
            f"The frames are {width}x{height}, too long and narrow: with max_resolution {max_resolution} the shorter "
            "side would vanish."
        )
    resized = (new_short, new_long) if height <= width else (new_long, new_short)
    padded_height, padded_width = (-(-side // MULTIPLE) * MULTIPLE for side in resized)
    padding = (padded_height - resized[0]) // 2, (padded_width - resized[1]) // 2
    return Geometry((height, width), resized, padding, (padded_height, padded_width))


def prepare(frames: Sequence[NDArray[np.uint8]], geometry: Geometry) -> NDArray[np.float32]:
    """Frames as the VAE takes them.

    Args:
        frames: uint8 [H, W, 3] RGB each.
        geometry: the clip's.

    Returns:
        float32 [T, 3, padded height, padded width] in -1..1; the padding is black.
    """
    height, width = geometry.resized
    top, left = geometry.padding
    output = np.zeros((len(frames), 3, *geometry.padded), np.float32)
    for frame, target in zip(frames, output, strict=True):
        for channel in range(3):
            plane = frame[:, :, channel].astype(np.float32) / np.float32(255)
            target[channel, top : top + height, left : left + width] = _resize_antialiased(plane, height, width)
    output *= 2
    output -= 1
    return output


def _resize_antialiased(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Bilinear with antialiasing, on floats: Pillow's filter is the one that PyTorch took over."""
    if plane.shape == (height, width):
        return plane
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))


def restore(alpha: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """An alpha as the network sees frames, at the frames' size.

    Args:
        alpha: float32 [T, padded height, padded width].
        geometry: the clip's.

    Returns:
        float32 [T, H, W]; cropped, then bilinear without antialiasing, as upstream's ``F.interpolate``.
    """
    top, left = geometry.padding
    height, width = geometry.resized
    cropped = np.ascontiguousarray(alpha[:, top : top + height, left : left + width])
    if geometry.source == geometry.resized:
        return cropped
    size = geometry.source[1], geometry.source[0]
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in cropped])


def threshold(alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is nearly opaque or nearly transparent becomes so, as upstream's last step does it."""
    return np.where(alpha >= HIGH, np.float32(1), np.where(alpha <= LOW, np.float32(0), alpha))
