"""How the names in a configuration find a TorchScript module's arguments and results, and what is checked at load."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from atelier.serving.backends.bridge import Log
from atelier.serving.backends.config import LoadError, ModelConfig, TensorConfig


@dataclass(frozen=True)
class Arguments:
    """Arguments of ``forward`` without ``self``.

    Attributes:
        names: their names, in order.
        kinds: TorchScript's kinds of their types, ``TensorType``.
        types: their types as TorchScript writes them.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    types: tuple[str, ...]

    @classmethod
    def of(cls, module: Any) -> Arguments:
        """Read a module's schema."""
        arguments = module._c._get_method("forward").schema.arguments
        if arguments and arguments[0].type.kind() == "ClassType":
            arguments = arguments[1:]
        return cls(
            tuple(argument.name for argument in arguments),
            tuple(argument.type.kind() for argument in arguments),
            tuple(str(argument.type) for argument in arguments),
        )

    @property
    def is_dict(self) -> bool:
        """Whether the one argument is a dictionary, whose keys are the input names."""
        return self.kinds == ("DictType",)


def check(config: ModelConfig, arguments: Arguments, data_types: Collection[str]) -> None:
    """Refuse a configuration that does not fit the module.

    Args:
        config: the model configuration.
        arguments: the module's.
        data_types: what PyTorch has of Triton's types, beside TYPE_STRING.

    Raises:
        LoadError: with the C++ backend's sentence.
    """
    for tensor in config.inputs:
        if tensor.optional:
            raise LoadError(
                f"'optional' is set to true for input '{tensor.name}' while the backend model doesn't support "
                "optional input"
            )
        if tensor.allow_ragged_batch:
            raise LoadError(f"unable to load model '{config.name}', ragged input '{tensor.name}' needs the C++ backend")
    if not arguments.is_dict:
        _check_arguments(config, arguments)
    for what, tensors in (("input", config.inputs), ("output", config.outputs)):
        if not tensors:
            raise LoadError(f"model configuration must contain at least one {what}, none were specified.")
        for tensor in tensors:
            _check_type(config, tensor, what, data_types)


def _check_arguments(config: ModelConfig, arguments: Arguments) -> None:
    if "DictType" in arguments.kinds[1:]:
        raise LoadError(
            "Multiple inputs of kind DictType were detected. Only a single input of type Dict(str, Tensor) is "
            "supported."
        )
    for kind, written in zip(arguments.kinds, arguments.types, strict=True):
        if kind not in ("TensorType", "ListType"):
            raise LoadError(
                f"An input of type '{written}' was detected in the model. Only a single input of type Dict(str, "
                "Tensor) or "
                "input(s) of type Tensor are supported."
            )
    if len(arguments.names) != len(config.inputs):
        raise LoadError(
            f"unable to load model '{config.name}', configuration expects {len(config.inputs)} inputs, "
            f"model provides {len(arguments.names)}"
        )


def _check_type(config: ModelConfig, tensor: TensorConfig, what: str, data_types: Collection[str]) -> None:
    if tensor.data_type == "TYPE_STRING":
        if len(tensor.shape) + (config.max_batch_size > 0) > 1:
            raise LoadError(
                f"Triton only supports 1 dimensional List of String as {what} for '{tensor.name}' for model "
                f"'{config.name}'"
            )
    elif tensor.data_type not in data_types:
        raise LoadError(f"unsupported datatype {tensor.data_type} for {what} '{tensor.name}' for model '{config.name}'")


def input_positions(config: ModelConfig, arguments: Sequence[str], log: Log) -> dict[str, int]:
    """The argument that each input is.

    If all names are arguments of ``forward``, by name; else if all are ``<name>__<index>``, by index; else in the
    configuration's order.

    Raises:
        LoadError: two inputs are the same argument, or one is none at all: the C++ backend loads such a model, and the
            first request fails or ends the server.
    """
    names = [tensor.name for tensor in config.inputs]
    if set(names) <= set(arguments):
        return {name: arguments.index(name) for name in names}
    positions = _by_index(names)
    if positions is None:
        return _in_order(config, names, "input", log)
    for name, position in positions.items():
        if position >= len(arguments):
            raise LoadError(
                f"unable to load model '{config.name}', input '{name}' refers to index {position}, model provides "
                f"{len(arguments)} inputs"
            )
    if len(set(positions.values())) < len(positions):
        raise LoadError(f"unable to load model '{config.name}', inputs {', '.join(names)} refer to one index twice")
    return positions


def output_positions(config: ModelConfig, log: Log) -> dict[str, int]:
    """The result that each output is: by index if all names are ``<name>__<index>``, else in the configuration's order.

    An index beyond the module's results shows at the first request only, as in the C++ backend.
    """
    names = [tensor.name for tensor in config.outputs]
    positions = _by_index(names)
    return _in_order(config, names, "output", log) if positions is None else positions


def _by_index(names: Sequence[str]) -> dict[str, int] | None:
    positions: dict[str, int] = {}
    for name in names:
        _, separator, index = name.partition("__")
        # The C++ backend reads an empty index as 0.
        if not separator or not (index == "" or (index.isascii() and index.isdigit())):
            return None
        positions[name] = int(index or 0)
    return positions


def _in_order(config: ModelConfig, names: Sequence[str], what: str, log: Log) -> dict[str, int]:
    log.log_warn(
        f"model '{config.name}': the {what}s {', '.join(names)} do not all name arguments of forward or all follow "
        f"<name>__<index>: the configuration's order counts"
    )
    return {name: position for position, name in enumerate(names)}
