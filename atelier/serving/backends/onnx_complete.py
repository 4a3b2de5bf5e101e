"""Completes a model configuration from the model file, as the C++ ONNX Runtime backend does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atelier.serving.backends.bridge import Log
from atelier.serving.backends.config import LoadError, ModelConfig
from atelier.serving.backends.onnx_checks import ModelTensor, Signature
from atelier.serving.backends.onnx_session import open_session

# Triton's default of --backend-config=default-max-batch-size, which a Python-based backend is not told.
DEFAULT_MAX_BATCH_SIZE = 4


def complete(config: dict[str, Any], folder: Path, log: Log) -> None:
    """Fill inputs, outputs, ``max_batch_size`` and ``dynamic_batching`` in place, where inputs or outputs are missing.

    A configuration that has both is left as it is: it gets neither batching nor a batch size by itself.

    Args:
        config: the JSON configuration.
        folder: the version's folder.
        log: where to say what was done.

    Raises:
        LoadError: the model file cannot be read, or does not batch although ``max_batch_size`` says so.
    """
    name = config["name"]
    if config.get("input") and config.get("output"):
        log.log_info(f"skipping model configuration auto-complete for '{name}': inputs and outputs already specified")
        return
    signature = Signature.of(open_session(ModelConfig.parse(config, folder), log))
    _complete_batching(config, signature, log)
    batched = config["max_batch_size"] > 0
    for key, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        if not config.get(key):
            config[key] = [_entry(tensor_name, tensor, batched) for tensor_name, tensor in tensors.items()]


def _complete_batching(config: dict[str, Any], signature: Signature, log: Log) -> None:
    if not signature.batches:
        if config["max_batch_size"] != 0:
            raise LoadError(
                f"autofill failed for model '{config['name']}': model does not support batching while non-zero "
                "max_batch_size is specified"
            )
        return
    if config["max_batch_size"] == 0:
        config["max_batch_size"] = DEFAULT_MAX_BATCH_SIZE
        log.log_warn(
            f"autofilled max_batch_size to {DEFAULT_MAX_BATCH_SIZE} for model '{config['name']}' since batching is "
            "supported but no max_batch_size is specified in model configuration"
        )
    if config["max_batch_size"] > 1 and "dynamic_batching" not in config:
        config["dynamic_batching"] = {}


def _entry(name: str, tensor: ModelTensor, batched: bool) -> Mapping[str, Any]:
    entry: dict[str, Any] = {"name": name, "data_type": tensor.data_type, "dims": list(tensor.shape[batched:])}
    if not entry["dims"]:
        # Triton has no scalars: a row's one value is a [1] to the client, and to the model nothing beyond the batch.
        entry["dims"] = [1]
        if batched:
            entry["reshape"] = {"shape": []}
    return entry
