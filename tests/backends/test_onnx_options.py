"""Execution providers of GPU instances, which no test machine needs to have: the mapping alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atelier.serving.backends.config import LoadError, ModelConfig
from atelier.serving.backends.onnx_options import CPU, CUDA, TENSORRT, providers

from .test_onnx_complete import Log

ALL = (TENSORRT, CUDA, CPU)


def gpu(*accelerators: dict[str, Any], parameters: dict[str, str] | None = None, kind: str = "GPU") -> ModelConfig:
    text = {
        "name": "m",
        "optimization": {"execution_accelerators": {"gpu_execution_accelerator": list(accelerators)}},
        "parameters": {key: {"string_value": text} for key, text in (parameters or {}).items()},
    }
    return ModelConfig.parse(text, Path(), kind, 1)


def test_cuda_on_the_instances_device() -> None:
    assert providers(gpu(), ALL, Log()) == [(CUDA, {"device_id": "1"}), (CPU, {})]


def test_cuda_parameters_old_and_new() -> None:
    old = {"cudnn_conv_algo_search": "1", "gpu_mem_limit": "99", "arena_extend_strategy": "0"}
    new = {"name": "cuda", "parameters": {"cudnn_conv_use_max_workspace": "0"}}

    assert providers(gpu(new, parameters=old), ALL, Log())[0] == (CUDA, {
        "cudnn_conv_algo_search": "HEURISTIC", "gpu_mem_limit": "99", "arena_extend_strategy": "kNextPowerOfTwo",
        "cudnn_conv_use_max_workspace": "0", "device_id": "1",
    })  # fmt: skip


def test_tensorrt_comes_first() -> None:
    wanted = {"precision_mode": "FP16", "max_workspace_size_bytes": "7", "trt_engine_cache_enable": "1"}

    first, second, _ = providers(gpu({"name": "tensorrt", "parameters": wanted}), ALL, Log())

    assert first == (TENSORRT, {
        "trt_fp16_enable": "1", "trt_max_workspace_size": "7", "trt_engine_cache_enable": "1", "device_id": "1",
    })  # fmt: skip
    assert second[0] == CUDA


@pytest.mark.parametrize(("accelerator", "words"), [
    ({"name": "magic"}, "unknown Execution Accelerator 'magic' is requested"),
    ({"name": "tensorrt", "parameters": {"x": "1"}}, "unknown parameter 'x' is provided for TensorRT"),
    ({"name": "tensorrt", "parameters": {"precision_mode": "FP8"}}, "unsupported precision mode 'FP8' is requested"),
    ({"name": "tensorrt", "parameters": {"trt_dla_enable": "yes"}}, "failed to convert 'yes' to boolean"),
])  # fmt: skip
def test_unknown_accelerators(accelerator: dict[str, Any], words: str) -> None:
    with pytest.raises(LoadError, match=words):
        providers(gpu(accelerator), ALL, Log())


def test_a_gpu_instance_without_cuda_says_what_to_install() -> None:
    log = Log()

    assert providers(gpu(), [CPU], log) == [(CPU, {})]
    assert "install onnxruntime-gpu" in log.lines[0]


def test_on_a_cpu_instance_gpu_accelerators_are_named_and_ignored() -> None:
    log = Log()

    assert providers(gpu({"name": "magic"}, kind="CPU"), ALL, log) == [(CPU, {})]
    assert "'magic' is ignored" in log.lines[0]
