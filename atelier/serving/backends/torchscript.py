"""The engine of the ``pytorch`` backend: TorchScript."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from atelier.serving.backends import torch_options
from atelier.serving.backends.batching import Array, RunError
from atelier.serving.backends.bridge import Log
from atelier.serving.backends.config import NUMPY_TYPES, TRITON_TYPES, LoadError, ModelConfig
from atelier.serving.backends.torch_names import Arguments, check, input_positions, output_positions

FILENAME = "model.pt"
# The C++ backend maps these and no others: PyTorch's newer unsigned types are not among them.
TORCH_TYPES = frozenset(NUMPY_TYPES) - {"TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_STRING"}


class TorchScript:
    """A TorchScript module behind a checked configuration.

    Args:
        config: the model configuration and the instance it is for.
        log: where to write what is ignored.

    Raises:
        LoadError: the configuration does not fit the model, or a parameter does not parse.
    """

    def __init__(self, config: ModelConfig, log: Log) -> None:
        self.max_batch_size = config.max_batch_size
        self._options = torch_options.parse(config, log)
        self._device = _device(config, log)
        self._module = self._load(config)
        arguments = Arguments.of(self._module)
        check(config, arguments, TORCH_TYPES)
        # A model with a Dict takes its inputs by name: they have no positions.
        self._positions = None if arguments.is_dict else input_positions(config, arguments.names, log)
        self._outputs = output_positions(config, log)
        self._types = {tensor.name: tensor.data_type for tensor in (*config.inputs, *config.outputs)}

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Compute the named outputs.

        Raises:
            RunError: the module failed, or gives something that is no tensor of the configured type.
        """
        values = {name: self._value(name, array) for name, array in inputs.items()}
        with self._mode():
            try:
                if self._positions is None:
                    result = self._module(values)
                else:
                    result = self._module(*(values[name] for name in sorted(values, key=self._positions.__getitem__)))
            except Exception as error:  # TorchScript raises whatever the script raises
                raise RunError(f"PyTorch execute failure: {_last_line(error)}") from error
            results = _results(result)
            self._check_positions(len(results))
            return {name: self._array(name, results[self._outputs[name]]) for name in outputs}

    def close(self) -> None:
        """Free the module, and what it held on the GPU."""
        del self._module
        torch_options.empty_cache()

    def _load(self, config: ModelConfig) -> Any:
        path = config.path(FILENAME)
        # KIND_MODEL: the module has placed itself when it was saved.
        where = None if config.kind == "MODEL" else self._device
        try:
            with torch.inference_mode(self._options.inference_mode):
                return torch.jit.load(str(path), map_location=where)  # type: ignore[no-untyped-call]
        except (
            Exception
        ) as error:  # RuntimeError, ValueError, pickle's errors: all mean that the file is no TorchScript
            raise LoadError(f"failed to load model '{config.name}': {_first_line(error)}") from None

    @contextlib.contextmanager
    def _mode(self) -> Iterator[None]:
        with (
            torch.jit.optimized_execution(self._options.optimized_execution),  # type: ignore[attr-defined]
            torch.inference_mode(self._options.inference_mode),
            torch.no_grad(),
        ):
            try:
                yield
            finally:
                if self._options.cache_cleaning:
                    torch_options.empty_cache()

    def _value(self, name: str, array: Array) -> torch.Tensor | list[str]:
        if self._types[name] == "TYPE_STRING":
            try:
                return [item.decode("utf-8") for item in array.reshape(-1)]
            except UnicodeDecodeError:
                raise RunError(f"input '{name}' holds bytes that are not UTF-8", "INVALID_ARG") from None
        return torch.from_numpy(array).to(self._device)

    def _check_positions(self, count: int) -> None:
        for name, position in self._outputs.items():
            if position >= count:
                raise RunError(
                    f"The output {name} in the model configuration refers to an output index which doesn't exist. "
                    f"This model has {count} outputs",
                    "INVALID_ARG",
                )

    def _array(self, name: str, value: torch.Tensor | list[str]) -> Array:
        if isinstance(value, list):
            array: Array = np.array(value, dtype=np.object_)
            provided = "TYPE_STRING"
        else:
            if value.ndim == 0:
                raise RunError(f"output '{name}' is a scalar which is not supported.", "INVALID_ARG")
            provided = "TYPE_<invalid>"
            if value.dtype != torch.bfloat16 and not value.is_complex():  # numpy has no bfloat16, Triton no complex
                array = value.detach().contiguous().cpu().numpy()
                provided = TRITON_TYPES.get(array.dtype, provided)
        if provided != self._types[name]:
            raise RunError(
                f"configuration expects datatype {self._types[name]} for output '{name}', model provides {provided}",
                "INVALID_ARG",
            )
        return array


def _device(config: ModelConfig, log: Log) -> torch.device:
    if config.kind != "GPU":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        # Without a `kind` Triton makes GPU instances wherever there is a GPU: serve slowly rather than not at all.
        log.log_warn(f"model '{config.name}': this PyTorch has no CUDA, so the instance runs on the CPU")
        return torch.device("cpu")
    return torch.device("cuda", config.device)


def _results(result: Any) -> list[torch.Tensor | list[str]]:
    """The outputs in order: a tensor, a list of texts, or a tuple of those."""
    if isinstance(result, tuple):
        for index, item in enumerate(result):
            if isinstance(item, list) and not _is_texts(item):
                raise RunError(
                    f"PyTorch execute failure: output at index {index} must be of type Tensor or List[str], received "
                    f"List[{_element_type(item)}]"
                )
            if not isinstance(item, list | torch.Tensor):
                raise RunError(
                    f"PyTorch execute failure: output at index {index} must be of type Tensor or List[str], received "
                    f"{type(item).__name__}"
                )
        return list(result)
    if isinstance(result, torch.Tensor) or (isinstance(result, list) and _is_texts(result)):
        return [result]
    if isinstance(result, list):
        raise RunError(
            "PyTorch execute failure: output must be of type Tensor or List[str], received "
            f"List[{_element_type(result)}]"
        )
    raise RunError(
        "PyTorch execute failure: output must be of type Tensor, List[str] or Tuple containing one of these two types. "
        "It should not be a List / Dictionary of Tensors or a Scalar"
    )


def _is_texts(items: list[Any]) -> bool:
    return all(isinstance(item, str) for item in items)


def _element_type(items: list[Any]) -> str:
    return type(next(item for item in items if not isinstance(item, str))).__name__


def _last_line(error: Exception) -> str:
    """TorchScript's messages hold the script's stack with paths of the machine; the cause is their last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _first_line(error: Exception) -> str:
    """The cause of an error of the loader, whose messages go on with a C++ stack."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
