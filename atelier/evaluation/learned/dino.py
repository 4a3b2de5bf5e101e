"""DINO and DINOv2: how alike neighbouring frames are, by what is in them (Caron et al. 2021, Oquab et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import Dinov2Model, ViTModel

from atelier.evaluation.arrays import Frame
from atelier.evaluation.learned import layouts, loading
from atelier.evaluation.learned.embedding import Directions, embed


class Dino:
    """A DINO network. Its classification token, after the last normalisation, is the frame's direction, as in VBench.

    Attributes:
        digest: SHA-256 of the weights' file.
    """

    def __init__(self, network: Any, processor: Any, digest: str, device: str) -> None:
        self._network, self._processor, self._device = network, processor, device
        self.digest = digest

    @classmethod
    def from_folder(cls, path: Path, device: str = "cpu") -> Dino:
        """Load from Hugging Face's layout.

        Args:
            path: see `layouts`.
            device: PyTorch's name.

        Raises:
            InvalidInput: something is missing, unreadable or does not fit.
        """
        files = layouts.dino_files(path)
        if layouts.read_json(path, "config.json")["model_type"] == "vit":
            network = loading.pretrained(ViTModel, path, device, add_pooling_layer=False)  # DINO has none
        else:
            network = loading.pretrained(Dinov2Model, path, device)
        return cls(network, loading.image_processor(path), layouts.digest(files), device)

    def embed(self, frames: Iterable[Frame]) -> Directions:
        """Directions of frames, for `embedding.consistency`.

        Args:
            frames: as `arrays.checked` takes them; read once, a batch at a time.

        Raises:
            InvalidInput: there is none, one is no frame, or sizes differ.
        """
        network = self._network
        return embed(
            frames, self._processor, lambda pixels: network(pixel_values=pixels).last_hidden_state[:, 0], self._device
        )
