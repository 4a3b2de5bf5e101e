"""One LaMa checkpoint to one artefact: write, compare, describe, publish."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
import yaml

from atelier.inpainting.checkpoint import CheckpointError, checkpoint_file, config_file, load_generator
from atelier.inpainting.generator import MIN_SIZE, LamaGenerator
from export import engine, rtx
from export.artefact import CHECKOUT, publish, sha256, staging
from export.lama import verify
from export.lama.fused import Precision
from export.lama.pictures import cases
from export.lama.targets import SUFFIX, Run, Target, onnx_model, run_onnx, run_torchscript, write_torchscript

MODEL = "lama"
SAMPLES = CHECKOUT / "samples"

_BATCH = (1, 4, 8)  # smallest, best and largest; 8 is the model's max_batch_size
_ANY_SIDE = (MIN_SIZE, 1024, 1536)  # pixels; pages such as 864 x 1504 are among them
_CANONICAL_SIDES = (256, 512, 1024)  # pixels: squares among the tiles that the front model cuts

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """What an export made: the artefact's place, and what was found in comparing it (empty with ``--no-verify``)."""

    path: Path
    differences: list[verify.Difference]


def profiles() -> list[engine.Profile]:
    """TensorRT's optimisation profiles.

    Profile 0 takes any size up to 1536 pixels a side. Profiles 1 to 3 are for square tiles, one size each, where
    TensorRT picks what is quickest for exactly that size. Triton chooses among those that the instance group lists
    (``profile: ["0", "1", "2", "3"]``), the nearest to the request's shape; without a list it uses profile 0 alone.
    """
    ranges = [(_ANY_SIDE, _ANY_SIDE), *(((side,) * 3, (side,) * 3) for side in _CANONICAL_SIDES)]
    made = []
    for heights, widths in ranges:
        masks = tuple(zip(_BATCH, heights, widths, strict=True))
        images = tuple((*shape, 3) for shape in masks)
        made.append(engine.Profile({"IMAGE": images, "MASK": masks}))
    return made


def export(
    checkpoint: Path,
    target: Target,
    precision: Precision,
    repository: Path,
    version: int,
    *,
    verified: bool = True,
    progress: Progress = lambda _: None,
    report: Callable[[list[verify.Difference]], None] = lambda _: None,
) -> Exported:
    """Export a LaMa checkpoint; nothing is changed in ``repository`` unless the artefact is right.

    Args:
        checkpoint: What `load_generator` takes.
        target: ``onnx``, ``torchscript`` or ``tensorrt``.
        precision: ``fp32`` or ``fp16``.
        repository: The model repository to write to.
        version: The model's version.
        verified: Compare the artefact with the checkpoint.
        progress: Told what is being done.
        report: Told the differences, before they are judged.

    Raises:
        InvalidInput: The checkpoint cannot be used.
        ExportError: The artefact cannot be made, or is not the checkpoint's network.
    """
    progress("reading the checkpoint")
    generator = load_generator(checkpoint)
    with staging(repository / MODEL) as folder:
        staged = folder / f"model.{SUFFIX[target]}"
        progress(f"writing {staged.name}")
        run = _write(generator, target, precision, staged)
        differences = []
        if verified:
            differences = verify.verify(
                run, generator, precision, cases(SAMPLES), lambda name: progress(f"comparing: {name}")
            )
            report(differences)
            verify.refuse_differences(differences, verify.TOLERANCE[precision])
        description = _description(checkpoint, generator, target, precision, staged, differences)
        return Exported(publish(staged, description, repository, MODEL, version), differences)


def check_tensorrt(checkpoint: Path, precision: Precision, progress: Progress = lambda _: None) -> int:
    """Build an engine with TensorRT for RTX, to see that TensorRT accepts the network; nothing is kept.

    Returns:
        The engine's size in bytes.

    Raises:
        InvalidInput: The checkpoint cannot be used.
        ExportError: TensorRT for RTX is not set up, or refuses the network.
    """
    toolkit = rtx.load()
    progress("reading the checkpoint")
    generator = load_generator(checkpoint)
    progress("building with TensorRT for RTX")
    return len(engine.build(toolkit, onnx_model(generator, precision), profiles(), precision == "fp32"))


def _write(generator: LamaGenerator, target: Target, precision: Precision, path: Path) -> Run:
    if target == "onnx":
        path.write_bytes(onnx_model(generator, precision))
        return run_onnx(path)
    if target == "torchscript":
        write_torchscript(generator, precision, path)
        return run_torchscript(path)
    toolkit = engine.tensorrt()
    path.write_bytes(engine.build(toolkit, onnx_model(generator, precision), profiles(), precision == "fp32"))
    run = engine.runner(toolkit, path)
    return lambda image, mask: run({"IMAGE": image, "MASK": mask})


def _description(
    checkpoint: Path,
    generator: LamaGenerator,
    target: Target,
    precision: Precision,
    artefact: Path,
    differences: list[verify.Difference],
) -> dict[str, object]:
    """The artefact's sidecar. It holds no time and no path, so that equal inputs give an equal file."""
    file = checkpoint_file(checkpoint)
    versions = {"torch": torch.__version__, "numpy": numpy.__version__}
    if target != "torchscript":
        versions |= {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    if target == "tensorrt":
        versions |= {"tensorrt": engine.tensorrt().__version__, "gpu": torch.cuda.get_device_name()}
    return {
        "model": MODEL,
        "target": target,
        "precision": precision,
        "sha256": sha256(artefact),
        "checkpoint": {"name": checkpoint.resolve().name, "file": file.name, "sha256": sha256(file)},
        "synthetic": "synthetic" in _run_title(file),
        "generator": asdict(generator.config),
        "versions": versions,
        "verified": verify.as_json(differences, verify.TOLERANCE[precision]) if differences else None,
    }


def _run_title(checkpoint: Path) -> str:
    """The training run's name; a TorchScript archive has no config.yaml, hence none."""
    try:
        config = config_file(checkpoint)
    except CheckpointError:
        return ""
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    return str(document.get("run_title", ""))
