"""One GVM checkpoint to three artefacts: write, compare, describe, publish."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime
import torch

from atelier.matting.checkpoint import Checkpoint, load
from export import engine, rtx
from export.artefact import EXTERNAL, publish, sha256, staging
from export.gvm import verify
from export.gvm.graphs import GRAPHS, Graph, Precision, run_onnx, write_onnx

Target = Literal["onnx", "tensorrt"]
SUFFIX: dict[Target, str] = {"onnx": "onnx", "tensorrt": "plan"}
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """Where a checkpoint lies; see `atelier.matting.checkpoint.load`."""

    model_base: Path
    unet_base: Path | None = None
    lora_base: Path | None = None
    pretrain_type: str | None = None

    def load(self) -> Checkpoint:
        """Read it.

        Raises:
            CheckpointError: it cannot be used.
        """
        return load(self.model_base, self.unet_base, self.lora_base, self.pretrain_type)


@dataclass(frozen=True)
class Exported:
    """What an export made.

    Attributes:
        paths: the artefacts' places.
        warnings: what was asked for and is not in them.
    """

    paths: list[Path]
    warnings: tuple[str, ...]


def export(
    source: Source,
    target: Target,
    precision: Precision,
    repository: Path,
    version: int,
    *,
    verified: bool = True,
    progress: Progress = lambda _: None,
    report: Callable[[list[verify.Difference]], None] = lambda _: None,
) -> Exported:
    """Export all three networks; nothing is changed in ``repository`` unless every artefact is right.

    Args:
        source: the checkpoint.
        target: ``onnx`` or ``tensorrt``.
        precision: ``fp32`` or ``fp16``.
        repository: the model repository to write to.
        version: the models' version.
        verified: compare the artefacts with the checkpoint.
        progress: told what is being done.
        report: told the differences, before they are judged.

    Raises:
        InvalidInput: the checkpoint cannot be used.
        ExportError: an artefact cannot be made, or is not the checkpoint's network.
    """
    if target == "tensorrt":
        engine.tensorrt()  # before minutes of work
    progress("reading the checkpoint")
    checkpoint = source.load()
    differences: list[verify.Difference] = []
    with staging(repository) as folder:
        staged: list[tuple[Graph, Path]] = []
        for graph in GRAPHS:
            home = folder / graph.model
            home.mkdir()
            expected = verify.reference(graph, checkpoint) if verified else []
            progress(f"writing {graph.model}")
            path = _write(graph, checkpoint, target, precision, home)
            staged.append((graph, path))
            if verified:
                progress(f"comparing {graph.model}")
                run = run_onnx(graph, path) if target == "onnx" else engine.runner(engine.tensorrt(), path)
                differences += verify.compare(graph, expected, run)
        if verified:
            report(differences)
            verify.refuse(differences, verify.TOLERANCE[precision])
        paths = []
        for graph, path in staged:
            found = [difference for difference in differences if difference.model == graph.model]
            description = _description(source, checkpoint, graph, target, precision, path, found)
            paths.append(publish(path, description, repository, graph.model, version))
        return Exported(paths, checkpoint.warnings)


def check_tensorrt(source: Source, precision: Precision, progress: Progress = lambda _: None) -> dict[str, int]:
    """Build engines with TensorRT for RTX, to see that TensorRT accepts the networks; nothing is kept.

    Returns:
        The engines' sizes in bytes, by model.

    Raises:
        InvalidInput: the checkpoint cannot be used.
        ExportError: TensorRT for RTX is not set up, or refuses a network.
    """
    toolkit = rtx.load()
    progress("reading the checkpoint")
    checkpoint = source.load()
    sizes = {}
    with staging(Path.cwd()) as folder:
        for graph in GRAPHS:
            progress(f"building {graph.model} with TensorRT for RTX")
            path = folder / f"{graph.model}.onnx"
            write_onnx(graph, checkpoint, precision, path)
            sizes[graph.model] = len(_engine(toolkit, graph, path, precision))
    return sizes


def _write(graph: Graph, checkpoint: Checkpoint, target: Target, precision: Precision, folder: Path) -> Path:
    path = folder / "model.onnx"
    write_onnx(graph, checkpoint, precision, path)
    if target == "onnx":
        return path
    plan = folder / f"model.{SUFFIX[target]}"
    plan.write_bytes(_engine(engine.tensorrt(), graph, path, precision))
    return plan


def _engine(toolkit: object, graph: Graph, path: Path, precision: Precision) -> bytes:
    return engine.build(toolkit, path, [graph.profile()], precision == "fp32")


def _description(
    source: Source,
    checkpoint: Checkpoint,
    graph: Graph,
    target: Target,
    precision: Precision,
    artefact: Path,
    differences: list[verify.Difference],
) -> dict[str, object]:
    """The artefact's sidecar. It holds no time and no path, so that equal inputs give an equal file."""
    versions = {"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    if target == "tensorrt":
        versions |= {"tensorrt": engine.tensorrt().__version__, "gpu": torch.cuda.get_device_name()}
    return {
        "model": graph.model,
        "target": target,
        "precision": precision,
        "sha256": sha256(artefact),
        "data_sha256": sha256(data) if (data := artefact.with_name(f"{artefact.name}{EXTERNAL}")).is_file() else None,
        "checkpoint": {"name": source.model_base.resolve().name, "pretrain_type": checkpoint.unet.kind},
        "lora": asdict(checkpoint.lora) if checkpoint.lora else None,
        "sampler": asdict(checkpoint.sampler),
        "synthetic": checkpoint.synthetic,
        "warnings": list(checkpoint.warnings),
        "versions": versions,
        "verified": verify.as_json(differences, verify.TOLERANCE[precision]) if differences else None,
    }
