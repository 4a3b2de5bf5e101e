"""I3D, whose features FVD and KVD compare (Unterthiner et al. 2018, arXiv 1812.01717; Carreira and Zisserman 2017)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atelier.errors import InvalidInput
from atelier.evaluation.arrays import Frame, checked
from atelier.evaluation.learned import layouts, loading

SHORTEST = 10
"""Frames. With fewer, nothing is left of time after the network's strides."""
LENGTH = 16
"""Frames of each video that are looked at, as in StyleGAN-V's and most published values."""


class I3d:
    """The network as TorchScript.

    A TorchScript file is a program: whoever wrote it decides what runs here. Load only one whose origin and digest are
    known.

    Attributes:
        digest: SHA-256 of the file.
    """

    def __init__(self, network: Any, digest: str, device: str) -> None:
        self._network, self._device = network, device
        self.digest = digest

    @classmethod
    def from_folder(cls, path: Path, device: str = "cpu") -> I3d:
        """Load ``i3d_torchscript.pt``, which must be trusted.

        Args:
            path: see `layouts`.
            device: PyTorch's name.

        Raises:
            InvalidInput: the file is missing or is no TorchScript.
        """
        files = layouts.i3d_files(path)
        try:
            network = torch.jit.load(str(files[0]), map_location=device)  # type: ignore[no-untyped-call]
        except Exception as error:
            raise loading.unreadable(files[0], error) from None
        return cls(network.eval(), layouts.digest(files), device)

    def features(self, frames: Iterable[Frame], length: int = LENGTH) -> NDArray[np.float64]:
        """Features of a video's beginning: the logits of 400 actions, before softmax.

        All videos of both sets must be looked at over the same number of frames, at the same frame rate. A shorter one
        is refused; it is never repeated to fill up.

        Args:
            frames: as `arrays.checked` takes them; read up to `length`.
            length: consecutive frames from the first, at least `SHORTEST`.

        Returns:
            [400], or as many as the network gives.

        Raises:
            InvalidInput: the video or `length` is too short, a frame is none, sizes differ, or the network refuses.
        """
        if length < SHORTEST:
            raise InvalidInput(f"length is {length} frames; I3D needs at least {SHORTEST}.")
        taken = list(islice(checked(frames), length))
        if len(taken) < length:
            raise InvalidInput(f"a video has {len(taken)} frame(s); {length} of each are looked at.")
        clip = torch.from_numpy(np.stack(taken)).permute(3, 0, 1, 2)[None].float().to(self._device)
        try:
            with torch.inference_mode():
                answer = self._network(clip, rescale=True, resize=True, return_features=True)
            found: NDArray[np.float64] = answer.reshape(-1).double().cpu().numpy()
        except RuntimeError as error:
            raise InvalidInput(f"I3D refuses the video: {str(error).strip().splitlines()[-1][:200]}") from None
        if not np.isfinite(found).all():
            raise InvalidInput("I3D's answer is not finite; its weights are damaged.")
        return found
