"""A clip in windows: which frames the network sees together, and how windows that share frames become one.

Disjoint windows are what upstream's demo ran; windows that overlap are what its pipeline class did with long clips:
they start every ``num_frames - overlap`` frames, and their latents are cross-faded over the frames that two of them
hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Frame = TypeVar("Frame")
Latents = NDArray[np.float32]


def windows(frames: Iterable[Frame], size: int, overlap: int) -> Iterator[list[Frame]]:
    """Windows of a stream; each is given out as soon as its last frame is there.

    Args:
        frames: any length.
        size: frames of a window; the last may have fewer.
        overlap: frames that a window shares with the one before it.

    Yields:
        Lists of frames. A window that would hold fewer frames than the overlap, all of them in the one before it, is
        left out. One of exactly the overlap is not: upstream runs it.
    """
    source = iter(frames)
    window = list(islice(source, size))
    while window:
        yield window
        if len(window) < size:
            return
        shared = window[len(window) - overlap :] if overlap else []
        fresh = list(islice(source, size - overlap))
        if not fresh and not overlap:
            return
        window = shared + fresh


def first_window(frame: int, size: int, overlap: int) -> tuple[int, int]:
    """The first window that holds a frame: its number, and its own first frame."""
    step = size - overlap
    number = max(0, -(-(frame - size + 1) // step))
    return number, number * step


class CrossFade:
    """Latents of windows in, latents of the clip out, each as soon as no later window can change it.

    Args:
        overlap: frames that a window shares with the one before it.
    """

    def __init__(self, overlap: int) -> None:
        self._overlap = overlap
        self._held: Latents | None = None

    def push(self, latents: Latents) -> Latents:
        """Add a window.

        Args:
            latents: float32 [copies, frames, 4, h, w].

        Returns:
            float32 [copies, n, 4, h, w]: what is final now.
        """
        overlap = self._overlap
        if self._held is not None:
            weights = np.linspace(0, 1, overlap, dtype=np.float32).reshape(1, overlap, 1, 1, 1)
            shared = self._held * (1 - weights) + latents[:, :overlap] * weights
            latents = np.concatenate([shared, latents[:, overlap:]], axis=1)
        if not overlap:
            return latents
        final, self._held = latents[:, :-overlap], latents[:, -overlap:]
        return final

    def end(self) -> Latents | None:
        """What was held back for a window that does not come."""
        held, self._held = self._held, None
        return held
