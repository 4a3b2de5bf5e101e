"""Result files of a matting job, given out in parts while they grow."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.media import Picture, encode_picture
from atelier.media.video import Facts, VideoWriter
from atelier.media.video.codecs import find_codec

LARGEST_PART = 2**20
"""Bytes of one part: well below the 4 MiB that gRPC clients take by default."""


@dataclass(frozen=True)
class Part:
    """Some bytes of a file.

    Attributes:
        name: of the file, with ``/`` where it lies in a folder.
        offset: where they belong, bytes. What was written there before is replaced: a file's header is written again
            when the file is complete.
        data: the bytes.
    """

    name: str
    offset: int
    data: bytes


class Recorder(io.RawIOBase):
    """A file that keeps what is written to it until it is taken; nothing can be read back."""

    def __init__(self) -> None:
        super().__init__()
        self._position = self._end = 0
        self._written: list[tuple[int, bytes]] = []

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Keep bytes at the present position."""
        content = bytes(data)
        self._written.append((self._position, content))
        self._position += len(content)
        self._end = max(self._end, self._position)
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Change the position."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """The present position."""
        return self._position

    def take(self) -> Iterator[tuple[int, bytes]]:
        """What was written since the last time: runs of neighbouring bytes."""
        written, self._written = self._written, []
        while written:
            offset, content = written.pop(0)
            parts, end = [content], offset + len(content)
            while written and written[0][0] == end:
                parts.append(written.pop(0)[1])
                end += len(parts[-1])
            yield offset, b"".join(parts)


class VideoFile:
    """A video that is written as frames come.

    Args:
        name: without an ending.
        codec: ``h264``, ``prores4444``, ``vp9`` or ``ffv1``.
        facts: of the video that the frames come from.
        alpha: whether frames have a fourth channel.
        audio: an open container whose sound is kept; closed with this.
        cut_sound: whether the sound ends with the last frame.

    Raises:
        InvalidInput: the codec has no alpha.
    """

    def __init__(
        self, name: str, codec: str, facts: Facts, *, alpha: bool = False, audio: Any = None, cut_sound: bool = False
    ) -> None:
        chosen = find_codec(codec, alpha=alpha)
        self.name = name + chosen.suffix
        self._recorder = Recorder()
        self._writer = VideoWriter(self._recorder, chosen, facts, alpha=alpha, audio=audio, cut_sound=cut_sound)
        self.audio, self.size = self._writer.audio, 0

    def write(self, pixels: NDArray[np.uint8], time: Fraction) -> None:
        """Add a frame."""
        self._writer.write(pixels, time)

    def close(self) -> None:
        """Complete the file."""
        self._writer.close()

    def take(self) -> Iterator[Part]:
        """Parts that were written since the last time."""
        for offset, data in self._recorder.take():
            self.size = max(self.size, offset + len(data))
            for start in range(0, len(data), LARGEST_PART):
                yield Part(self.name, offset + start, data[start : start + LARGEST_PART])

    def describe(self) -> Mapping[str, Any]:
        """For the report."""
        return {"name": self.name, "bytes": self.size, "audio": self.audio}


class PictureFiles:
    """Numbered PNG files in a folder.

    Args:
        name: the folder's.
        first: number of the first.
    """

    def __init__(self, name: str, first: int = 0) -> None:
        self.name, self.audio = name, None
        self._parts: list[Part] = []
        self._first = self._count = first
        self._bytes = 0

    def write(self, pixels: NDArray[np.uint8], time: Fraction) -> None:
        """Add a frame, uint8 [H, W, 1, 3 or 4]; PNG holds no time."""
        del time
        data = encode_picture(Picture(pixels, None, "png"), "png")
        file = str(PurePosixPath(self.name) / f"{self._count:05d}.png")
        starts = range(0, len(data), LARGEST_PART)
        self._parts += [Part(file, start, data[start : start + LARGEST_PART]) for start in starts]
        self._count += 1
        self._bytes += len(data)

    def close(self) -> None:
        """Every file is complete."""

    def take(self) -> Iterator[Part]:
        """Parts that were written since the last time."""
        parts, self._parts = self._parts, []
        yield from parts

    def describe(self) -> Mapping[str, Any]:
        """For the report."""
        return {"name": self.name, "bytes": self._bytes, "pictures": self._count - self._first}


def new_file(
    name: str,
    codec: str,
    facts: Facts,
    *,
    alpha: bool = False,
    audio: Any = None,
    cut_sound: bool = False,
    first: int = 0,
) -> VideoFile | PictureFiles:
    """A video, or pictures from a number on where the codec is ``png``.

    Raises:
        InvalidInput: there is no such codec, or it has no alpha.
    """
    if codec == "png":
        if audio is not None:
            audio.close()
        return PictureFiles(name, first)
    return VideoFile(name, codec, facts, alpha=alpha, audio=audio, cut_sound=cut_sound)
