"""Whether the object in the picture is still the one of the reference, as networks see it: CLIP-I and DINO.

Both are the cosine of two pictures' directions, as in DreamBooth's evaluation (Ruiz et al. 2023, arXiv 2208.12242): the
object as it was cut out, and what is in its place in the result, each before white.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPModel, Dinov2Model, ViTModel

from atelier import memory
from atelier.compositing.jobs import Pixels
from atelier.compositing.neural.devices import resolve
from atelier.compositing.neural.loading import (
    CheckpointError,
    check_loaded,
    check_weights,
    digest,
    foreign,
    open_folder,
    quiet,
    read_json,
    require,
    shard_files,
)
from atelier.compositing.neural.pictures import on_white
from atelier.memory import Memory

_KINDS: dict[str, dict[str, Any]] = {"clip": {"clip": CLIPModel}, "dino": {"dinov2": Dinov2Model, "vit": ViTModel}}
"""By setting: classes by ``model_type``."""


class Similarity:
    """CLIP's picture tower, DINO, or both.

    Args:
        folders: by ``clip`` and ``dino``: Hugging Face's layout, with ``preprocessor_config.json``.
        device: as in the settings.

    Attributes:
        loaded: memory after loading.
        facts: for reports, by network.

    Raises:
        CheckpointError: a folder cannot be used.
    """

    def __init__(self, folders: Mapping[str, Path], device: str = "auto") -> None:
        self.device = resolve(device)
        self._seen: dict[str, Callable[[Pixels], Tensor]] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        for name, folder in folders.items():
            self._seen[name], self.facts[name] = _load(name, folder, self.device)
        self.loaded: dict[str, Memory] = {"similarity": memory.measure(self.device)}

    @torch.inference_mode()
    def __call__(self, one: Pixels, other: Pixels) -> dict[str, float]:
        """Cosines of two pictures.

        Args:
            one: RGBA [h, w, 4].
            other: RGBA, of any size.

        Returns:
            ``clip_similarity`` and ``dino_similarity``, -1 to 1, as far as there are networks for them.
        """
        return {
            f"{name}_similarity": float(torch.cosine_similarity(seen(one), seen(other), dim=0))
            for name, seen in self._seen.items()
        }


def _load(name: str, folder: Path, device: str) -> tuple[Callable[[Pixels], Tensor], dict[str, Any]]:
    folder = open_folder(folder, "CLIP" if name == "clip" else "DINO or DINOv2")
    files = ["config.json", "preprocessor_config.json", *shard_files(folder)]
    require(folder, files)
    kind = read_json(folder, "config.json").get("model_type")
    if kind not in _KINDS[name]:
        raise CheckpointError(f"{folder.name}/config.json describes a {kind}; accepted: {', '.join(_KINDS[name])}.")
    check_weights(folder, files)
    more = {"add_pooling_layer": False} if kind == "vit" else {}  # DINO has none
    with quiet(), foreign(folder, "The network"):
        made: Any = _KINDS[name][kind].from_pretrained(
            str(folder), local_files_only=True, dtype=torch.float32, output_loading_info=True, **more
        )
    network, info = made
    # Older files of CLIP have the numbers of the places among their tensors.
    strangers = [key for key in info.get("unexpected_keys") or () if not str(key).endswith("position_ids")]
    check_loaded(folder, {**info, "unexpected_keys": strangers})
    network = network.eval().requires_grad_(False).to(device)
    settings = read_json(folder, "preprocessor_config.json")
    with foreign(folder, "preprocessor_config.json"):
        crop: Any = settings.get("crop_size", settings.get("size"))
        side = int(crop["height"] if isinstance(crop, dict) else crop)
        mean, spread = (torch.tensor(settings[f"image_{key}"], device=device).view(3, 1, 1) for key in ("mean", "std"))

    def seen(picture: Pixels) -> Tensor:
        shown = np.ascontiguousarray(on_white(picture, side, side))
        pixels = torch.from_numpy(shown).to(device).permute(2, 0, 1).float() / 255
        given = ((pixels - mean) / spread)[None]
        direction: Tensor
        if name == "clip":  # its other tower, for words, is not asked
            direction = network.visual_projection(network.vision_model(pixel_values=given).pooler_output)[0]
        else:
            direction = network(pixel_values=given).last_hidden_state[0, 0]
        return direction

    return seen, {"name": str(kind), "digest": digest(folder, files), "quantisation": "none"}
