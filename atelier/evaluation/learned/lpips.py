"""LPIPS: how different two pictures look (Zhang et al. 2018, arXiv 1801.03924), version 0.1 of its heads.

The two backbones are built here, with torchvision's names of tensors, since torchvision is not a dependency.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from atelier.errors import InvalidInput
from atelier.evaluation.arrays import Frame, check_sizes, checked, sides
from atelier.evaluation.learned import layouts, loading

SMALLEST = 64
"""Pixels of a side: the patches that the heads were trained on."""
_SHIFT = (-0.030, -0.088, -0.188)  # ImageNet's mean and deviation, for pictures in -1..1
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10
_TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}  # the activations that are compared
_VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)  # channels; 0: pooling


class Lpips:
    """A backbone and its five heads.

    Attributes:
        digest: SHA-256 over both files.
        network: ``alex`` or ``vgg``; their values are not comparable.
    """

    def __init__(self, network: str, features: nn.Sequential, heads: list[Tensor], digest: str, device: str) -> None:
        self._features, self._heads, self._device = features, heads, device
        self._shift = torch.tensor(_SHIFT, device=device).view(1, 3, 1, 1)
        self._scale = torch.tensor(_SCALE, device=device).view(1, 3, 1, 1)
        self.network, self.digest = network, digest

    @classmethod
    def from_folder(cls, path: Path, device: str = "cpu") -> Lpips:
        """Load torchvision's backbone, whose classifier is left out, and LPIPS's heads.

        Args:
            path: see `layouts`.
            device: PyTorch's name.

        Raises:
            InvalidInput: something is missing, unreadable or does not fit.
        """
        files = layouts.lpips_files(path)
        network = nn.ModuleDict({"features": _alexnet() if files.network == "alex" else _vgg16()})
        loading.fill(network, loading.state_dict(files.backbone), files.backbone, device)
        features = network["features"]
        assert isinstance(features, nn.Sequential)
        state = loading.state_dict(files.heads)
        names = [f"lin{level}.model.1.weight" for level in range(len(_TAPS[files.network]))]
        loading.refuse_missing(files.heads, [name for name in names if name not in state])
        heads = [state[name].float().to(device) for name in names]
        for tap, head, name in zip(_TAPS[files.network], heads, names, strict=True):
            channels = _channels(features, tap)
            if head.shape != (1, channels, 1, 1):
                raise InvalidInput(
                    f"{files.heads.name}: {name} is {list(head.shape)}; [1, {channels}, 1, 1] is needed."
                )
        return cls(files.network, features, heads, layouts.digest((files.backbone, files.heads)), device)

    def distance(self, one: Iterable[Frame], other: Iterable[Frame]) -> float:
        """Mean distance of two videos, frame by frame; 0 is equal, and about 0.7 unlike.

        Args:
            one: as `arrays.checked` takes them; read once, side by side with the other.
            other: as many, of the same size.

        Returns:
            The mean over frames.

        Raises:
            InvalidInput: numbers of frames or sizes differ, there is no frame, or one is below `SMALLEST` pixels.
        """
        found = []
        for left, right in zip_longest(checked(one), checked(other)):
            if left is None or right is None:
                raise InvalidInput("the videos have different numbers of frames; equal ones are needed.")
            found.append(self._frames(left, right))
        return float(np.mean(found))

    def _frames(self, one: Frame, other: Frame) -> float:
        check_sizes(one, other, "the videos")
        if min(one.shape[:2]) < SMALLEST:
            raise InvalidInput(f"the videos are {sides(one)}; LPIPS needs {SMALLEST}x{SMALLEST} pixels or more.")
        if np.array_equal(one, other):
            return 0.0
        total = 0.0
        with torch.inference_mode():
            first, second = (self._taps(frame) for frame in (one, other))
            for left, right, head in zip(first, second, self._heads, strict=True):
                total += float(((left - right).square() * head).sum(dim=1).mean())
        return total

    def _taps(self, frame: Frame) -> list[Tensor]:
        """Activations, each pixel's channels made 1 long."""
        pixels = torch.from_numpy(frame.copy()).to(self._device).permute(2, 0, 1)[None].float()
        values = (pixels / 127.5 - 1 - self._shift) / self._scale
        found = []
        for place, layer in enumerate(self._features):
            values = layer(values)
            if place in _TAPS[self.network]:
                found.append(values / (values.square().sum(dim=1, keepdim=True).sqrt() + _EPSILON))
        return found


def _channels(features: nn.Sequential, tap: int) -> int:
    """Of the activation at a place: those of the convolution before it."""
    convolution = features[tap - 1]
    assert isinstance(convolution, nn.Conv2d)
    return convolution.out_channels


def _alexnet() -> nn.Sequential:
    """Features of Krizhevsky 2014's network up to the last activation, in torchvision's order."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


def _vgg16() -> nn.Sequential:
    """Likewise of Simonyan and Zisserman 2014's network."""
    layers: list[nn.Module] = []
    before = 3
    for channels in _VGG16:
        if channels:
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
            before = channels
        else:
            layers.append(nn.MaxPool2d(2, stride=2))
    return nn.Sequential(*layers)
