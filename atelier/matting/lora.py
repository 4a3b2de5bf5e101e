"""LoRA adapters of GVM's network (Hu et al. 2021, arXiv 2106.09685), merged into its weights when it is loaded.

Upstream's published loader asks for a folder and is given a file, so it never worked; and PEFT says nothing where no
name fits. Here every layout that was seen is taken, and what does not fit is an error.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from atelier.matting.errors import CheckpointError

CONFIG = "adapter_config.json"
FILES = (
    "pytorch_lora_weights.pt",
    "unet_lora.pt",
    "pytorch_lora_weights.safetensors",
    "adapter_model.safetensors",
)
"""Names that a folder's adapter may have, in order of preference."""
_PREFIXES = ("base_model.", "model.", "unet.", "module.")
_UNSUPPORTED = {"use_dora": False, "fan_in_fan_out": False, "bias": "none", "modules_to_save": None}
_LISTED = 3


@dataclass(frozen=True)
class LoraReport:
    """What was merged.

    Attributes:
        file: the adapter's name.
        modules: layers that were changed.
        change: the Frobenius norm of all that was added.
    """

    file: str
    modules: int
    change: float


def find(lora_base: str | Path) -> Path | None:
    """The adapter's file; None where a folder holds none.

    Args:
        lora_base: the folder, or the file itself.

    Raises:
        CheckpointError: it is not there.
    """
    path = Path(lora_base)
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"There is no LoRA {path.name}: a folder or a file is expected.")
    return next((path / name for name in FILES if (path / name).is_file()), None)


def merge(weights: dict[str, Tensor], file: Path) -> LoraReport:
    """Add an adapter to the network's weights, in place: W + alpha / r · B A.

    Args:
        weights: the checkpoint's, by name.
        file: the adapter, its ``adapter_config.json`` beside it.

    Raises:
        CheckpointError: the adapter cannot be read, is of a kind that is not supported, or does not fit the network.
    """
    config = _read_config(file.parent / CONFIG)
    pairs = _pairs(_read(file), file.name)
    matched = {name: _match(name, weights) for name in pairs}
    if strangers := [name for name, found in matched.items() if found is None]:
        listed = ", ".join(strangers[:_LISTED])
        more = f" and {len(strangers) - _LISTED} more" if len(strangers) > _LISTED else ""
        raise CheckpointError(f"{file.name} is of another network: no layer is called {listed}{more}.")
    change = 0.0
    for name, target in matched.items():
        assert target is not None  # refused above
        weight = weights[target]
        delta = _delta(pairs[name], target.removesuffix(".weight"), config)
        if delta.numel() != weight.numel():
            raise CheckpointError(f"{file.name} does not fit {target}: its shape is {list(weight.shape)}.")
        delta = delta.reshape(weight.shape)
        if not bool(torch.isfinite(delta).all()):
            raise CheckpointError(f"{file.name} holds values for {target} that are not finite.")
        weights[target] = (weight.float() + delta).to(weight.dtype)
        change += float(delta.square().sum())
    return LoraReport(file.name, len(matched), math.sqrt(change))


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{CONFIG} is missing beside the LoRA: it holds lora_alpha, which scales it.") from None
    except (OSError, ValueError):
        raise CheckpointError(f"{CONFIG} cannot be read as JSON.") from None
    if not isinstance(config, dict) or not isinstance(config.get("lora_alpha"), int | float):
        raise CheckpointError(f"{CONFIG} holds no lora_alpha.")
    for key, neutral in _UNSUPPORTED.items():
        if config.get(key, neutral) != neutral:
            raise CheckpointError(f"{CONFIG}: {key} is {config[key]!r}, which is not supported.")
    return config


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"{file.name} cannot be read: {str(error).splitlines()[0][:200]}") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{file.name} is no plain dictionary of tensors.")
    return dict(state)


def _pairs(state: Mapping[str, Tensor], file: str) -> dict[str, dict[str, Tensor]]:
    """A and B by the layer's name, as the file spells it."""
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        parts = key.removesuffix(".weight").removesuffix(".default").split(".")
        if parts[-1] not in ("lora_A", "lora_B"):
            raise CheckpointError(f"{file} holds {key}, which is no part of a LoRA (lora_A, lora_B).")
        pairs.setdefault(".".join(parts[:-1]), {})[parts[-1]] = tensor.float()
    if not pairs:
        raise CheckpointError(f"{file} holds no tensors.")
    if halves := [name for name, pair in pairs.items() if len(pair) != 2]:
        raise CheckpointError(f"{file} holds only one of lora_A and lora_B for {halves[0]}.")
    return pairs


def _match(name: str, weights: Mapping[str, Tensor]) -> str | None:
    """The weight that a layer's name means, whatever wrappers stand before it."""
    while True:
        if f"{name}.weight" in weights:
            return f"{name}.weight"
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
        if prefix is None:
            return None
        name = name.removeprefix(prefix)


def _delta(pair: Mapping[str, Tensor], layer: str, config: Mapping[str, Any]) -> Tensor:
    """What is added to a weight, still flat: [out, in × kernel]."""
    down, up = pair["lora_A"].flatten(1), pair["lora_B"].flatten(1)
    if up.shape[1] != down.shape[0]:
        raise CheckpointError(f"The LoRA's two matrices for {layer} do not fit: rank {up.shape[1]}, {down.shape[0]}.")
    alpha = next((value for part, value in (config.get("alpha_pattern") or {}).items() if layer.endswith(part)), None)
    alpha = config["lora_alpha"] if alpha is None else alpha
    rank = down.shape[0]
    scale = float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return (up @ down) * scale
