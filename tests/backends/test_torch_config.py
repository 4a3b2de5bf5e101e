"""Configurations that the C++ PyTorch backend refuses at load, or dies of, are refused here."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from .conftest import Models, config, parameter, tensor


class One(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


class Two(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a - b


class WithNumber(torch.nn.Module):
    def forward(self, x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        return x * scale


class WithDicts(torch.nn.Module):
    def forward(self, x: torch.Tensor, more: dict[str, torch.Tensor]) -> torch.Tensor:
        return x * more["y"]


X, Y = tensor("INPUT__0", [2]), tensor("OUTPUT__0", [2])
TWO = [tensor("a", [2]), tensor("b", [2])]
TEXTS = tensor("INPUT__0", [2], "STRING")
LOADS = ""


@dataclass(frozen=True)
class Case:
    name: str
    module: torch.nn.Module
    inputs: list[str]
    outputs: list[str]
    words: str = LOADS
    batch: int = 8
    extra: str = ""


CASES = [
    Case(
        "all_parameters",
        One(),
        [X],
        [Y],
        extra="".join(
            parameter(key, text)
            for key, text in {
                "INFERENCE_MODE": "false",
                "DISABLE_OPTIMIZED_EXECUTION": "on",
                "ENABLE_CACHE_CLEANING": "1",
                "ENABLE_JIT_EXECUTOR": "0",
                "ENABLE_JIT_PROFILING": "off",
                "ENABLE_TENSOR_FUSER": "False",
                "ENABLE_WEIGHT_SHARING": "true",
                "DISABLE_CUDNN": "true",
                "INTRA_OP_THREAD_COUNT": "1",
                "INTER_OP_THREAD_COUNT": "1",
                "inference_mode": "unknown keys are ignored",
            }.items()
        ),
    ),
    Case("inputs", Two(), [X], [Y], "configuration expects 1 inputs, model provides 2"),
    Case("number", WithNumber(), [X], [Y], "An input of type 'float' was detected in the model."),
    Case("dicts", WithDicts(), TWO, [Y], "Multiple inputs of kind DictType were detected."),
    Case("uint16", One(), [X.replace("FP32", "UINT16")], [Y], "unsupported datatype TYPE_UINT16 for input 'INPUT__0'"),
    Case("bf16", One(), [X], [Y.replace("FP32", "BF16")], "unsupported datatype TYPE_BF16 for output 'OUTPUT__0'"),
    Case("texts", One(), [TEXTS], [Y], "Triton only supports 1 dimensional List of String as input"),
    Case(
        "optional", One(), [tensor("x", [2], extra="optional: true")], [Y], "the backend model doesn't support optional"
    ),
    Case(
        "junk_boolean", One(), [X], [Y], "failed to convert 'yes' to boolean", extra=parameter("INFERENCE_MODE", "yes")
    ),
    Case(
        "junk_threads",
        One(),
        [X],
        [Y],
        "failed to convert 'x' to integral",
        extra=parameter("INTRA_OP_THREAD_COUNT", "x"),
    ),
    Case("index", Two(), [X, tensor("INPUT__2", [2])], [Y], "'INPUT__2' refers to index 2, model provides 2 inputs"),
    Case("twice", Two(), [X, tensor("OTHER__0", [2])], [Y], "refer to one index twice"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_load(models: Models, case: Case) -> None:
    name = f"torch_{case.name}"
    models.torchscript(name, case.module, config("pytorch", case.inputs, case.outputs, case.batch, case.extra))

    reason = models.load(name)

    assert case.words in reason
    assert bool(case.words) == bool(reason), reason


def test_without_inputs(models: Models) -> None:
    models.torchscript("torch_bare", One(), 'backend: "pytorch"')

    assert "configuration expects 0 inputs, model provides 1" in models.load("torch_bare")


def test_a_state_dict_is_no_torchscript(models: Models) -> None:
    torch.save({"weight": torch.ones(1)}, models.version("torch_state", config("pytorch", [X], [Y])) / "model.pt")

    assert "failed to load model 'torch_state': " in models.load("torch_state")


def test_a_missing_file_is_named(models: Models) -> None:
    models.version("torch_missing", config("pytorch", [X], [Y]))

    assert "unable to find" in models.load("torch_missing")
