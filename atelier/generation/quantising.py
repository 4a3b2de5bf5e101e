"""The transformer's weights in fewer bits, by torchao or bitsandbytes. Both need a GPU."""

from __future__ import annotations

import importlib.util
from typing import Any, Literal

import torch
from torch import nn

from atelier.errors import InvalidInput

Quantisation = Literal["", "int8", "fp8", "nf4"]
PACKAGES = {"int8": "torchao", "fp8": "torchao", "nf4": "bitsandbytes"}


def check(kind: Quantisation) -> None:
    """See whether the package that does it is there.

    Raises:
        InvalidInput: it is not.
    """
    if kind and importlib.util.find_spec(PACKAGES[kind]) is None:
        raise InvalidInput(f"quantisation {kind} needs the package {PACKAGES[kind]}: pip install {PACKAGES[kind]}.")


def quantise(transformer: Any, kind: Quantisation, device: torch.device) -> None:
    """Store the linear layers of the transformer's blocks in fewer bits; everything else stays as it is.

    Args:
        transformer: diffusers' `WanTransformer3DModel`, in bfloat16.
        kind: ``int8`` or ``fp8`` (weights alone, torchao), ``nf4`` (Dettmers et al. 2023, arXiv 2305.14314).
        device: a GPU.
    """
    if kind in ("int8", "fp8"):
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

        config = Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig()
        quantize_(transformer.blocks, config, device=device)
    elif kind == "nf4":
        _four_bits(transformer.blocks, device)


def _four_bits(module: nn.Module, device: torch.device) -> None:
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, layer in module.named_children():
        if not isinstance(layer, nn.Linear):
            _four_bits(layer, device)
            continue
        made = Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=torch.bfloat16,
            quant_type="nf4",
            device="meta",
        )
        made.weight = Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
        if layer.bias is not None:
            made.bias = nn.Parameter(layer.bias.data, requires_grad=False)
        setattr(module, name, made.to(device))  # which is when the weights are quantised
