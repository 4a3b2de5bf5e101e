"""Batches of pages, each decided by the run's seed and the step's number alone.

So a run that was interrupted goes on with the pages that it would have seen without.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.fonts import FontSet
from training.settings import Settings, Shape, Stage

SLOTS = 4096
"""Numbers of pages that a step has for itself; no batch is larger."""

VALIDATION_SERIES = 1_000_000
"""Added to the run's seed: the pages of its validation."""

_SHAPES = 1  # the series of random numbers that draw the shapes
_PREFETCHED = 8  # batches that wait for the network, per worker


@dataclass(frozen=True)
class Batch:
    """Pages of one size, as bytes: B x H x W x 3, and B x H x W for the mask, 255 in the hole."""

    picture: Tensor
    mask: Tensor
    truth: Tensor

    def floats(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Picture, mask and truth for a network: B x 3 x H x W in 0..1, channels last, and B x 1 x H x W of 0 and 1."""
        picture, truth = (t.to(device).permute(0, 3, 1, 2).float().div_(255) for t in (self.picture, self.truth))
        return picture, self.mask.to(device).ne(0).unsqueeze(1).float(), truth


def stage_at(settings: Settings, step: int) -> tuple[int, Stage]:
    """The stage that step ``step``, counted from 0, belongs to, and its number."""
    for number, stage in enumerate(settings.stages):
        if step < stage.steps:
            return number, stage
        step -= stage.steps
    raise IndexError(f"the stages have no step {step} more")


def shape_at(settings: Settings, step: int) -> Shape:
    """The shape of a step's batch."""
    shapes = stage_at(settings, step)[1].shapes
    weights = np.array([shape.weight for shape in shapes])
    rng = np.random.default_rng((settings.seed, step, _SHAPES))
    return shapes[int(rng.choice(len(shapes), p=weights / weights.sum()))]


def draw(seed: int, indices: Iterable[int], height: int, width: int, fonts: FontSet) -> Batch:
    """Pages of a series as a batch."""
    from training import pages  # by the process that draws

    samples = [pages.draw(seed, index, height, width, fonts) for index in indices]
    picture, mask, truth = (
        torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))
        for name in ("picture", "mask", "truth")
    )
    return Batch(picture, mask, truth)


class Pages(Dataset[Batch]):
    """The batch of each step."""

    def __init__(self, settings: Settings, fonts: FontSet) -> None:
        self.settings, self.fonts = settings, fonts

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        shape = shape_at(self.settings, step)
        indices = range(step * SLOTS, step * SLOTS + shape.batch)
        return draw(self.settings.seed, indices, shape.height, shape.width, self.fonts)


def load(settings: Settings, fonts: FontSet, start: int) -> Iterable[Batch]:
    """The batches from step ``start`` to the last one, drawn ahead by the settings' workers."""
    return DataLoader(
        Pages(settings, fonts),
        batch_size=None,
        sampler=range(start, settings.total_steps),
        num_workers=settings.workers,
        prefetch_factor=_PREFETCHED if settings.workers else None,
        # A forked process would inherit the locks of OpenCV's and OpenMP's threads, but not the threads: it would hang.
        multiprocessing_context="spawn" if settings.workers else None,
        worker_init_fn=_alone,
        collate_fn=_unchanged,
        generator=torch.Generator(),  # it draws from one; PyTorch's own is part of the run's state
    )


def _unchanged(batch: Any) -> Any:  # a batch as it is; typed as PyTorch types lists of samples
    return batch


def _alone(_worker: int) -> None:
    """Keep to one core, and leave signals to the process that trains: it ends its workers when it has saved."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
