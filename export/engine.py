"""ONNX to a TensorRT engine, with NVIDIA's ``tensorrt`` or, to see whether a network is accepted, TensorRT for RTX.

The two have one interface. Networks are strongly typed: their precisions are those written in the graph.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from export.errors import ExportError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """Shapes that an engine is made for: input name to smallest, best and largest shape."""

    shapes: Mapping[str, tuple[Shape, Shape, Shape]]


def tensorrt() -> ModuleType:
    """NVIDIA's ``tensorrt``, on a machine with a GPU.

    Raises:
        ExportError: One of them is missing.
    """
    if find_spec("tensorrt") is None or not torch.cuda.is_available():
        raise ExportError(
            "An engine that Triton loads is built on the machine with the GPU it is for, with the packages of "
            "atelier[gpu]; here, --check shows that TensorRT accepts the network."
        )
    return import_module("tensorrt")


def build(toolkit: ModuleType, onnx: bytes | Path, profiles: Sequence[Profile], exact: bool) -> bytes:
    """Build an engine.

    Args:
        toolkit: `tensorrt`'s or `export.rtx.load`'s answer.
        onnx: The ONNX file's bytes, or its path where its weights may lie beside it.
        profiles: One optimisation profile each, in Triton's numbering.
        exact: Keep float32 products float32; else TensorFloat-32 (10 bits of mantissa) is allowed.

    Returns:
        The serialised engine.

    Raises:
        ExportError: The parser or the builder refuses the network.
    """
    logger = _logger(toolkit)
    builder = toolkit.Builder(logger)
    flag = getattr(toolkit.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # implied where it is gone
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = toolkit.OnnxParser(network, logger)
    if not (parser.parse_from_file(str(onnx)) if isinstance(onnx, Path) else parser.parse(onnx)):
        reason = parser.get_error(0).desc() if parser.num_errors else "no reason given"
        raise ExportError(f"TensorRT's parser refuses the network: {' '.join(reason.split())}")
    config = builder.create_builder_config()
    if exact:
        config.clear_flag(toolkit.BuilderFlag.TF32)
    for profile in profiles:
        optimisation = builder.create_optimization_profile()
        for name, (smallest, best, largest) in profile.shapes.items():
            optimisation.set_shape(name, smallest, best, largest)
        config.add_optimization_profile(optimisation)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(f"TensorRT could not build the engine: {logger.last or 'no reason given'}")
    return bytes(engine)


def runner(toolkit: ModuleType, path: Path) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """Run an engine with one output on the first GPU: inputs by name to the output.

    The engine's profiles are tried in turn for each call's shapes, the last first: those are the narrower ones.
    """
    logger = _logger(toolkit)
    engine = toolkit.Runtime(logger).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise ExportError(f"TensorRT does not load its own engine: {logger.last or 'no reason given'}")
    context = engine.create_execution_context()
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    (output,) = (name for name in names if engine.get_tensor_mode(name) == toolkit.TensorIOMode.OUTPUT)

    def fits(index: int, name: str, shape: Shape) -> bool:
        smallest, _, largest = engine.get_tensor_profile_shape(name, index)
        return all(low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True))

    def profile_for(inputs: Mapping[str, np.ndarray]) -> int:
        for index in reversed(range(engine.num_optimization_profiles)):
            if all(fits(index, name, array.shape) for name, array in inputs.items()):
                return index
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
        raise ExportError(f"The engine has no profile for {shapes}.")

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        stream = torch.cuda.Stream()
        context.set_optimization_profile_async(profile_for(inputs), stream.cuda_stream)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)).cuda() for name, array in inputs.items()}
        for name, tensor in tensors.items():
            context.set_input_shape(name, tuple(tensor.shape))
        kind = torch.from_numpy(np.empty(0, toolkit.nptype(engine.get_tensor_dtype(output)))).dtype
        tensors[output] = torch.empty(tuple(context.get_tensor_shape(output)), dtype=kind, device="cuda")
        for name, tensor in tensors.items():
            context.set_tensor_address(name, tensor.data_ptr())
        torch.cuda.synchronize()  # the copies above went through another stream
        if not context.execute_async_v3(stream.cuda_stream):
            raise ExportError(f"The engine does not run: {logger.last or 'no reason given'}")
        stream.synchronize()
        return tensors[output].cpu().numpy()

    return run


def _logger(toolkit: ModuleType):
    """A logger that keeps the last error, for one line on the terminal, and says nothing itself."""

    class LastError(toolkit.ILogger):
        def __init__(self) -> None:
            toolkit.ILogger.__init__(self)
            self.last = ""

        def log(self, severity: object, message: str) -> None:
            if severity in (toolkit.ILogger.Severity.ERROR, toolkit.ILogger.Severity.INTERNAL_ERROR):
                self.last = " ".join(message.split())

    return LastError()
