"""SAM 2: what is at a point or in a box, as a mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import Sam2Model

from atelier import memory
from atelier.compositing.jobs import Pixels
from atelier.compositing.neural.birefnet import MEAN, STD
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
from atelier.errors import InvalidInput
from atelier.memory import Memory

_KINDS = ("sam2", "sam2_video")  # published folders hold the network for videos, of which this one is a part


class Sam2:
    """SAM 2, loaded.

    Args:
        folder: in the layout of transformers: ``config.json`` and ``model.safetensors``.
        device: as in the settings.

    Attributes:
        loaded: memory after loading.
        facts: for reports.
        side: pixels a side that the network gets.

    Raises:
        CheckpointError: files are missing, unreadable, or of another model.
        InvalidInput: the device is not there.
    """

    def __init__(self, folder: Path, device: str = "auto") -> None:
        self.device = resolve(device)
        folder = open_folder(folder, "SAM 2")
        files = ["config.json", *shard_files(folder)]
        require(folder, files)
        config = read_json(folder, "config.json")
        if (kind := config.get("model_type")) not in _KINDS:
            raise CheckpointError(f"{folder.name}/config.json describes a {kind}; accepted: {', '.join(_KINDS)}.")
        check_weights(folder, files)
        with quiet(), foreign(folder, "SAM 2"):
            made: Any = Sam2Model.from_pretrained(
                str(folder), local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
        model, info = made
        check_loaded(folder, info)
        self._model: Any = model.eval().requires_grad_(False).to(self.device)
        size = model.config.prompt_encoder_config.image_size
        self.side: int = size if isinstance(size, int) else int(size[0])
        self.facts: dict[str, Any] = {
            "name": "SAM 2",
            "digest": digest(folder, files),
            "licence": "Apache-2.0",
            "quantisation": "none",
        }
        self.loaded: dict[str, Memory] = {"sam2": memory.measure(self.device)}

    @torch.inference_mode()
    def __call__(
        self,
        picture: Pixels,
        point: tuple[float, float] | None = None,
        box: tuple[float, float, float, float] | None = None,
    ) -> tuple[NDArray[np.bool_], float]:
        """What is there. Of the three answers the one that the network trusts most.

        Args:
            picture: RGB [H, W, 3].
            point: x, y, pixels, on the object.
            box: left, top, right, bottom, pixels, around it.

        Returns:
            bool [H, W], and the network's guess of its overlap with the truth, 0..1.

        Raises:
            InvalidInput: neither point nor box is given: the network would answer all the same.
        """
        if point is None and box is None:
            raise InvalidInput("SAM 2 needs a point or a box on the object.")
        height, width = picture.shape[:2]
        scale = torch.tensor([self.side / width, self.side / height], device=self.device)
        prompts: dict[str, torch.Tensor] = {}
        if point is not None:
            prompts["input_points"] = (torch.tensor(point, device=self.device) * scale).float().view(1, 1, 1, 2)
            prompts["input_labels"] = torch.ones(1, 1, 1, dtype=torch.int64, device=self.device)
        if box is not None:
            corners = torch.tensor(box, device=self.device).view(2, 2) * scale
            prompts["input_boxes"] = corners.float().view(1, 1, 4)
        found = self._model(pixel_values=self._pixels(picture), multimask_output=True, **prompts)
        scores = found.iou_scores[0, 0]
        best = int(scores.argmax())
        logits = functional.interpolate(
            found.pred_masks[0, :, best : best + 1].float(), (height, width), mode="bilinear", align_corners=False
        )
        return (logits[0, 0] > 0).cpu().numpy(), float(scores[best].clamp(0, 1))

    def _pixels(self, picture: Pixels) -> torch.Tensor:
        x = torch.from_numpy(np.ascontiguousarray(picture)).to(self.device).permute(2, 0, 1)[None].float()
        x = functional.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True)
        mean, std = (x.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        return (x / 255 - mean) / std
