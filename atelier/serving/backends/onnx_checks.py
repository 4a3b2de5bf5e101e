"""What the C++ ONNX Runtime backend checks when a model is loaded, in its words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnxruntime

from atelier.serving.backends.config import NUMPY_TYPES, LoadError, ModelConfig, TensorConfig, shape_text

# ONNX Runtime's names of element types.
TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
# TRITONSERVER's names differ in one place, and an unsupported type has none.
DATA_TYPE_STRINGS = {"TYPE_STRING": "TYPE_BYTES", "TYPE_INVALID": "TYPE_<invalid>"}


@dataclass(frozen=True)
class ModelTensor:
    """An input or output as ONNX Runtime sees it, after its shape inference.

    Attributes:
        data_type: Triton's name; ``TYPE_INVALID`` where Triton has none.
        shape: -1 for what is dynamic; empty for a scalar, and where the rank is not known.
    """

    data_type: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, node: onnxruntime.NodeArg) -> ModelTensor:
        """Read ONNX Runtime's description.

        Raises:
            LoadError: it is a sequence, a map or another thing that is no tensor.
        """
        if not node.type.startswith("tensor("):
            kind = {"seq": "SEQUENCE", "map": "MAP", "sparse_tensor": "SPARSETENSOR"}.get(
                node.type.split("(")[0], "UNKNOWN"
            )
            raise LoadError(
                f"Unsupported ONNX Type 'ONNX_TYPE_{kind}' for I/O '{node.name}', expected 'ONNX_TYPE_TENSOR'."
            )
        shape = tuple(dim if isinstance(dim, int) else -1 for dim in node.shape or ())
        return cls(TRITON_TYPES.get(node.type, "TYPE_INVALID"), shape)


@dataclass(frozen=True)
class Signature:
    """Inputs, overridable initializers and outputs of a model, by name."""

    inputs: Mapping[str, ModelTensor]
    initializers: Mapping[str, ModelTensor]
    outputs: Mapping[str, ModelTensor]

    @classmethod
    def of(cls, session: onnxruntime.InferenceSession) -> Signature:
        """Read a session's description, sorted by name as the C++ backend keeps it."""

        def tensors(nodes: Iterable[Any]) -> dict[str, ModelTensor]:
            return {node.name: ModelTensor.of(node) for node in sorted(nodes, key=lambda node: node.name)}

        return cls(
            tensors(session.get_inputs()),
            tensors(session.get_overridable_initializers()),
            tensors(session.get_outputs()),
        )

    @property
    def batches(self) -> bool:
        """Whether every input and output has a dynamic first dimension."""
        return all(tensor.shape[:1] == (-1,) for tensor in (*self.inputs.values(), *self.outputs.values()))


def check(config: ModelConfig, signature: Signature) -> None:
    """Refuse a configuration that does not fit the model.

    Raises:
        LoadError: with the C++ backend's sentence.
    """
    expected = sum(not tensor.optional for tensor in config.inputs)
    if expected != len(signature.inputs):
        raise LoadError(
            f"unable to load model '{config.name}', configuration expects {expected} inputs, "
            f"model provides {len(signature.inputs)}"
        )
    allowed = {**signature.inputs, **signature.initializers}
    for tensor in config.inputs:
        if tensor.optional and config.max_batch_size > 0:
            raise LoadError(
                f"unable to load model '{config.name}', optional input '{tensor.name}' is not supported for "
                "models that "
                "support batching"
            )
        _check_name_and_type(config, tensor, allowed, "input")
        _check_ragged(config, tensor, allowed[tensor.name])
        _check_shape(config, tensor, allowed[tensor.name].shape, exact=False)
    for tensor in config.outputs:
        _check_name_and_type(config, tensor, signature.outputs, "output")
        _check_shape(config, tensor, signature.outputs[tensor.name].shape, exact=True)


def _check_name_and_type(
    config: ModelConfig, tensor: TensorConfig, allowed: Mapping[str, ModelTensor], what: str
) -> None:
    if tensor.name not in allowed:
        names = ", ".join(sorted(allowed))
        raise LoadError(f"unexpected inference {what} '{tensor.name}', allowed {what}s are: {names}")
    if tensor.data_type not in NUMPY_TYPES:
        raise LoadError(f"unsupported datatype {tensor.data_type} for {what} '{tensor.name}' for model '{config.name}'")
    provided = allowed[tensor.name].data_type
    if provided != tensor.data_type:
        raise LoadError(
            f"unable to load model '{config.name}', configuration expects datatype {tensor.data_type} for {what} "
            f"'{tensor.name}', model provides {DATA_TYPE_STRINGS.get(provided, provided)}"
        )


def _check_ragged(config: ModelConfig, tensor: TensorConfig, model: ModelTensor) -> None:
    if not tensor.allow_ragged_batch:
        return
    expectation = (
        f"unable to load model '{config.name}', configuration expects model provides input with shape [-1] for ragged "
        f"input '{tensor.name}', "
    )
    if tensor.optional:
        raise LoadError(expectation + "which is not supported for optional input")
    if model.shape != (-1,):
        raise LoadError(expectation + f"model provides {shape_text(model.shape)}")
    # The C++ backend joins such inputs end to end; a model that can use that needs a batch_input too.
    raise LoadError(f"unable to load model '{config.name}', ragged input '{tensor.name}' needs the C++ backend")


def _check_shape(config: ModelConfig, tensor: TensorConfig, model: Sequence[int], exact: bool) -> None:
    """Compare shapes: an output's must be equal; an input's may fix what the model leaves dynamic."""
    if not model:
        if any(dim != 1 for dim in tensor.shape):
            raise LoadError(
                f"unable to load model '{config.name}', scalar tensor '{tensor.name}', should only provide 1 in "
                "the model "
                "configuration when the model doesn't support batching. Model configuration provided: "
                f"{shape_text(tensor.shape)}."
            )
        return
    where = f"model '{config.name}', tensor '{tensor.name}': "
    batched = config.max_batch_size > 0
    if batched and model[0] != -1:
        raise LoadError(
            where
            + "for the model to support batching the shape should have at least 1 dimension and the first dimension "
            f"must be -1; but shape expected by the model is {shape_text(model)}"
        )
    full = (-1, *tensor.shape) if batched else tensor.shape
    fits = len(full) == len(model) and all(
        wanted == given or (not exact and wanted == -1) for wanted, given in zip(model, full, strict=True)
    )
    if not fits:
        explanation = (
            "(an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, "
            "making complete "
            f"shape {shape_text(full)})"
            if batched
            else f"(shape {shape_text(full)})"
        )
        raise LoadError(
            where
            + f"the model expects {len(model)} dimensions (shape {shape_text(model)}) but the model configuration "
            f"specifies {len(full)} dimensions {explanation}"
        )
