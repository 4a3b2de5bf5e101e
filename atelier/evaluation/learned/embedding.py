"""Pictures as directions: what CLIP and DINO have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atelier.errors import InvalidInput
from atelier.evaluation.arrays import Frame, checked

Directions = NDArray[np.float32]
"""[N, D], each of length 1."""

BATCH = 16


def embed(frames: Iterable[Frame], processor: Any, network: Callable[[Tensor], Tensor], device: str) -> Directions:
    """Directions of frames, a batch at a time: a long video is never held.

    Args:
        frames: as `arrays.checked` takes them.
        processor: cuts and scales them.
        network: from [B, 3, h, w] to [B, D].
        device: of the network.

    Returns:
        One for each frame.

    Raises:
        InvalidInput: there is no frame, one is none, sizes differ, or the network gives no finite number.
    """
    directions = []
    for batch in _batches(frames):
        pixels = processor(images=batch, input_data_format="channels_last", return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            directions.append(unit(network(pixels.to(device))))
    return np.concatenate(directions)


def unit(vectors: Tensor) -> Directions:
    """Vectors [N, D] of any length, made 1 long.

    Raises:
        InvalidInput: a number is not finite, or a vector is 0.
    """
    found: Directions = torch.nn.functional.normalize(vectors.double(), dim=-1, eps=1e-30).float().cpu().numpy()
    if not np.isfinite(found).all() or not found.any(axis=-1).all():
        raise InvalidInput("the network's answer is not finite, or 0; its weights are damaged.")
    return found


def consistency(directions: Directions) -> float | None:
    """Mean cosine of neighbouring frames, -1 to 1.

    The per-frame part of VBench's subject and background consistency (Huang et al. 2024, arXiv 2311.17982), which add
    the cosine with the first frame and cut below 0. It rewards stills: one that does not move at all has exactly 1.

    Args:
        directions: of a video's frames, in order.

    Returns:
        The mean; None for fewer than two frames.
    """
    if len(directions) < 2:
        return None
    exact = directions.astype(np.float64)
    return float((exact[1:] * exact[:-1]).sum(axis=1).mean())


def sampled(directions: Directions, most: int) -> Directions:
    """Evenly over the video, first and last included; all of them where there are no more."""
    if len(directions) <= most:
        return directions
    return directions[np.linspace(0, len(directions) - 1, most).round().astype(np.intp), :]


def _batches(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    rest = checked(frames)
    while batch := list(islice(rest, BATCH)):
        yield batch
