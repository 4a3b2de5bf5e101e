"""Ways to fill a hole: two that are taught nothing, and one network in the forms that it is run in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from atelier.inpainting.checkpoint import checkpoint_file, load_generator
from atelier.inpainting.generator import LamaGenerator
from atelier.inpainting.pipeline import InpaintJob, inpaint
from atelier.inpainting.settings import InpaintSettings
from atelier.media import Picture
from export.artefact import sha256
from export.lama.fused import FusedGenerator, LamaGraph
from export.lama.pictures import Case
from export.lama.verify import reference
from training.subjects import EvaluationError

Pixels = NDArray[np.uint8]
Fill = Callable[[Pixels, Pixels], Pixels]

TELEA, NAVIER_STOKES, NETWORK, PAGE, HALF = "telea", "navier_stokes", "network", "inpaint", "torch_fp16"
BASELINES = (TELEA, NAVIER_STOKES)
RADIUS = 3
"""Pixels around a point that OpenCV's two methods look at; the radius of its own tutorial."""

_UNKNOWN = 127  # what methods see below the hole: some pictures have the truth there


@dataclass(frozen=True)
class Method:
    """A way to fill a hole.

    Attributes:
        title: to be printed.
        fill: uint8 [H, W, 3] RGB and uint8 [H, W], not 0 = hole, to uint8 [H, W, 3]; sides are multiples of 8.
        slow: so slow that it is tried on some pictures only.
    """

    title: str
    fill: Fill
    slow: bool = False


def find(checkpoint: Path, artefacts: Sequence[Path], threads: int) -> dict[str, Method]:
    """All methods, by name.

    Args:
        checkpoint: what `load_generator` takes.
        artefacts: ONNX files that were exported from it, each with its description beside it.
        threads: of each.

    Raises:
        EvaluationError: an artefact is of another checkpoint, or two are of the same precision.
        InvalidInput: the checkpoint cannot be used.
    """
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    generator = load_generator(checkpoint)
    name = checkpoint.resolve().name
    network = _remembering(_network(generator))
    found = {
        TELEA: Method("Telea", lambda image, mask: cv2.inpaint(image, mask, RADIUS, cv2.INPAINT_TELEA)),
        NAVIER_STOKES: Method("Navier-Stokes", lambda image, mask: cv2.inpaint(image, mask, RADIUS, cv2.INPAINT_NS)),
        NETWORK: Method(name, network),
        PAGE: Method("`inpaint`: regions, flat parts without the network", _page(network)),
        HALF: Method("PyTorch, fp16, computed in half precision", _half(generator), slow=True),
    }
    for file in artefacts:
        precision = describe(file, checkpoint)
        if f"onnx_{precision}" in found:
            raise EvaluationError(f"Two artefacts are {precision}; one of each precision is expected.")
        # ONNX Runtime's CPU provider has no half-precision convolutions: it casts, and computes in float32.
        how = ", computed in fp32" if precision == "fp16" else ""
        found[f"onnx_{precision}"] = Method(f"ONNX Runtime, {precision}{how}", _onnx(file, threads))
    return found


def describe(artefact: Path, checkpoint: Path) -> str:
    """The precision of an ONNX file, once its description says that it is of this checkpoint.

    Raises:
        EvaluationError: it is not, or has no description.
    """
    sidecar = artefact.with_name(f"{artefact.name}.json")
    if not artefact.is_file() or not sidecar.is_file():
        raise EvaluationError(f"{artefact.name} or {sidecar.name} is missing; python -m export writes both.")
    description = json.loads(sidecar.read_text(encoding="utf-8"))
    if description["checkpoint"]["sha256"] != sha256(checkpoint_file(checkpoint)):
        raise EvaluationError(f"{artefact.name} is of {description['checkpoint']['name']}, another checkpoint.")
    return str(description["precision"])


def paint(method: Method, picture: Pixels, mask: Pixels) -> Pixels:
    """Fill a hole, without showing what lies below it.

    Raises:
        EvaluationError: the method changed a pixel outside the hole.
    """
    shown, known = picture.copy(), mask == 0
    shown[~known] = _UNKNOWN
    painted = method.fill(shown, mask)
    if painted.dtype != np.uint8 or not np.array_equal(painted[known], picture[known]):
        raise EvaluationError(f"{method.title} changed pixels outside the hole.")
    return painted


def _network(generator: LamaGenerator) -> Fill:
    """The network alone, in PyTorch: float32, cut to bytes as upstream does; known pixels are those that were given."""

    def fill(image: Pixels, mask: Pixels) -> Pixels:
        painted = reference(generator, Case("", image[None], mask[None]))[0]
        return np.asarray(np.where(mask[..., None] > 0, painted, image), dtype=np.uint8)

    return fill


def _remembering(fill: Fill) -> Fill:
    """The same, but what it was given last is not computed again: ``inpaint`` shows it small pages as they are."""
    last: list[Pixels] = []

    def remembered(image: Pixels, mask: Pixels) -> Pixels:
        if not last or not (np.array_equal(last[0], image) and np.array_equal(last[1], mask)):
            last[:] = image.copy(), mask.copy(), fill(image, mask)
        return last[2].copy()

    return remembered


def _page(network: Fill) -> Fill:
    """All that the model ``inpaint`` does, with its defaults."""
    settings = InpaintSettings.model_construct()  # the environment has no say in results

    def batched(images: Pixels, holes: Pixels) -> Pixels:
        return np.stack([network(image, hole) for image, hole in zip(images, holes, strict=True)])

    def fill(image: Pixels, mask: Pixels) -> Pixels:
        result = inpaint([InpaintJob(Picture(image, None, "png"), mask, settings)], batched)[0]
        if isinstance(result, Exception):
            raise result
        return result.picture.pixels

    return fill


def _half(generator: LamaGenerator) -> Fill:
    """The graph that is exported in fp16, in PyTorch, which computes it in half precision on the CPU too."""
    graph = LamaGraph(FusedGenerator(generator, "matmul", "fp16"))

    def fill(image: Pixels, mask: Pixels) -> Pixels:
        with torch.inference_mode():
            painted: Pixels = graph(torch.from_numpy(image[None]), torch.from_numpy(mask[None]))[0].numpy()
        return painted

    return fill


def _onnx(artefact: Path, threads: int) -> Fill:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3  # it warns of every operator that it casts
    session = onnxruntime.InferenceSession(str(artefact), options, providers=["CPUExecutionProvider"])
    return lambda image, mask: session.run(["INPAINTED"], {"IMAGE": image[None], "MASK": mask[None]})[0][0]
