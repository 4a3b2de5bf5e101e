"""A typed view of the model configuration that Triton hands to a Python-based backend."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atelier.serving.repository import BRING, REQUIRES

# The one table between Triton's types and numpy's. TYPE_BF16 is absent: numpy has no such type, and neither C++
# backend takes it.
NUMPY_TYPES: dict[str, type[np.generic]] = {
    "TYPE_BOOL": np.bool_,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT16": np.uint16,
    "TYPE_UINT32": np.uint32,
    "TYPE_UINT64": np.uint64,
    "TYPE_INT8": np.int8,
    "TYPE_INT16": np.int16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_STRING": np.object_,
}
TRITON_TYPES = {np.dtype(numpy_type): name for name, numpy_type in NUMPY_TYPES.items()}

# What changes the meaning of a model's inputs. The C++ backends have it; ignoring it would answer wrongly.
UNSUPPORTED_FIELDS = ("batch_input", "batch_output", "sequence_batching")


class LoadError(Exception):
    """The model cannot be loaded as it is configured. The message is one sentence, for Triton's UNAVAILABLE reason."""


@dataclass(frozen=True)
class TensorConfig:
    """An entry of ``input`` or ``output``.

    Attributes:
        name: the tensor's name.
        data_type: Triton's name with its prefix, ``TYPE_FP32``.
        dims: shape that the client sees, without the batch dimension.
        shape: shape that the model sees, without the batch dimension: ``reshape`` where given, else ``dims``.
            Triton's core converts requests and responses, so a backend meets nothing but this one.
        optional: whether a request may leave it out.
        allow_ragged_batch: whether requests of different shapes may meet in a batch.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    shape: tuple[int, ...]
    optional: bool = False
    allow_ragged_batch: bool = False

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> TensorConfig:
        """Read one entry of the JSON configuration; Triton writes 64-bit numbers as text in places."""
        dims = tuple(int(dim) for dim in entry["dims"])
        reshape = entry.get("reshape")
        return cls(
            name=entry["name"],
            data_type=entry["data_type"],
            dims=dims,
            shape=dims if reshape is None else tuple(int(dim) for dim in reshape.get("shape", ())),
            optional=bool(entry.get("optional", False)),
            allow_ragged_batch=bool(entry.get("allow_ragged_batch", False)),
        )


@dataclass(frozen=True)
class Accelerator:
    """An entry of ``optimization.execution_accelerators``: its name and its parameters, all text."""

    name: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class ModelConfig:
    """The model configuration, and the instance that it is loaded for.

    Attributes:
        name: the model's name.
        folder: the version's folder, ``<repository>/<model>/<version>``.
        max_batch_size: 0 where the model does not batch.
        inputs: entries of ``input``, in the configuration's order.
        outputs: entries of ``output``, in the configuration's order.
        parameters: key to ``string_value``.
        filename: ``default_model_filename``; empty where the backend's own default holds.
        graph_level: ``optimization.graph.level``, in Triton's numbering.
        gpu_accelerators: entries of ``gpu_execution_accelerator``.
        cpu_accelerators: entries of ``cpu_execution_accelerator``.
        ignored: configured fields that change speed but nothing else, and that only the C++ backend acts upon.
        kind: ``CPU``, ``GPU`` or ``MODEL``.
        device: number of the GPU where ``kind`` is ``GPU``.
    """

    name: str
    folder: Path
    max_batch_size: int
    inputs: tuple[TensorConfig, ...]
    outputs: tuple[TensorConfig, ...]
    parameters: Mapping[str, str]
    filename: str = ""
    graph_level: int = 0
    gpu_accelerators: tuple[Accelerator, ...] = ()
    cpu_accelerators: tuple[Accelerator, ...] = ()
    ignored: tuple[str, ...] = ()
    kind: str = "CPU"
    device: int = 0

    @classmethod
    def from_args(cls, args: Mapping[str, str]) -> ModelConfig:
        """Read what Triton passes to ``initialize``.

        Raises:
            LoadError: the configuration has a field that these backends cannot honour.
        """
        folder = Path(args["model_repository"]) / args["model_version"]
        kind = args["model_instance_kind"].removeprefix("KIND_")
        return cls.parse(json.loads(args["model_config"]), folder, kind, int(args["model_instance_device_id"]))

    @classmethod
    def parse(cls, config: Mapping[str, Any], folder: Path, kind: str = "CPU", device: int = 0) -> ModelConfig:
        """Read the JSON configuration.

        Raises:
            LoadError: the configuration has a field that these backends cannot honour.
        """
        name = config["name"]
        for field in UNSUPPORTED_FIELDS:
            if config.get(field):
                raise LoadError(f"unable to load model '{name}', '{field}' needs the C++ backend")
        optimization = config.get("optimization", {})
        accelerators = optimization.get("execution_accelerators", {})
        return cls(
            name=name,
            folder=folder,
            max_batch_size=int(config.get("max_batch_size", 0)),
            inputs=tuple(TensorConfig.parse(entry) for entry in config.get("input", ())),
            outputs=tuple(TensorConfig.parse(entry) for entry in config.get("output", ())),
            parameters={
                key: value.get("string_value", "")
                for key, value in config.get("parameters", {}).items()
                if key not in (REQUIRES, BRING)  # the launcher reads these
            },
            # cc_model_filenames picks a file by the GPU's compute capability. It is read by the C++ backends for GPU
            # instances only; which one fits is not known without CUDA, so it is in `ignored`.
            filename=config.get("default_model_filename", ""),
            graph_level=int(optimization.get("graph", {}).get("level", 0)),
            gpu_accelerators=_accelerators(accelerators.get("gpu_execution_accelerator", ())),
            cpu_accelerators=_accelerators(accelerators.get("cpu_execution_accelerator", ())),
            ignored=_ignored(config, optimization),
            kind=kind,
            device=device,
        )

    def path(self, default: str, in_folder: bool = False) -> Path:
        """The artefact below the version's folder.

        Args:
            default: the file's name where the configuration names none.
            in_folder: take a folder of that name too, which holds ``default`` beside its external data.

        Raises:
            LoadError: there is no such file.
        """
        path = self.folder / (self.filename or default)
        if in_folder and path.is_dir():
            path /= default
        if not path.is_file():
            raise LoadError(f"unable to find '{path}' for model instance '{self.name}': failed to stat file {path}")
        return path

    def boolean(self, key: str, default: bool) -> bool:
        """A parameter as a truth value, parsed as the C++ backends do.

        Raises:
            LoadError: its text is none of true, on, 1, false, off, 0.
        """
        if key not in self.parameters:
            return default
        return parse_boolean(self.parameters[key])

    def integer(self, key: str, default: int) -> int:
        """A parameter as a whole number, parsed as the C++ backends do.

        Raises:
            LoadError: its text does not begin with a number.
        """
        if key not in self.parameters:
            return default
        # std::stoi takes leading blanks and stops at the first character that is no digit.
        match = re.match(r"\s*[+-]?\d+", self.parameters[key])
        if match is None:
            raise LoadError(f"failed to convert '{self.parameters[key]}' to integral number")
        return int(match[0])


def parse_boolean(text: str) -> bool:
    """Read a truth value as the C++ backends do.

    Raises:
        LoadError: the text is none of true, on, 1, false, off, 0.
    """
    if text.lower() in ("true", "on", "1"):
        return True
    if text.lower() in ("false", "off", "0"):
        return False
    raise LoadError(f"failed to convert '{text}' to boolean")


def shape_text(shape: Sequence[int]) -> str:
    """A shape as Triton writes it: ``[-1,3,8,8]``."""
    return "[" + ",".join(str(dim) for dim in shape) + "]"


def _accelerators(entries: Sequence[Mapping[str, Any]]) -> tuple[Accelerator, ...]:
    return tuple(Accelerator(entry["name"], dict(entry.get("parameters", {}))) for entry in entries)


def _ignored(config: Mapping[str, Any], optimization: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the configured fields that these backends do nothing with."""
    ignored = [field for field in ("cc_model_filenames", "model_operations") if config.get(field)]
    # Pinned memory is on by default: that it is configured says nothing.
    ignored += [
        f"optimization.{field}" for field in ("cuda", "gather_kernel_buffer_threshold") if optimization.get(field)
    ]
    return tuple(ignored)
