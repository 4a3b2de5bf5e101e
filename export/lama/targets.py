"""The three artefacts that the model ``lama`` can be served from, each with a way to run it."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
import torch

from atelier.inpainting.generator import LamaGenerator
from export.lama.fused import FusedGenerator, LamaGraph, Precision

Target = Literal["onnx", "torchscript", "tensorrt"]
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]  # IMAGE, MASK to INPAINTED

SUFFIX: dict[Target, str] = {"onnx": "onnx", "torchscript": "pt", "tensorrt": "plan"}
OPSET = 17  # taken by every onnxruntime from 1.12 and every TensorRT from 8.5
MAX_IR = 10  # the newest that onnxruntime 1.19 (Triton 24.10) reads

# Batch, height and width to trace with. They leave no mark: nothing in the graph depends on them. Unequal, and odd at
# the bottleneck, so that a size that did stick would show at once.
_EXAMPLE = (2, 72, 104)


def _example() -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.arange(3 * np.prod(_EXAMPLE)).remainder(251).to(torch.uint8).reshape(*_EXAMPLE, 3)
    mask = torch.zeros(_EXAMPLE, dtype=torch.uint8)
    mask[:, 16:40, 24:64] = 255
    return image, mask


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what PyTorch says about its own tracing exporters; a tracer's warning about this network stays an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="Constant folding")
        warnings.filterwarnings("error", category=torch.jit.TracerWarning)
        yield


def onnx_model(generator: LamaGenerator, precision: Precision) -> bytes:
    """The network as an ONNX file: standard operators alone, batch, height and width dynamic."""
    axes = {0: "N", 1: "H", 2: "W"}
    written = io.BytesIO()
    with _quiet(), torch.inference_mode():
        torch.onnx.export(
            LamaGraph(FusedGenerator(generator, "matmul", precision)),
            _example(),
            written,
            dynamo=False,  # the other exporter writes opset 18 at least, and a third more nodes
            opset_version=OPSET,
            input_names=["IMAGE", "MASK"],
            output_names=["INPAINTED"],
            dynamic_axes={"IMAGE": axes, "MASK": axes, "INPAINTED": axes},
        )
    model = onnx.load_from_string(written.getvalue())
    model.ir_version = min(model.ir_version, MAX_IR)
    for node in model.graph.node:
        node.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def run_onnx(path: Path) -> Run:
    """Run an ONNX artefact in ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda image, mask: session.run(["INPAINTED"], {"IMAGE": image, "MASK": mask})[0]


def write_torchscript(generator: LamaGenerator, precision: Precision, path: Path) -> None:
    """Write the network as a TorchScript trace, for any size, batch and device."""
    with _quiet(), torch.inference_mode():
        graph = LamaGraph(FusedGenerator(generator, "fft", precision))
        torch.jit.trace(graph, _example(), check_trace=False).save(str(path))


def run_torchscript(path: Path) -> Run:
    """Run a TorchScript artefact on the CPU."""
    with _quiet():
        module = torch.jit.load(str(path), map_location="cpu").eval()

    def run(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(image), torch.from_numpy(mask)).numpy()

    return run
