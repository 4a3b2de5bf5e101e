"""The engine of the ``onnxruntime`` backend."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from atelier.serving.backends import onnx_options
from atelier.serving.backends.batching import Array, RunError
from atelier.serving.backends.bridge import Log
from atelier.serving.backends.config import LoadError, ModelConfig
from atelier.serving.backends.onnx_checks import Signature, check

FILENAME = "model.onnx"
STATUS = re.compile(r"\[ONNXRuntimeError\] : (\d+) : \w+ : (.*)", re.DOTALL)
# Files of the server and of ONNX Runtime's build. Names of nodes look like paths too: they are in quotes, and stay.
PATH = re.compile(r"(?<![\w.'])/(?:[\w.+-]+/)*[\w+-]+\.\w+(?::\d+)?")
UNKNOWN_ERROR = 1  # ORT_FAIL


def open_session(config: ModelConfig, log: Log) -> onnxruntime.InferenceSession:
    """Load the model file.

    Raises:
        LoadError: the file is not there, is no model that this ONNX Runtime can run, or an option does not parse.
    """
    options = onnx_options.session_options(config, log)
    path = config.path(FILENAME, in_folder=True)
    wanted = onnx_options.providers(config, onnxruntime.get_available_providers(), log)
    if config.kind == "GPU" and len(wanted) > 1:
        onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed with PyTorch
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:  # the binding has one unrelated class for each status
        raise LoadError(_native_text(error)) from None
    # A provider whose libraries do not load is dropped with no more than a line on stderr.
    for name in {name for name, _ in wanted} - set(session.get_providers()):
        log.log_warn(f"model '{config.name}': {name} did not start, so the instance does without")
    return session


class OnnxSession:
    """An ONNX Runtime session behind a checked configuration.

    Args:
        config: the model configuration and the instance it is for.
        log: where to write what is ignored.

    Raises:
        LoadError: the configuration does not fit the model, or an option does not parse.
    """

    def __init__(self, config: ModelConfig, log: Log) -> None:
        self.max_batch_size = config.max_batch_size
        self._session = open_session(config, log)
        signature = Signature.of(self._session)
        check(config, signature)
        self._run_options = onnx_options.run_options(config)
        self._scalar_inputs = {name for name, tensor in signature.inputs.items() if not tensor.shape}
        self._texts = {tensor.name for tensor in config.inputs if tensor.data_type == "TYPE_STRING"}
        self._output_shapes = {tensor.name: tensor.shape for tensor in config.outputs}

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Compute the named outputs, and no others.

        ONNX Runtime reads contiguous arrays where they are, and hands its own buffers out: nothing is copied here.

        Raises:
            RunError: ONNX Runtime failed, or a text is not UTF-8.
        """
        feeds = {name: self._feed(name, array) for name, array in inputs.items()}
        try:
            arrays = self._session.run(list(outputs), feeds, self._run_options)
        except Exception as error:  # the binding has one unrelated class for each status
            raise RunError(PATH.sub("", _native_text(error)).strip()) from error
        return {name: self._result(name, array) for name, array in zip(outputs, arrays, strict=True)}

    def _feed(self, name: str, array: Array) -> Array:
        if name in self._texts:
            array = _decode(name, array)
        return array.reshape(()) if name in self._scalar_inputs else array

    def _result(self, name: str, value: Any) -> Array:
        array = np.asarray(value)
        # Triton has no scalars: the configuration's dims, all 1, stand for one.
        return array.reshape(self._output_shapes[name]) if array.ndim == 0 else array


def _decode(name: str, array: Array) -> Array:
    """Texts as ``str``: the Python binding would write out the ``b''`` of bytes."""
    try:
        texts = [item.decode("utf-8") for item in array.reshape(-1)]
    except UnicodeDecodeError:
        raise RunError(f"input '{name}' holds bytes that are not UTF-8", "INVALID_ARG") from None
    decoded = np.empty(len(texts), dtype=np.object_)
    decoded[:] = texts
    return decoded.reshape(array.shape)


def _native_text(error: Exception) -> str:
    """The C++ backend's sentence for an error of ONNX Runtime."""
    match = STATUS.match(str(error))
    code, text = match.groups() if match else (UNKNOWN_ERROR, str(error))
    return f"onnx runtime error {code}: {' '.join(text.split())}"
