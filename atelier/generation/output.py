"""Frames to one file: H.264, VP9, or pictures in a zip."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.generation.settings import Format
from atelier.media.codecs import Picture, encode_picture
from atelier.media.video.codecs import CODECS
from atelier.media.video.facts import Facts
from atelier.media.video.writing import VideoWriter

_CODECS = {"mp4": "h264", "webm": "vp9"}


def write_video(
    frames: NDArray[np.uint8],
    fps: int,
    form: Format,
    crf: int,
    *,
    on_frame: Callable[[int], None] = lambda _: None,
) -> bytes:
    """Write frames into one file.

    Args:
        frames: uint8 [T, H, W, 3] RGB.
        fps: frames a second.
        form: ``mp4``, ``webm``, or ``frames``: a zip of numbered PNG pictures.
        crf: quality of the codec; less is better.
        on_frame: called with the number of frames that are written, after each.
    """
    file = io.BytesIO()
    if form == "frames":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
            for number, frame in enumerate(frames):
                name = zipfile.ZipInfo(
                    f"{number:05d}.png"
                )  # without the time of day: the same frames are the same file
                archive.writestr(name, encode_picture(Picture(np.ascontiguousarray(frame), None, "png")))
                on_frame(number + 1)
        return file.getvalue()
    height, width = frames[0].shape[:2]
    codec = CODECS[_CODECS[form]]
    codec = replace(codec, options={**codec.options, "crf": str(crf)})
    facts = Facts(width, height, Fraction(fps), Fraction(1, fps), len(frames), codec.name)
    target: Any = file
    with VideoWriter(target, codec, facts) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, Fraction(number, fps))
            on_frame(number + 1)
    return file.getvalue()
