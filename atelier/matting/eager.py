"""The networks in PyTorch, in this process."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from atelier.errors import InvalidInput
from atelier.matting.checkpoint import Checkpoint

TYPES = {"fp32": torch.float32, "fp16": torch.float16}


class EagerNetworks:
    """The three networks of a checkpoint.

    Args:
        checkpoint: as loaded; its networks are moved, not copied.
        device: PyTorch's name of it.
        precision: ``fp32`` or ``fp16``, of weights and computing.

    Raises:
        InvalidInput: the precision or the device is not known.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", precision: str = "fp32") -> None:
        if precision not in TYPES:
            raise InvalidInput(f"precision is {precision!r}; accepted: fp32 or fp16.")
        self.sampler = checkpoint.sampler
        self._type = TYPES[precision]
        try:
            self._device = torch.device(device)
            networks = checkpoint.unet, checkpoint.encoder, checkpoint.decoder
            self._unet, self._encoder, self._decoder = (net.to(self._device, self._type) for net in networks)
        except (RuntimeError, AssertionError) as error:
            raise InvalidInput(f"The device {device!r} cannot be used: {str(error).splitlines()[0]}") from None

    def encode(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Networks.encode`."""
        return self._run(self._encoder, self._tensor(frames))

    def predict(self, sample: NDArray[np.float32], timestep: float) -> NDArray[np.float32]:
        """See `Networks.predict`."""
        return self._run(self._unet, self._tensor(sample), torch.tensor([timestep], device=self._device))

    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Networks.decode`."""
        return self._run(self._decoder, self._tensor(latents))

    def _tensor(self, array: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device, self._type)

    @staticmethod
    def _run(network: torch.nn.Module, *inputs: torch.Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            output: NDArray[np.float32] = network(*inputs).float().cpu().numpy()
        return output
