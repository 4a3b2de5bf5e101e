"""Frames into a video file: exact times, alpha where the codec has it, audio as it came."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from atelier.media.video.codecs import Codec
from atelier.media.video.facts import Facts

_FORMATS = {".mp4": "mp4", ".mov": "mov", ".webm": "webm", ".mkv": "matroska"}
_FINEST = Fraction(1, 90000)
"""Of time bases: what MPEG has; a file's own where that is coarser."""


class VideoWriter:
    """A video that is written as frames come. Close it, or use it with ``with``: only then the file is whole.

    Args:
        file: a path, or a file that can be written and searched.
        codec: how.
        facts: of the video that the frames come from: rate and time base.
        alpha: whether frames have a fourth channel.
        audio: an open container of PyAV's whose first audio stream is copied; closed with this.
        cut_sound: whether the sound ends with the last frame that is written; all of it is kept otherwise.
        width: of the frames, where they are not those of ``facts``.
        height: likewise.

    Attributes:
        audio: the codec of the audio that is kept; None without.
    """

    def __init__(
        self,
        file: str | io.RawIOBase,
        codec: Codec,
        facts: Facts,
        *,
        alpha: bool = False,
        audio: Any = None,
        cut_sound: bool = False,
        width: int = 0,
        height: int = 0,
    ) -> None:
        self._codec, self._alpha, self._source = codec, alpha, audio
        self._cut_sound, self._facts, self._end = cut_sound, facts, Fraction(0)
        self._container: Any = av.open(file, "w", format=_FORMATS[codec.suffix])
        width, height = width or facts.width, height or facts.height
        pixels = codec.alpha if alpha else codec.odd if width % 2 or height % 2 else codec.opaque
        stream: Any = self._container.add_stream(codec.encoder, rate=facts.rate)
        stream.width, stream.height, stream.pix_fmt, stream.options = width, height, pixels, dict(codec.options)
        self._time_base = max(facts.time_base, _FINEST)
        stream.codec_context.time_base = self._time_base
        if alpha and codec.suffix == ".webm":
            stream.metadata["alpha_mode"] = "1"
        self._stream, self._last = stream, -1
        self._packets: Iterator[Any] = iter(())
        self._waiting: Any = None
        self.audio: str | None = None
        self._add_audio()

    def _add_audio(self) -> None:
        if self._source is None or not self._source.streams.audio:
            return
        stream = self._source.streams.audio[0]
        name = stream.codec_context.codec.canonical_name
        if name not in self._codec.audio:
            return
        self._sound = self._container.add_stream_from_template(stream)
        self._packets = self._moved(stream)
        self._waiting = next(self._packets, None)
        self.audio = name

    def _moved(self, stream: Any) -> Iterator[Any]:
        """The sound's packets, by the time of the first frame, which is 0 here."""
        for packet in self._source.demux(stream):
            if packet.dts is None:
                continue
            shift = round(self._facts.start / packet.time_base)
            packet.dts -= shift
            if packet.pts is not None:
                packet.pts -= shift
            if self._facts.start <= 0 or packet.dts + (packet.duration or 0) > 0:
                yield packet

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, pixels: NDArray[np.uint8], time: Fraction) -> None:
        """Add a frame.

        Args:
            pixels: uint8 [H, W, 3] RGB or [H, W, 4] RGBA, alpha not premultiplied.
            time: seconds after the first frame.
        """
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgba" if self._alpha else "rgb24")
        self._last = frame.pts = max(round(time / self._time_base), self._last + 1)
        frame.time_base = self._time_base
        self._end = max(self._end, time + 1 / self._facts.rate)
        self._copy_audio(time)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is left, and the file's end."""
        if self._container is None:
            return
        try:
            self._container.mux(self._stream.encode(None))
            self._copy_audio(self._end if self._cut_sound else None)
        finally:
            self._container.close()
            self._container = None
            if self._source is not None:
                self._source.close()

    def _copy_audio(self, until: Fraction | None) -> None:
        """Packets up to a time, so that sound and pictures stand near each other in the file; all without one."""
        while self._waiting is not None and (until is None or self._waiting.dts * self._waiting.time_base < until):
            self._waiting.stream = self._sound
            self._container.mux_one(self._waiting)
            self._waiting = next(self._packets, None)
