"""GVM's checkpoints, in the layout that diffusers writes: ``unet/``, ``vae/``, ``scheduler/``."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from atelier.matting import lora
from atelier.matting.errors import CheckpointError
from atelier.matting.sampling import Sampler
from atelier.matting.unet import Kind, MattingUNet
from atelier.matting.vae import VaeDecoder, VaeEncoder

STEM = "diffusion_pytorch_model"
_UNUSED = ("add_embedding.", "class_embedding.", ".attn2.to_q.", ".attn2.to_k.", ".attn2.to_v.", ".norm2.")
"""Parts of names that a checkpoint holds and nothing calls; `atelier.matting.unet` says why."""
_LISTED = 3


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        unet, encoder, decoder: the networks, eval mode, float32, on the CPU.
        sampler: the times of the denoising.
        lora: what was merged, or None.
        warnings: what the caller asked for and did not get.
        synthetic: whether its settings say that the weights are random.
    """

    unet: MattingUNet
    encoder: VaeEncoder
    decoder: VaeDecoder
    sampler: Sampler
    lora: lora.LoraReport | None
    warnings: tuple[str, ...]
    synthetic: bool = False


def load(
    model_base: str | Path,
    unet_base: str | Path | None = None,
    lora_base: str | Path | None = None,
    pretrain_type: str | None = None,
) -> Checkpoint:
    """Load networks and scheduler.

    Args:
        model_base: the folder with ``vae/``, ``scheduler/`` and, unless ``unet_base`` names another place, ``unet/``.
        unet_base: a folder with ``unet/`` in it, or that folder itself.
        lora_base: a folder with an adapter, or the adapter's file.
        pretrain_type: ``svd`` or ``dav``; must be what the weights are. None: whatever they are.

    Raises:
        CheckpointError: something is missing, unreadable, contradicts itself or is not supported.
    """
    if pretrain_type not in (None, *get_args(Kind)):
        raise CheckpointError(f"pretrain_type is {pretrain_type!r}; accepted: svd or dav.")
    base = Path(model_base)
    if not base.is_dir():
        raise CheckpointError(f"There is no folder {base.name}, which is to hold vae, scheduler and unet.")
    folder = Path(unet_base) if unet_base is not None else base
    if (folder / "unet").is_dir():
        folder = folder / "unet"
    config, weights = _read_json(folder, "config.json"), _read_weights(folder)
    found: Kind = "svd" if any(".time_pos_embed." in name for name in weights) else "dav"
    if pretrain_type not in (None, found):
        why = "have" if found == "svd" else "have no"
        raise CheckpointError(
            f"pretrain_type is {pretrain_type}, but the weights in {folder.name} are of type {found}: they {why} "
            "time_pos_embed."
        )
    report, warnings = None, []
    if lora_base is not None:
        file = lora.find(lora_base)
        if file is None:
            warnings.append(f"No LoRA was applied: {Path(lora_base).name} holds none of {', '.join(lora.FILES)}.")
        else:
            report = lora.merge(weights, file)
    unet = _build_unet(config, weights, found, folder.name)
    encoder, decoder = _load_vae(base / "vae")
    sampler = Sampler.read(_read_json(base / "scheduler", "scheduler_config.json"))
    return Checkpoint(unet, encoder, decoder, sampler, report, tuple(warnings), bool(config.get("synthetic")))


def _build_unet(config: dict[str, Any], weights: dict[str, Tensor], kind: Kind, folder: str) -> MattingUNet:
    channels = config.get("in_channels", 8), config.get("out_channels", 4)
    if channels != (8, 4):
        raise CheckpointError(
            f"{folder}/config.json: the network has {channels[0]} and {channels[1]} channels, not 8 and 4."
        )
    accepted = _accepted(UNetSpatioTemporalConditionModel, config)
    try:
        with torch.device("meta"):  # no memory for weights that are replaced at once
            unet = MattingUNet(accepted, kind)
    except (ValueError, TypeError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(f"{folder}/config.json does not describe a network: {_first_line(error)}") from None
    _fill(unet, weights, folder)
    return unet


def _load_vae(folder: Path) -> tuple[VaeEncoder, VaeDecoder]:
    config, weights = _read_json(folder, "config.json"), _read_weights(folder)
    try:
        with torch.device("meta"):
            stock = AutoencoderKLTemporalDecoder
            vae: Any = stock.from_config(_accepted(stock, config))  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(f"{folder.name}/config.json does not describe a VAE: {_first_line(error)}") from None
    _fill(vae, weights, folder.name)
    return VaeEncoder(vae).eval(), VaeDecoder(vae).eval()


def _accepted(model: Any, config: dict[str, Any]) -> dict[str, Any]:
    """The settings that diffusers' class knows; GVM's files carry some that are its own and do nothing."""
    names = inspect.signature(model.__init__).parameters
    return {name: value for name, value in config.items() if name in names}


def _fill(module: nn.Module, weights: dict[str, Tensor], folder: str) -> None:
    expected = module.state_dict()
    _refuse(folder, "lacks", [name for name in expected if name not in weights])
    extra = [name for name in weights if name not in expected]
    _refuse(folder, "has unexpected", [name for name in extra if not _unused(name)])
    _refuse(
        folder,
        "has wrong shapes of",
        [
            f"{name} ({list(weights[name].shape)} instead of {list(tensor.shape)})"
            for name, tensor in expected.items()
            if weights[name].shape != tensor.shape
        ],
    )
    _refuse(folder, "has values that are not finite in", [n for n in expected if not bool(weights[n].isfinite().all())])
    module.load_state_dict({name: weights[name].float() for name in expected}, assign=True)
    module.eval().requires_grad_(False)


def _unused(name: str) -> bool:
    return name.endswith(".attn2.to_out.0.weight") or any(part in f".{name}" for part in _UNUSED)


def _refuse(folder: str, what: str, names: Iterable[str]) -> None:
    if names := list(names):
        listed = ", ".join(names[:_LISTED])
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        raise CheckpointError(f"The checkpoint in {folder} {what} {len(names)} tensor(s): {listed}{more}.")


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder.name}/{name} is missing.") from None
    except (OSError, ValueError):
        raise CheckpointError(f"{folder.name}/{name} cannot be read as JSON.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{folder.name}/{name} holds no settings.")
    return value


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder: one file, its fp16 variant, or shards with their index."""
    for stem in (STEM, f"{STEM}.fp16"):
        if (file := folder / f"{stem}.safetensors").is_file():
            return _read_file(file)
    if (folder / f"{STEM}.safetensors.index.json").is_file():
        names = set(_read_json(folder, f"{STEM}.safetensors.index.json").get("weight_map", {}).values())
        weights: dict[str, Tensor] = {}
        for name in sorted(names):
            if not (folder / Path(name).name).is_file():
                raise CheckpointError(f"{folder.name}/{Path(name).name}, which the index names, is missing.")
            weights |= _read_file(folder / Path(name).name)
        return weights
    if (file := folder / f"{STEM}.bin").is_file():
        return _read_file(file)
    raise CheckpointError(f"{folder.name}/{STEM}.safetensors is missing.")


def _read_file(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"{file.parent.name}/{file.name} cannot be read: {_first_line(error)}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{file.parent.name}/{file.name} is no plain dictionary of tensors.")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
