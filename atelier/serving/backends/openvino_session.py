"""The engine of the ``openvino`` backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import openvino

from atelier.serving.backends.batching import Array, RunError
from atelier.serving.backends.bridge import Log
from atelier.serving.backends.config import LoadError, ModelConfig
from atelier.serving.backends.onnx_checks import ModelTensor, Signature, check

FILENAME = "model.xml"
DEVICE = "CPU"
# OpenVINO's names of element types.
TRITON_TYPES = {
    "boolean": "TYPE_BOOL",
    "u8": "TYPE_UINT8",
    "u16": "TYPE_UINT16",
    "u32": "TYPE_UINT32",
    "u64": "TYPE_UINT64",
    "i8": "TYPE_INT8",
    "i16": "TYPE_INT16",
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "f16": "TYPE_FP16",
    "f32": "TYPE_FP32",
    "f64": "TYPE_FP64",
    "string": "TYPE_STRING",
}
# Of the C++ backend. What has no entry here changes how it calls OpenVINO's C++ interface, and nothing here.
NUMBERS = {"INFERENCE_NUM_THREADS": "INFERENCE_NUM_THREADS", "COMPILATION_NUM_THREADS": "COMPILATION_NUM_THREADS"}
HINTS = ("LATENCY", "THROUGHPUT")
WITHOUT_EFFECT = frozenset({"SKIP_OV_DYNAMIC_BATCHSIZE", "ENABLE_BATCH_PADDING", "RESHAPE_IO_LAYERS"})
PRECISION, BF16 = "INFERENCE_PRECISION_HINT", "HINT_BF16"


class OpenvinoSession:
    """A compiled model behind a checked configuration.

    Args:
        config: the model configuration and the instance it is for.
        log: where to write what is ignored.

    Raises:
        LoadError: the configuration does not fit the model, or a parameter does not parse.
    """

    def __init__(self, config: ModelConfig, log: Log) -> None:
        self.max_batch_size = config.max_batch_size
        if config.kind == "GPU":
            log.log_warn(f"model '{config.name}': OpenVINO runs on the CPU here, also where the instance is a GPU's")
        wanted = properties(config, log)
        path = config.path(FILENAME)
        core = openvino.Core()
        try:
            model = core.read_model(path)
            check(config, signature(model))
            self._request = core.compile_model(model, DEVICE, wanted).create_infer_request()
        except RuntimeError as error:
            raise LoadError(f"openvino error in loading network: {_last_line(error)}") from None

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Compute the named outputs.

        OpenVINO reads contiguous arrays where they are; outputs are copied, because the next run writes to them.

        Raises:
            RunError: OpenVINO failed.
        """
        try:
            found = self._request.infer(dict(inputs), share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise RunError(f"openvino error in running inference: {_last_line(error)}") from error
        return {name: np.array(found[name]) for name in outputs}


def properties(config: ModelConfig, log: Log) -> dict[str, Any]:
    """What the model is compiled with, from the C++ backend's parameters.

    The precision is float32 unless ``HINT_BF16`` asks for bfloat16: OpenVINO's own choice on processors that have it is
    bfloat16, which moves a LaMa's outputs by a tenth.

    Raises:
        LoadError: a parameter does not parse.
    """
    found: dict[str, Any] = {PRECISION: "f32", "PERFORMANCE_HINT": "LATENCY"}
    for key, text in config.parameters.items():
        if key in NUMBERS:
            if not text.isdecimal():
                raise LoadError(f"expected the parameter '{key}' to be a non-negative number, got {text}")
            found[NUMBERS[key]] = int(text)
        elif key == "NUM_STREAMS":
            if text.upper() not in ("AUTO", "NUMA") and not text.isdecimal():
                raise LoadError(f"expected the parameter '{key}' to be a non-negative number or AUTO/NUMA, got {text}")
            found[key] = text.upper()
        elif key == "PERFORMANCE_HINT":
            if text.upper() not in HINTS:
                raise LoadError(f"expected the parameter '{key}' to be LATENCY or THROUGHPUT, got {text}")
            found[key] = text.upper()
        elif key == BF16:
            if text.upper() not in ("YES", "NO"):
                raise LoadError(f"expected the parameter '{key}' to be either YES or NO, got {text}")
            found[PRECISION] = "bf16" if text.upper() == "YES" else "f32"
        elif key not in WITHOUT_EFFECT:
            log.log_warn(f"model '{config.name}': parameter '{key}' is ignored: the backend has none of that name")
    return found


def signature(model: openvino.Model) -> Signature:
    """Inputs and outputs of a model, sorted by name."""

    def tensors(ports: Sequence[Any]) -> dict[str, ModelTensor]:
        return {port.any_name: _tensor(port) for port in sorted(ports, key=lambda port: str(port.any_name))}

    return Signature(tensors(model.inputs), {}, tensors(model.outputs))


def _tensor(port: Any) -> ModelTensor:
    shape = port.partial_shape
    dims = [] if shape.rank.is_dynamic else [-1 if dim.is_dynamic else dim.get_length() for dim in shape]
    return ModelTensor(TRITON_TYPES.get(port.element_type.get_type_name(), "TYPE_INVALID"), tuple(dims))


def _last_line(error: Exception) -> str:
    """OpenVINO's sentence without the places in its sources that stand before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
