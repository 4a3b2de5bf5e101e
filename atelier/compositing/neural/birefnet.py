"""The alpha of what stands out in a picture, by BiRefNet or by RMBG-2.0, which has the same network.

A published folder brings Python code, which `from_pretrained` would run. It is not run here: the network is this
library's own, its sizes are read off the tensors, and of the folder's code only the text is looked at, for one thing
that neither the tensors nor ``config.json`` tell: in which order the picture is stacked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from PIL import Image
from torch import Tensor
from torch.nn import functional

from atelier import memory
from atelier.compositing.jobs import Pixels
from atelier.compositing.neural.birefnet_network import BiRefNet, PatchOrder, Shape
from atelier.compositing.neural.devices import resolve
from atelier.compositing.neural.loading import CheckpointError, digest, open_folder, read_json, require
from atelier.memory import Memory
from atelier.weights import Part, check, fill, open_files

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of RGB in 0..1
SIDE = 1024
"""Pixels a side that the published networks were trained with; ``input_size`` of ``config.json`` says another."""

_STEP = 64  # of the side: the backbone halves five times, and looks at the half
_FILES = ("config.json", "model.safetensors")
_CODE = "birefnet.py"
_COUNTED = (".num_batches_tracked", ".relative_position_index")  # integers, which are computed or not needed
_LARGEST_CODE = 1 << 20
LICENCES = {"birefnet": "MIT", "rmbg": "CC BY-NC 4.0"}
NAMES = {"birefnet": "BiRefNet", "rmbg": "RMBG-2.0"}


class Remover:
    """BiRefNet or RMBG-2.0, loaded.

    Args:
        folder: with ``config.json``, ``birefnet.py`` and ``model.safetensors``, as published.
        key: ``birefnet`` or ``rmbg``: what the folder holds; nothing in it tells reliably.
        device: as in the settings.

    Attributes:
        loaded: memory after loading.
        facts: for reports.
        side: pixels a side that the network gets.

    Raises:
        CheckpointError: files are missing, unreadable, or of another model.
        InvalidInput: the device is not there.
    """

    def __init__(self, folder: Path, key: str, device: str = "auto") -> None:
        self.device = resolve(device)
        folder = open_folder(folder, NAMES[key])
        require(folder, _FILES)
        config = read_json(folder, "config.json")
        if config.get("architectures") != ["BiRefNet"]:
            raise CheckpointError(
                f"{folder.name}/config.json describes a {config.get('architectures') or config.get('model_type')}; "
                "accepted: BiRefNet."
            )
        self.side = _side(folder, config)
        tensors = open_files(folder, ["model.safetensors"])
        for name in [name for name in tensors if name.endswith(_COUNTED)]:
            del tensors[name]
        shape = _shape(folder, tensors, _patch_order(folder, config))
        with init_empty_weights(include_buffers=False):
            self._network = BiRefNet(shape)
        state = self._network.state_dict()
        part = Part(
            f"The checkpoint in {folder.name}",
            self._network,
            tensors,
            {name: name for name in state if not name.endswith(_COUNTED)},
        )
        check(part)
        # In float32 everywhere: an alpha has more steps than bfloat16 near 1, and the network is small.
        fill(part, torch.float32, device=self.device)
        self.facts: dict[str, Any] = {
            "name": NAMES[key],
            "digest": digest(folder, _FILES),
            "licence": LICENCES[key],
            "quantisation": "none",
            "patch_order": shape.patch_order,
        }
        self.loaded: dict[str, Memory] = {key: memory.measure(self.device)}

    @torch.inference_mode()
    def __call__(self, picture: Pixels) -> Pixels:
        """The alpha of a picture.

        Args:
            picture: RGB [H, W, 3].

        Returns:
            uint8 [H, W].
        """
        height, width = picture.shape[:2]
        small = Image.fromarray(picture).resize((self.side, self.side), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.asarray(small, np.float32) / 255).to(self.device)
        x = (x - x.new_tensor(MEAN)) / x.new_tensor(STD)
        alpha = torch.sigmoid(self._network(x.permute(2, 0, 1)[None].contiguous()))
        shrinks = height < self.side or width < self.side
        alpha = functional.interpolate(alpha, (height, width), mode="bilinear", align_corners=False, antialias=shrinks)
        return cast(Pixels, alpha[0, 0].mul(255).round().clamp(0, 255).to(torch.uint8).cpu().numpy())


def _side(folder: Path, config: Mapping[str, Any]) -> int:
    side = config.get("input_size", SIDE)
    if not isinstance(side, int) or not 0 < side <= 4 * SIDE or side % _STEP:
        raise CheckpointError(
            f"{folder.name}/config.json says input_size {side!r:.40}; accepted: multiples of {_STEP} up to {4 * SIDE}."
        )
    return side


def _patch_order(folder: Path, config: Mapping[str, Any]) -> PatchOrder:
    """How the decoder is shown the picture.

    The repository's code had ``get_patches_batch`` (columns) until late 2024, and RMBG-2.0's folder still has it; since
    then it has ``image2patches`` (channels). Weights that were trained with the one and are published beside the other
    need ``patch_order`` in ``config.json``, which wins.
    """
    said = config.get("patch_order")
    if said in ("channels", "columns"):
        return cast(PatchOrder, said)
    if said is not None:
        raise CheckpointError(f"{folder.name}/config.json says patch_order {said!r:.40}; accepted: channels, columns.")
    code = folder / _CODE
    if not code.is_file():
        raise CheckpointError(
            f"{folder.name} lacks {_CODE}, of which the text says how pictures are stacked; it is accepted too that "
            "config.json says it: patch_order, channels or columns."
        )
    with code.open(encoding="utf-8", errors="replace") as stream:
        text = stream.read(_LARGEST_CODE)
    columns, channels = "get_patches_batch" in text, "image2patches" in text
    if columns == channels:
        raise CheckpointError(
            f"{folder.name}/{_CODE} does not say how pictures are stacked; patch_order in config.json, channels or "
            "columns, is accepted."
        )
    return "columns" if columns else "channels"


def _shape(folder: Path, tensors: Mapping[str, Tensor], order: PatchOrder) -> Shape:
    """The network's sizes, off its tensors. What they do not tell is compared afterwards, tensor by tensor."""
    try:
        width = tensors["bb.patch_embed.proj.weight"].shape[0]
        blocks = [
            re.match(r"bb\.layers\.(\d+)\.blocks\.(\d+)\.attn\.relative_position_bias_table$", n) for n in tensors
        ]
        places = [(int(found[1]), int(found[2])) for found in blocks if found]
        depths = tuple(1 + max(block for stage, block in places if stage == number) for number in range(4))
        tables = [tensors[f"bb.layers.{number}.blocks.0.attn.relative_position_bias_table"] for number in range(4)]
        decoder = "squeeze_module.0.dec_att."
        kernels: list[int] = []
        while (name := f"{decoder}aspp_deforms.{len(kernels)}.atrous_conv.regular_conv.weight") in tensors:
            kernels.append(tensors[name].shape[-1])
        return Shape(
            width=width,
            depths=depths,
            heads=tuple(table.shape[1] for table in tables),
            window=(round(tables[0].shape[0] ** 0.5) + 1) // 2,
            ratio=tensors["bb.layers.0.blocks.0.mlp.fc1.weight"].shape[0] / width,
            inner=tensors["squeeze_module.0.conv_in.weight"].shape[0],
            branch=tensors[f"{decoder}aspp1.bn.weight"].shape[0],
            kernels=tuple(kernels),
            picture=tensors["decoder.ipt_blk1.conv1.weight"].shape[0],
            gate=tensors["decoder.gdt_convs_4.0.weight"].shape[0],
            patch_order=order,
        )
    except (KeyError, ValueError, IndexError):
        raise CheckpointError(
            f"{folder.name}/model.safetensors holds no BiRefNet with a Swin transformer; accepted: BiRefNet, "
            "BiRefNet-lite, RMBG-2.0."
        ) from None
