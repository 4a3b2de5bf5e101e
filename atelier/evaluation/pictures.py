"""Measures of single pictures and of mattes against the truth: the inpainting and the matting side.

What a picture is like without a truth is `frames.frame_metrics`.
"""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from atelier.errors import InvalidInput
from atelier.evaluation.alpha import alpha_errors
from atelier.evaluation.arrays import Frame, check_frame, check_sizes
from atelier.evaluation.pairs import gmsd, psnr, ssim

Matte = NDArray[np.uint8] | NDArray[np.floating]


def picture_metrics(picture: Frame, truth: Frame) -> dict[str, float]:
    """How near a picture is to the true one.

    Args:
        picture: uint8 RGB [H, W, 3], 16 pixels a side or more.
        truth: likewise, of the same size.

    Returns:
        ``truth_psnr`` in dB, ``truth_ssim``, ``truth_gmsd``.

    Raises:
        InvalidInput: one is no such picture, or the sizes differ.
    """
    check_frame(picture, "the picture")
    check_frame(truth, "the true picture")
    check_sizes(picture, truth, "the picture and the true one")
    return {
        "truth_psnr": psnr(picture, truth),
        "truth_ssim": ssim(picture, truth),
        "truth_gmsd": gmsd(picture, truth),
    }


def matte_metrics(alpha: Matte, truth: Matte) -> dict[str, float | None]:
    """The errors of a matte, by `alpha_errors`.

    Args:
        alpha: [T, H, W], or [H, W] for a picture's; uint8, or floats in 0..1.
        truth: likewise; the two may differ in type.

    Returns:
        ``alpha_mad``, ``alpha_mse``, ``alpha_grad``, ``alpha_dtssd`` (None for one frame), ``alpha_conn``.

    Raises:
        InvalidInput: the shapes differ or are none of these, or a value is outside its range.
    """
    errors = asdict(alpha_errors(_fractions(alpha, "the matte"), _fractions(truth, "the true matte")))
    return {f"alpha_{name}": None if math.isnan(value) else value for name, value in errors.items()}


def _fractions(alpha: Matte, name: str) -> NDArray[np.floating]:
    if alpha.ndim == 2:
        alpha = alpha[None]
    if alpha.dtype == np.uint8:
        return alpha.astype(np.float64) / 255
    if not np.issubdtype(alpha.dtype, np.floating):
        raise InvalidInput(f"{name} is {alpha.dtype}; uint8, or floats in 0 to 1, are needed.")
    return alpha.astype(np.float64)
