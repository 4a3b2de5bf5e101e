"""How good the average network is on pages that training does not draw, and a picture of some of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from training import batches
from training.fonts import FontSet
from training.settings import Settings

Pixels = NDArray[np.uint8]

_AT_ONCE = 4  # pages
_ROWS = 8  # pages that are shown
_EMPTY = np.array([255, 0, 255], np.uint8)  # the colour of the hole in the shown input: rare in pages
_PEAK = 1e-10  # mean squared error that counts as none, 100 dB


class Validation:
    """A fixed set of pages.

    Args:
        settings: The run's; its seed decides the pages.
        fonts: For their lettering.
        device: Where the network runs.
    """

    def __init__(self, settings: Settings, fonts: FontSet, device: torch.device) -> None:
        side, count = settings.validation_side, settings.validation_samples
        series = settings.seed + batches.VALIDATION_SERIES
        self._batches = [
            batches.draw(series, range(start, min(count, start + _AT_ONCE)), side, side, fonts)
            for start in range(0, count, _AT_ONCE)
        ]
        self._device = device

    @torch.no_grad()
    def measure(self, network: nn.Module, sheet: Path | None = None) -> dict[str, float]:
        """Run the network on every page.

        Args:
            network: A `LamaGenerator` in eval mode.
            sheet: Where to write the PNG of the first eight pages: picture, input, result, truth; None: nowhere.

        Returns:
            In the hole, of values in 0..1: ``l1``, the mean of the pages' mean absolute differences; ``psnr``, the
            mean of the pages' signal-to-noise ratios in dB; ``psnr_pooled``, the ratio of their mean squared error.
        """
        absolute: list[Tensor] = []
        squared: list[Tensor] = []
        rows: list[Pixels] = []
        for batch in self._batches:
            picture, mask, truth = batch.floats(self._device)
            result = network(picture, mask)
            difference, area = mask * (result - truth), 3 * mask.sum((1, 2, 3))
            absolute.append(difference.abs().sum((1, 2, 3)) / area)
            squared.append(difference.square().sum((1, 2, 3)) / area)
            if sheet is not None and len(rows) < _ROWS:
                rows += _rows(batch, result)
        errors = torch.cat(squared).double().clamp_min(_PEAK)
        if sheet is not None:
            sheet.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.concatenate(rows[:_ROWS])).save(sheet)
        return {
            "l1": torch.cat(absolute).double().mean().item(),
            "psnr": (-10 * errors.log10()).mean().item(),
            "psnr_pooled": (-10 * errors.mean().log10()).item(),
        }


def _rows(batch: batches.Batch, result: Tensor) -> list[Pixels]:
    """Each page's four pictures beside one another."""
    results = (result * 255).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    rows = []
    for picture, mask, painted, truth in zip(
        batch.picture.numpy(), batch.mask.numpy(), results, batch.truth.numpy(), strict=True
    ):
        shown = np.where(mask[..., None] > 0, _EMPTY, picture)
        rows.append(np.concatenate([picture, shown, painted, truth], axis=1))
    return rows
