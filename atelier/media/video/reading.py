"""Frames of a video: every one of them, upright, square pixels, with its own time."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from atelier.errors import InvalidInput
from atelier.media.codecs import DEFAULT_MAX_PIXELS
from atelier.media.video.facts import Facts, Timed
from atelier.media.video.pictures import PictureReader

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,avi,apng"
"""Of files that are opened: none that names other files, as playlists do."""
ACCEPTED = "mp4, mov, mkv, webm, gif, avi, or a zip of pictures"


def open_video(
    source: bytes | Path, *, name: str = "VIDEO", max_pixels: int = DEFAULT_MAX_PIXELS, rate: Fraction = Fraction(25)
) -> VideoReader | PictureReader:
    """A video, or pictures that stand for one.

    Args:
        source: the file's bytes, or the path of a file or of a folder with pictures.
        name: what errors call it.
        max_pixels: of a frame at most.
        rate: frames a second of pictures, which say nothing of it.

    Raises:
        InvalidInput: it is nothing that can be read, has no pictures, or its frames are too large.
    """
    if isinstance(source, Path) and source.is_dir():
        return PictureReader.of_folder(source, name=name, max_pixels=max_pixels, rate=rate)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    if zipfile.is_zipfile(file):
        return PictureReader.of_archive(file, name=name, max_pixels=max_pixels, rate=rate)
    return VideoReader(source, name=name, max_pixels=max_pixels)


class VideoReader:
    """A video file. Iterate over it once.

    Args:
        source: the file's bytes, or its path.
        name: what errors call it.
        max_pixels: of a frame at most.

    Attributes:
        facts: what it says of itself.

    Raises:
        InvalidInput: it is no video, has no pictures, or its frames are too large.
    """

    def __init__(self, source: bytes | Path, *, name: str = "VIDEO", max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        self._source, self._name, self._max_pixels = source, name, max_pixels
        self._unshown = 0
        self._container = self._open()
        if not self._container.streams.video:
            self._container.close()
            raise InvalidInput(f"{name} has no pictures: no video stream.")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        context = self._stream.codec_context
        if context is None:
            self._container.close()
            raise InvalidInput(f"{name} has pictures in a codec that is not known here.")
        if not context.width or not context.height:
            self._container.close()
            raise InvalidInput(f"{name} does not say how large its frames are.")
        if context.width * context.height > max_pixels:
            self._container.close()
            raise InvalidInput(
                f"{name} has frames of {context.width}x{context.height}; {max_pixels} pixels are the most."
            )
        try:
            self._frames = self._decoded()  # one for all: what its decoder holds back is not in the file any more
            self._first = next(self._frames, None)
        except InvalidInput:
            self._container.close()
            raise
        if self._first is None:
            self._container.close()
            raise InvalidInput(f"{name} has no frames that can be decoded.")
        self.facts = self._facts(self._first)
        if self.facts.width * self.facts.height > max_pixels:
            self._container.close()
            raise InvalidInput(
                f"{name} has frames of {self.facts.width}x{self.facts.height} with square pixels; {max_pixels} pixels "
                "are the most."
            )

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        self._container.close()

    def audio(self) -> Any:
        """The file once more, for its audio: an open container of PyAV's, to be closed by the caller."""
        return self._open()

    def count_packets(self) -> int:
        """Frames that the file seems to have, without decoding them: one pass over its bytes.

        Exact wherever a packet is a frame, which holds for nearly everything; a forecast, not to be relied on.
        """
        with self._open() as container:
            try:
                packets = container.demux(container.streams.video[0])
                return sum(packet.size > 0 and not packet.is_discard for packet in packets)
            except (av.error.FFmpegError, OSError):
                return 0  # what is wrong is said where frames are decoded

    def __iter__(self) -> Iterator[Timed]:
        """All frames in order.

        Raises:
            InvalidInput: the file is cut short or broken.
        """
        count, start, last = 0, None, Fraction(-1)
        frame = self._first
        while frame is not None:
            given = None if frame.pts is None else frame.pts * frame.time_base
            time = given if given is not None else (last + 1 / self.facts.rate if count else Fraction(0))
            start = time if start is None else start
            # Some files repeat a time or go back: each frame still comes after the one before it.
            last = max(time - start, last + self.facts.time_base) if count else Fraction(0)
            if frame.width * frame.height > self._max_pixels:
                raise InvalidInput(f"{self._name}: frame {count} is {frame.width}x{frame.height}, which is too large.")
            yield Timed(self._upright(frame), last)
            count += 1
            frame = next(self._frames, None)
        # What an edit list leaves out is counted by the file and not given out.
        expected = None if self.facts.frames is None else self.facts.frames - self._unshown
        if expected is not None and count < expected:
            raise InvalidInput(f"{self._name} is cut short: {count} of its {expected} frames are there.")

    def _open(self) -> Any:
        file = io.BytesIO(self._source) if isinstance(self._source, bytes) else str(self._source)
        try:
            return av.open(file, options={"format_whitelist": FORMATS}, metadata_errors="replace")
        except FileNotFoundError:
            raise InvalidInput(f"{self._name} is not there.") from None
        except (av.error.FFmpegError, ValueError, OSError):
            raise InvalidInput(
                f"{self._name} is no video that can be read, or is cut short; accepted: {ACCEPTED}."
            ) from None

    def _decoded(self) -> Iterator[Any]:
        try:
            for packet in self._container.demux(self._stream):
                self._unshown += packet.is_discard
                yield from packet.decode()
        except (av.error.FFmpegError, OSError) as error:
            raise InvalidInput(f"{self._name} cannot be decoded: {error.strerror or type(error).__name__}.") from None

    def _facts(self, first: Any) -> Facts:
        stream = self._stream
        rotation = round(getattr(first, "rotation", 0) / 90) * 90 % 360
        aspect = stream.sample_aspect_ratio or Fraction(1)
        height, width = _turned(first.height, first.width, aspect, rotation)
        audio = self._container.streams.audio
        return Facts(
            width=width,
            height=height,
            rate=Fraction(stream.average_rate or stream.guessed_rate or 25),
            time_base=Fraction(stream.time_base),
            # MP4 counts its frames; what others write there cannot be relied on.
            frames=stream.frames if stream.frames and "mp4" in self._container.format.name else None,
            codec=stream.codec_context.name,
            rotation=rotation,
            pixel_aspect=aspect,
            # Sound in a codec that is not known is none: it could not be copied.
            audio=audio[0].codec_context.codec.canonical_name if audio and audio[0].codec_context else None,
            start=Fraction(0) if first.pts is None else first.pts * Fraction(first.time_base),
        )

    def _upright(self, frame: Any) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
        if self.facts.pixel_aspect != 1:
            height, width = _turned(pixels.shape[0], pixels.shape[1], self.facts.pixel_aspect, 0)
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        if self.facts.rotation:
            pixels = np.ascontiguousarray(np.rot90(pixels, self.facts.rotation // 90))
        return pixels


def _turned(height: int, width: int, aspect: Fraction, rotation: int) -> tuple[int, int]:
    """Height and width with square pixels, upright: the side that is too short grows."""
    if aspect > 1:
        width = round(width * aspect)
    elif 0 < aspect < 1:
        height = round(height / aspect)
    return (width, height) if rotation % 180 else (height, width)
