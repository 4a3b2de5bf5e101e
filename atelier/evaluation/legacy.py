"""The numbers of the script that this replaces, computed as it did, so that its reports can be compared.

None of them is a measure of quality; `NOTES` says of each what is wrong with it. They are never part of a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from atelier.errors import InvalidInput
from atelier.evaluation.arrays import Frame, checked, luma
from atelier.evaluation.frames import sharpness_laplacian
from atelier.evaluation.pairs import mean_absolute_difference

NOTES = {
    "legacy_temporal_consistency": "1 / (1 + mean difference of neighbouring frames / 255): never below 0.5, and a "
    "still picture is perfect.",
    "legacy_sharpness": "Variance of the Laplacian / 500, cut at 1: it depends on the frame's size, and noise is "
    "perfect.",
    "legacy_color_diversity": "Entropy of the hues / 7.49 bits: noise is perfect, and a picture that is meant to have "
    "few colours is bad.",
    "legacy_overall": "0.4 consistency + 0.3 sharpness + 0.3 colour diversity: a still of white noise scores "
    "a perfect 1.",
    "legacy_pseudo_fvd": "(1 - legacy_overall) × 1000, once called FVD: it holds no Fréchet distance, no reference and "
    "no network, and a still of white noise scores a perfect 0.",
    "legacy_clip_01": "(cosine + 1) / 2: a text that has nothing to do with the video scores about 0.5 or more; the "
    "committed script compared videos with LoRA to the text “Unknown”, not to their prompts.",
}
"""What is wrong with each, in one line."""

THRESHOLDS = (
    "CLIP ≥ 0.3, FVD ≤ 1140: the programme that the old numbers were made for asked for these. Every video passes: the "
    "first is met by every cosine of -0.4 or more, the second number is never above 800."
)
"""What the old numbers were held against."""


def legacy_metrics(frames: Iterable[Frame]) -> dict[str, float | None]:
    """All but ``legacy_clip_01``, which needs CLIP. One pass; two frames are held at a time.

    Args:
        frames: uint8 RGB [H, W, 3] of one size, or an array [T, H, W, 3].

    Returns:
        By name as in `NOTES`. For one frame, which has no neighbour, ``legacy_temporal_consistency`` is None and with
        it ``legacy_overall`` and ``legacy_pseudo_fvd``.

    Raises:
        InvalidInput: a frame is none, sizes differ, or there is no frame.
    """
    differences: list[float] = []
    variances: list[float] = []
    entropies: list[float] = []
    previous = None
    for frame in checked(frames):
        if previous is not None:
            differences.append(mean_absolute_difference(previous, frame))
        variances.append(sharpness_laplacian(luma(frame)))
        entropies.append(_hue_entropy(frame))
        previous = frame
    sharpness = min(float(np.mean(variances)) / 500, 1.0)
    diversity = float(np.mean(entropies)) / 7.49
    consistency = overall = None
    if differences:
        consistency = 1 / (1 + float(np.mean(differences)) / 255)
        overall = 0.4 * consistency + 0.3 * sharpness + 0.3 * diversity
    return {
        "legacy_temporal_consistency": consistency,
        "legacy_sharpness": sharpness,
        "legacy_color_diversity": diversity,
        "legacy_overall": overall,
        "legacy_pseudo_fvd": None if overall is None else (1 - overall) * 1000,
    }


def legacy_clip_01(cosine: float) -> float:
    """(cosine + 1) / 2, as the old script gave a CLIP score.

    Args:
        cosine: of a text's and a picture's embedding, not times 100; the script's mean over 8 frames.

    Raises:
        InvalidInput: it is no cosine.
    """
    # Cosines in float32 may pass 1 by a rounding; scores that were multiplied by 100 are what this is here to find.
    if not abs(cosine) <= 1.001:
        raise InvalidInput(f"{cosine:g} is no cosine; -1 to 1 is accepted.")
    return (cosine + 1) / 2


def _hue_entropy(frame: Frame) -> float:
    """Bits; OpenCV's hues are 180, so that log2(180) = 7.49 is the most."""
    hues = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)[..., 0]
    shares = np.bincount(hues.ravel(), minlength=180) / hues.size
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())
