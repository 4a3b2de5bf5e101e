"""The three networks as they are served: tensors named as Triton's, float32 in and out whatever the precision."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from atelier.matting.checkpoint import Checkpoint
from atelier.matting.eager import TYPES
from export.artefact import EXTERNAL
from export.engine import Profile
from export.errors import ExportError

Precision = Literal["fp32", "fp16"]
Tensors = Mapping[str, np.ndarray]
Run = Callable[[Tensors], np.ndarray]

OPSET = 17  # taken by every onnxruntime from 1.12 and every TensorRT from 8.5
MAX_IR = 10  # the newest that onnxruntime 1.19 (Triton 24.10) reads
LATENT_CHANNELS = 4
LARGEST = 2**31 - 2**20  # bytes of an ONNX file: what its format can hold, less room for the graph


@dataclass(frozen=True, eq=False)
class Graph:
    """One network.

    Attributes:
        model: its name in the model repository.
        inputs: by name, the axes that vary: index to name.
        output: the output's name.
        axes: of the output.
        example: shapes to trace with. They leave no mark; 2 of everything that 1 would make constant.
    """

    model: str
    inputs: Mapping[str, Mapping[int, str]]
    output: str
    axes: Mapping[int, str]
    example: Mapping[str, tuple[int, ...]]

    def network(self, checkpoint: Checkpoint) -> nn.Module:
        """The checkpoint's part."""
        parts = {UNET.model: checkpoint.unet, ENCODER.model: checkpoint.encoder, DECODER.model: checkpoint.decoder}
        return parts[self.model]

    def profile(self) -> Profile:
        """TensorRT's optimisation profile: 1, 8 and 32 frames, 128 × 128, 576 × 1024 and 1280 × 1280 pixels."""
        sizes = zip((1, 8, 32), (16, 72, 160), (16, 128, 160), strict=True)
        varying = {name: axes for name, axes in self.inputs.items() if axes}
        shapes: dict[str, list[tuple[int, ...]]] = {name: [] for name in varying}
        for frames, height, width in sizes:
            values = {"B": 1, "F": frames, "N": frames, "h": height, "w": width, "H": 8 * height, "W": 8 * width}
            for name, axes in varying.items():
                example = self.example[name]
                shapes[name].append(tuple(values[axes[i]] if i in axes else side for i, side in enumerate(example)))
        return Profile({name: (small, best, large) for name, (small, best, large) in shapes.items()})


UNET = Graph(
    "gvm_unet",
    {"SAMPLE": {0: "B", 1: "F", 3: "h", 4: "w"}, "TIMESTEP": {}},
    "PREDICTED",
    {0: "B", 1: "F", 3: "h", 4: "w"},
    {"SAMPLE": (2, 3, 8, 12, 20), "TIMESTEP": (1,)},
)
ENCODER = Graph(
    "gvm_vae_encoder",
    {"FRAMES": {0: "N", 2: "H", 3: "W"}},
    "LATENTS",
    {0: "N", 2: "h", 3: "w"},
    {"FRAMES": (2, 3, 96, 160)},
)
DECODER = Graph(
    "gvm_vae_decoder",
    {"LATENTS": {0: "N", 2: "h", 3: "w"}},
    "ALPHA",
    {0: "N", 1: "H", 2: "W"},
    {"LATENTS": (3, 4, 12, 20)},
)
GRAPHS = (UNET, ENCODER, DECODER)


class Served(nn.Module):
    """A network that takes and gives float32, and computes in its own precision.

    Args:
        network: moved to the precision, in place.
        precision: ``fp32`` or ``fp16``.
    """

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.type = TYPES[precision]
        self.network = network.to(self.type)

    def forward(self, first: Tensor, *rest: Tensor) -> Tensor:
        """The network's own inputs; a timestep stays float32."""
        return self.network(first.to(self.type), *rest).to(torch.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what PyTorch says about its tracing exporter, and about questions that diffusers asks of sizes.

    Those questions (`Upsample2D`: 64 frames or more, more than 2^31 values) choose between ways to compute the same.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="Constant folding")
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        yield


def write_onnx(graph: Graph, checkpoint: Checkpoint, precision: Precision, path: Path) -> None:
    """Write one network as ONNX: standard operators alone; above 2 GB its weights lie beside it, in ``NAME.data``.

    Raises:
        ExportError: the exporter fails.
    """
    served = Served(graph.network(checkpoint), precision)
    random = np.random.default_rng(0)
    example = tuple(torch.from_numpy(random.standard_normal(shape, np.float32)) for shape in graph.example.values())
    traced = path.with_name(f"traced-{path.name}")
    dynamic = {name: dict(axes) for name, axes in {**graph.inputs, graph.output: graph.axes}.items() if axes}
    try:
        with _quiet(), torch.inference_mode():
            torch.onnx.export(
                served,
                example,
                str(traced),
                dynamo=False,  # the other exporter writes opset 18 at least, and needs a package more
                opset_version=OPSET,
                input_names=list(graph.inputs),
                output_names=[graph.output],
                dynamic_axes=dynamic,
            )
    except RuntimeError as error:
        raise ExportError(f"{graph.model} cannot be exported: {str(error).splitlines()[0][:200]}") from error
    model = onnx.load(str(traced))
    model.ir_version = min(model.ir_version, MAX_IR)
    for node in model.graph.node:
        node.ClearField("doc_string")
    for axis, dim in enumerate(model.graph.output[0].type.tensor_type.shape.dim):
        if axis not in graph.axes:  # the tracer loses count of the latents' channels
            dim.dim_value = LATENT_CHANNELS
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if size > LARGEST:
        where = f"{path.name}{EXTERNAL}"
        onnx.save_model(model, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=where)
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path), full_check=size <= LARGEST)
    for leftover in path.parent.iterdir():  # beside a large trace the exporter puts a file a tensor
        if leftover.name not in (path.name, f"{path.name}{EXTERNAL}") and leftover.is_file():
            leftover.unlink()


def run_onnx(graph: Graph, path: Path) -> Run:
    """Run an ONNX artefact in ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda tensors: session.run([graph.output], dict(tensors))[0]
