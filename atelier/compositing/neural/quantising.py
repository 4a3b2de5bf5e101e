"""Weights in fewer bits as they are loaded, by the packages that diffusers and transformers know."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor, nn

from atelier.compositing.neural.holding import Holding


def transformer_config(holding: Holding) -> Any:
    """Diffusers' settings for a transformer; None where it is not quantised as it is loaded."""
    library: Any = diffusers  # has no types
    kind = holding.quantisation
    if kind == "torchao-int8":
        from torchao.quantization import Int8WeightOnlyConfig

        return library.TorchAoConfig(Int8WeightOnlyConfig())
    if kind == "quanto-int8":
        return library.QuantoConfig(weights_dtype="int8")
    if kind == "gguf":
        return library.GGUFQuantizationConfig(compute_dtype=holding.dtype)
    return _bits_and_bytes(library, holding)


def text_encoder_config(holding: Holding) -> Any:
    """Transformers' settings for a text encoder; None where it is not quantised, as beside a GGUF transformer."""
    library: Any = transformers
    kind = holding.quantisation
    if kind == "torchao-int8":
        from torchao.quantization import Int8WeightOnlyConfig

        return library.TorchAoConfig(Int8WeightOnlyConfig())
    if kind == "quanto-int8":
        return library.QuantoConfig(weights="int8")
    return _bits_and_bytes(library, holding)


def _bits_and_bytes(library: Any, holding: Holding) -> Any:
    if holding.quantisation == "bnb-int8":
        return library.BitsAndBytesConfig(load_in_8bit=True)
    if holding.quantisation == "nf4":
        return library.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=holding.dtype
        )
    return None


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Diffusers announces the end of quanto, in a version that is not the one used here, at every load."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Qq]uanto", category=FutureWarning)
        yield


def real_bytes(module: nn.Module) -> int:
    """What a network's weights take, bytes.

    The libraries' ``get_memory_footprint`` counts the weights of torchao and quanto as if they were not quantised, so
    that the tensors that they are made of are counted here.
    """
    seen: set[int] = set()
    total = 0
    for tensor in (*module.parameters(), *module.buffers()):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            total += _bytes(tensor)
    return total


def _bytes(tensor: Tensor) -> int:
    if type(tensor) not in (Tensor, nn.Parameter) and hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return sum(_bytes(getattr(tensor, name)) for name in names)
    state = getattr(tensor, "quant_state", None)  # bitsandbytes keeps the scales of 4 bits beside them
    scales = state.absmax.nbytes if state is not None and isinstance(state.absmax, torch.Tensor) else 0
    return tensor.numel() * tensor.element_size() + scales
