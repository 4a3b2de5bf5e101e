"""What composites stand before: a colour, a picture or a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from atelier.errors import InvalidInput
from atelier.media import DEFAULT_MAX_PIXELS, decode_picture
from atelier.media.video import open_video

Pixels = NDArray[np.uint8]
GREEN = (0, 255, 0)
_LONGEST_COLOUR = 64  # bytes: longer than any name or formula of a colour


class Background:
    """Pictures to put behind frames, one after another.

    Args:
        pictures: uint8 [H, W, 3] of any size; where there are fewer than frames, the last one stays.
        close: lets them go.

    Attributes:
        kind: what it was made of, for the report.
    """

    def __init__(self, kind: str, pictures: Iterator[Pixels], close: Callable[[], None] = lambda: None) -> None:
        self.kind, self._pictures, self.close = kind, pictures, close
        self._fitted: Pixels | None = None
        self._last: Pixels | None = None

    def skip(self, frames: int) -> None:
        """Pass over the pictures of frames that are not wanted."""
        for _ in range(frames):
            picture = next(self._pictures, None)
            if picture is None:
                return
            self._last = picture

    def next(self, height: int, width: int) -> Pixels:
        """The next picture, scaled to cover the frame and cut to it around its middle."""
        picture = next(self._pictures, None if self._fitted is not None else self._last)
        if picture is not None:
            self._fitted = cover(picture, height, width)
        if self._fitted is None:
            raise InvalidInput("BACKGROUND has no pictures.")
        return self._fitted


def read_background(source: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Background:
    """A background from what a request holds.

    Args:
        source: a colour as CSS writes it (``#00ff00``, ``rgb(0, 255, 0)``, ``green``), or the bytes of a picture or a
            video.
        max_pixels: of a picture or a frame at most.

    Raises:
        InvalidInput: it is none of these.
    """
    if len(source) <= _LONGEST_COLOUR:
        try:
            colour = ImageColor.getrgb(source.decode("ascii").strip())[:3]
        except (UnicodeDecodeError, ValueError):
            raise InvalidInput(
                "BACKGROUND is no colour, picture or video; accepted: #00ff00, rgb(0, 255, 0), green, or a file."
            ) from None
        return Background("colour", iter([plain(colour)]))
    try:
        picture = decode_picture(source, name="BACKGROUND", max_pixels=max_pixels)
    except InvalidInput as refusal:
        try:
            reader = open_video(source, name="BACKGROUND", max_pixels=max_pixels)
        except InvalidInput as error:
            raise (error if "is not a PNG" in str(refusal) else refusal) from None
        return Background("video", (frame.pixels for frame in reader), reader.close)
    return Background("picture", iter([picture.rgb]))


def plain(colour: tuple[int, ...]) -> Pixels:
    """One pixel of a colour."""
    return np.array(colour, np.uint8).reshape(1, 1, 3)


def cover(picture: Pixels, height: int, width: int) -> Pixels:
    """A picture scaled until it covers height × width, and cut to that around its middle."""
    scale = max(height / picture.shape[0], width / picture.shape[1])
    tall, wide = (max(side, round(scale * old)) for side, old in zip((height, width), picture.shape[:2], strict=True))
    if (tall, wide) != picture.shape[:2]:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        picture = np.asarray(cv2.resize(picture, (wide, tall), interpolation=method), np.uint8)
    top, left = (tall - height) // 2, (wide - width) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def compose(foreground: Pixels, alpha: NDArray[np.float32], background: Pixels) -> Pixels:
    """A foreground before a background.

    Args:
        foreground: uint8 [H, W, 3], not premultiplied.
        alpha: float32 [H, W] in 0..1.
        background: uint8 [H, W, 3].

    Returns:
        uint8 [H, W, 3]; where alpha is 0 or 1, one of the two exactly.
    """
    weight = alpha[..., None]
    mixed = foreground * weight + background * (1 - weight)
    output: Pixels = np.rint(mixed).astype(np.uint8)
    return output
