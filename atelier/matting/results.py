"""The files that a job makes of frames and their alpha."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from atelier.matting.backgrounds import GREEN, Background, compose, plain
from atelier.matting.files import Part, PictureFiles, VideoFile, new_file
from atelier.media.foreground import estimate_foreground
from atelier.media.video import Facts

Frame = NDArray[np.uint8]


class FileSettings(Protocol):
    """What of a job's settings applies to its files."""

    @property
    def codec(self) -> str:
        """Of the videos."""
        ...

    @property
    def estimate_foreground(self) -> bool:
        """Whether the old background's colours are taken out of what is partly transparent."""
        ...

    @property
    def max_frames(self) -> int | None:
        """Where the clip ends before its file does."""
        ...

    @property
    def first_frame(self) -> int:
        """Number of the first frame that is written."""
        ...


class ResultFiles:
    """All files of a job.

    Args:
        outputs: which.
        settings: codec, foreground estimation and first frame apply.
        facts: of the video.
        audio: opens the video once more for its sound.
        background: for ``composite``.
    """

    def __init__(
        self,
        outputs: Sequence[str],
        settings: FileSettings,
        facts: Facts,
        audio: Callable[[], Any],
        background: Background | None,
    ) -> None:
        self._outputs, self._estimate, self._background = outputs, settings.estimate_foreground, background
        self.files: dict[str, VideoFile | PictureFiles] = {}
        for name in outputs:
            if name == "images":
                self.files[name] = PictureFiles(name, settings.first_frame)
            else:
                sound = audio() if facts.audio and name != "alpha" else None
                form: dict[str, Any] = {"alpha": name == "rgba", "audio": sound, "first": settings.first_frame}
                form["cut_sound"] = settings.max_frames is not None
                self.files[name] = new_file(name, settings.codec, facts, **form)

    def write(self, frame: Frame, alpha: NDArray[np.float32], time: Fraction) -> None:
        """Add a frame uint8 [H, W, 3] with its alpha float32 [H, W] in 0..1 to every file."""
        levels = np.rint(alpha * 255).astype(np.uint8)
        colours = frame
        if "foreground" in self._outputs or (self._estimate and {"green", "composite", "rgba"} & set(self._outputs)):
            estimated = estimate_foreground(frame, alpha)
            colours = estimated if self._estimate else frame
        for name, file in self.files.items():
            if name in ("alpha", "images"):
                pixels = levels[..., None]
                if isinstance(file, VideoFile):
                    pixels = np.repeat(pixels, 3, axis=2)
            elif name == "foreground":
                pixels = estimated
            elif name == "rgba":
                pixels = np.dstack([colours, levels])
            elif name == "green":
                pixels = compose(colours, alpha, plain(GREEN))
            else:
                assert self._background is not None  # checked with the outputs
                pixels = compose(colours, alpha, self._background.next(*frame.shape[:2]))
            file.write(pixels, time)

    def take(self) -> Iterator[Part]:
        """Parts that were written since the last time."""
        for file in self.files.values():
            yield from file.take()

    def close(self) -> None:
        """Complete all files."""
        for file in self.files.values():
            file.close()

    def abandon(self) -> None:
        """Let all files go that are not complete; what their encoders say of it is nobody's business."""
        for file in self.files.values():
            with suppress(Exception):
                file.close()

    @property
    def silent(self) -> list[str]:
        """Names of the videos that were to have sound and cannot hold it."""
        videos = [file for name, file in self.files.items() if name != "alpha" and isinstance(file, VideoFile)]
        return [file.name for file in videos if not file.audio]
