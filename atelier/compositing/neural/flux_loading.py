"""FLUX's networks from a folder that was looked at, quantised as they are loaded, with the memory that each took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder

from atelier.compositing.neural import devices, quantising
from atelier.compositing.neural.flux_folders import Opened
from atelier.compositing.neural.holding import Holding
from atelier.compositing.neural.loading import CheckpointError, check_loaded, foreign

OnStage = Callable[[str], None]
"""Told the name of every network after it is loaded."""

_QUANTISED = {"T5EncoderModel": "text", "Qwen3ForCausalLM": "text"}
_LISTED = 3
_ORIGINAL_NAMES = ("double_blocks.", "model.diffusion_model.")  # which diffusers turns into its own
_TRANSFORMERS = ("FluxTransformer2DModel", "Flux2Transformer2DModel")


def load_networks(opened: Opened, holding: Holding, on_stage: OnStage) -> dict[str, Any]:
    """All networks of a folder, the largest first, so that the others find what it left.

    Args:
        opened: the folder.
        holding: how they are held. They are not yet moved to the device, but for those that bitsandbytes quantised.
        on_stage: told of each.

    Raises:
        CheckpointError: a network cannot be loaded, or its tensors are not those that it needs.
    """
    networks = {}
    for name, (_, kind) in opened.layout.networks.items():
        with foreign(opened.folder, name), _current(holding.device), quantising.without_deprecations():
            networks[name] = _load(opened, name, kind, holding).eval().requires_grad_(False)
        on_stage(name)
    return networks


def assemble(pipeline: Any, opened: Opened, networks: dict[str, Any], holding: Holding) -> Any:
    """Diffusers' pipeline over networks that are loaded; it reads tokenizers and scheduler itself.

    Raises:
        CheckpointError: one of these cannot be read.
    """
    with foreign(opened.folder, "tokenizers or scheduler"):
        pipe = pipeline.from_pretrained(opened.folder, **networks, dtype=holding.dtype, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def describe(opened: Opened, networks: dict[str, Any], holding: Holding) -> dict[str, Any]:
    """Facts of a loaded checkpoint, for the report."""
    return {
        "name": opened.layout.name,
        "digest": opened.digest,
        "licence": opened.layout.licence,
        "quantisation": holding.quantisation,
        "bytes": {name: quantising.real_bytes(network) for name, network in networks.items()},
    }


def _load(opened: Opened, name: str, kind: str, holding: Holding) -> Any:
    if kind in _TRANSFORMERS and holding.gguf is not None:
        with foreign(holding.gguf, name):
            return _load_gguf(opened, name, kind, holding, holding.gguf)
    config: Any = None
    if kind in _TRANSFORMERS:
        config = quantising.transformer_config(holding)
    elif kind in _QUANTISED:
        config = quantising.text_encoder_config(holding)
    networks: Any = ReduxImageEncoder if kind == "ReduxImageEncoder" else _class(kind)
    network, info = networks.from_pretrained(
        opened.folder,
        subfolder=name,
        dtype=holding.dtype,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        **({} if config is None else {"quantization_config": config}),
    )
    check_loaded(opened.folder / name, info)
    return network


def _load_gguf(opened: Opened, name: str, kind: str, holding: Holding, file: Path) -> Any:
    """The settings come from the folder: without them diffusers would ask the hub."""
    _check_gguf(file, _class(kind), opened.configs[name])
    return _class(kind).from_single_file(
        str(file),
        quantization_config=quantising.transformer_config(holding),
        config=str(opened.folder),
        subfolder=name,
        dtype=holding.dtype,
        local_files_only=True,
    )


def _check_gguf(file: Path, networks: Any, config: Mapping[str, Any]) -> None:
    """Refuse a file that lacks tensors. Diffusers takes one with a tensor missing for one with other names."""
    from gguf import GGUFReader

    names = {tensor.name for tensor in GGUFReader(file).tensors}
    if any(name.startswith(_ORIGINAL_NAMES) for name in names):
        return
    with init_empty_weights():
        expected = networks.from_config(config).state_dict().keys()
    if missing := sorted(expected - names):
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise CheckpointError(
            f"{file.name} lacks {len(missing)} tensor(s): {', '.join(missing[:_LISTED])}{more}; accepted: the names of "
            "diffusers, or of Black Forest Labs."
        )


def _class(kind: str) -> Any:
    return getattr(diffusers if hasattr(diffusers, kind) else transformers, kind)


@contextmanager
def _current(device: str) -> Iterator[None]:
    """Bitsandbytes quantises on PyTorch's current GPU."""
    if devices.is_gpu(device):
        with torch.cuda.device(torch.device(device)):
            yield
    else:
        yield
