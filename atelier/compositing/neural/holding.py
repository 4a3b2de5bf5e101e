"""How FLUX is held on a machine: what the settings and their preset come to, and what cannot be done.

A preset is chosen by the memory that FLUX.1 needs at 1024 x 1024 (published for an H100, transformer and T5 quantised:
https://huggingface.co/blog/diffusers-quantization; bfloat16 peaks at 36 GB, 8 bits at 22 GB, nf4 at 17 GB), with room
for the analyst's network on the same card:

- ``l4`` (24 GB): nf4, and networks wait on the host, so that between pictures the card is free.
- ``a100-40`` (40 GB): 8 bits by torchao, all of it resident; bfloat16 would leave no room beside it.
- ``h100`` (80 GB): bfloat16, all of it resident.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from atelier.compositing.neural import devices
from atelier.compositing.settings import Quantisation, SynthesizerSettings
from atelier.errors import CheckpointError, InvalidInput

Offload = Literal["none", "model", "group", "sequential"]

PRESETS: dict[str, dict[str, Any]] = {
    "": {},
    "l4": {"quantisation": "nf4", "offload": "model"},
    "a100-40": {"quantisation": "torchao-int8", "offload": "none"},
    "h100": {"quantisation": "none", "offload": "none"},
}
PACKAGES = {
    "bnb-int8": "bitsandbytes",
    "nf4": "bitsandbytes",
    "torchao-int8": "torchao",
    "quanto-int8": "optimum-quanto",
    "gguf": "gguf",
}
"""What `pip install` brings each with."""

_MODULES = {"optimum-quanto": "optimum.quanto"}
# Weights of other kinds are moved block by block by code that does not know them, or were never tried.
_TOGETHER: dict[Offload, tuple[Quantisation, ...]] = {
    "group": ("none", "torchao-int8"),
    "sequential": ("none", "bnb-int8", "nf4"),
}


@dataclass(frozen=True)
class Holding:
    """How the networks are held.

    Attributes:
        device: PyTorch's name of where they compute.
        dtype: that they compute in, and of what is not quantised.
        quantisation: of transformer and text encoder.
        offload: what waits on the host: ``none``; ``model``, whole networks; ``group``, blocks of them;
            ``sequential``, single layers.
        vae_tiling: whether the VAE works tile by tile.
        gguf: the transformer's file; None without quantisation ``gguf``.
    """

    device: str
    dtype: torch.dtype
    quantisation: Quantisation = "none"
    offload: Offload = "none"
    vae_tiling: bool = False
    gguf: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "device": self.device,
            "dtype": str(self.dtype).removeprefix("torch."),
            "quantisation": self.quantisation,
            "offload": self.offload,
            "vae_tiling": self.vae_tiling,
        }


def resolve(settings: SynthesizerSettings, folders: Mapping[str, Path]) -> Holding:
    """What the settings come to here.

    Args:
        settings: what is given in them wins over the preset.
        folders: ``gguf``: the file, where the setting's path is not to be taken as it is.

    Raises:
        InvalidInput: this machine cannot do it, or settings exclude each other.
    """
    preset = {name: value for name, value in PRESETS[settings.preset].items() if name not in settings.model_fields_set}
    quantisation: Quantisation = preset.get("quantisation", settings.quantisation)
    offload: Offload = preset.get("offload", settings.offload)
    device = devices.resolve(settings.device)
    _check_device(device, quantisation, offload)
    _check_package(quantisation)
    if quantisation not in _TOGETHER.get(offload, (quantisation,)):
        accepted = ", ".join(_TOGETHER[offload])
        raise InvalidInput(f"offload {offload} does not go with quantisation {quantisation}; accepted: {accepted}.")
    return Holding(
        device,
        devices.compute_type(device),
        quantisation,
        offload,
        settings.vae_tiling,
        _gguf(settings, folders, quantisation),
    )


def _check_device(device: str, quantisation: Quantisation, offload: Offload) -> None:
    if devices.is_gpu(device):
        return
    if quantisation in ("bnb-int8", "nf4"):
        raise InvalidInput(
            f"quantisation {quantisation} needs a GPU, and device is {device}; accepted there: none, torchao-int8, "
            "quanto-int8, gguf."
        )
    if offload in ("model", "sequential"):
        raise InvalidInput(f"offload {offload} needs a GPU, and device is {device}; accepted there: none, group.")


def _check_package(quantisation: Quantisation) -> None:
    package = PACKAGES.get(quantisation)
    if package is None:
        return
    module = _MODULES.get(package, package)
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of what the module lies in
        found = False
    if not found:
        raise InvalidInput(f"quantisation {quantisation} needs the package {package}: pip install {package}.")


def _gguf(settings: SynthesizerSettings, folders: Mapping[str, Path], quantisation: Quantisation) -> Path | None:
    if quantisation != "gguf":
        if settings.gguf:
            raise InvalidInput(f"gguf names a file, and quantisation is {quantisation}; accepted with it: gguf.")
        return None
    if settings.network != "flux.1-fill":
        raise InvalidInput(f"quantisation gguf does not go with {settings.network}; accepted: flux.1-fill.")
    if not settings.gguf:
        raise InvalidInput("quantisation gguf needs the setting gguf: the transformer's file.")
    file = folders.get("gguf", Path(settings.gguf))
    if not file.is_file():
        raise CheckpointError(f"There is no file {file.name}, which is to hold FLUX.1-Fill's transformer.")
    return file.absolute()
