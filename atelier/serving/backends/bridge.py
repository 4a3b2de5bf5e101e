"""The seam to Triton's Python backend: requests to arrays, arrays to responses, errors to Triton's errors.

``pb_utils`` is the module ``triton_python_backend_utils``, which exists inside the server only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from atelier.serving.backends.batching import Engine, Request, Result, RunError, run_all
from atelier.serving.backends.config import LoadError, ModelConfig

T = TypeVar("T")


class Log(Protocol):
    """``pb_utils.Logger``."""

    def log_info(self, message: str) -> None:
        """Write a line for information."""

    def log_warn(self, message: str) -> None:
        """Write a warning."""


def load(pb_utils: Any, engine: Callable[[ModelConfig, Log], T], args: Mapping[str, str]) -> T:
    """Make the engine for ``initialize``; what refuses the model becomes its UNAVAILABLE reason.

    Raises:
        TritonModelException: the model cannot be loaded as it is configured.
    """
    try:
        config = ModelConfig.from_args(args)
        for field in config.ignored:
            pb_utils.Logger.log_warn(f"model '{config.name}': '{field}' is ignored outside the C++ backend")
        return engine(config, pb_utils.Logger)
    except LoadError as error:
        # The Python backend reports the type, the message, and the place of the raise: no chain, one place.
        raise pb_utils.TritonModelException(str(error)) from None


def execute(pb_utils: Any, engine: Engine, requests: Sequence[Any]) -> list[Any]:
    """Answer the requests of one batch, in their order."""
    results = run_all(engine, [_read(request) for request in requests])
    return [_respond(pb_utils, result) for result in results]


def version_folder() -> Path:
    """Folder of the version that ``auto_complete_config`` is called for.

    Triton passes that method the configuration alone. The stub process was started with the path of the version's
    ``model.py`` as its first argument, whether the file is there or not.
    """
    arguments = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    return Path(arguments[1].decode()).parent


def _read(request: Any) -> Request:
    # The arrays are views of the shared memory, valid until `execute` returns: long enough.
    inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
    return Request(inputs, frozenset(request.requested_output_names()))


def _respond(pb_utils: Any, result: Result) -> Any:
    if isinstance(result, RunError):
        if result.__cause__ is not None:  # the client gets the sentence, the log all of it
            pb_utils.Logger.log_error(f"{result}: {result.__cause__}")
        error = pb_utils.TritonError(str(result), getattr(pb_utils.TritonError, result.code))
        return pb_utils.InferenceResponse(output_tensors=[], error=error)
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in result.items()])
