"""LaMa as a subject of benchmarks: the bundled network or a random one, its artefact, and the ways to run it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import openvino
import torch
from numpy.typing import NDArray

from atelier.inpainting import load_generator
from atelier.inpainting.checkpoint import checkpoint_file
from atelier.serving import checkout
from atelier.serving.launcher import Server
from atelier.serving.options import CPU_PROFILE, DEFAULT_PROFILE
from export.artefact import sha256
from perf.exporter import run_export
from perf.servers import served

MODEL = "lama"
BUNDLED = checkout.root() / "weights" / "lama-mini"
MAX_BATCH = 8  # the model's max_batch_size

BACKENDS = {DEFAULT_PROFILE: "onnxruntime", CPU_PROFILE: "openvino"}
"""The profiles that run on a CPU without PyTorch, and their backends."""
THREADS = {
    "onnxruntime": ("intra_op_thread_count", "inter_op_thread_count"),
    "openvino": ("INFERENCE_NUM_THREADS",),
}
"""Parameters of a configuration that set the number of threads."""

Run = Callable[["Pictures"], NDArray[np.uint8]]


@dataclass(frozen=True)
class Subject:
    """A LaMa on disk: its checkpoint, and a model repository with the ONNX artefact of the same weights."""

    checkpoint: Path
    repository: Path

    @property
    def onnx(self) -> Path:
        """The artefact."""
        return self.repository / MODEL / "1" / "model.onnx"

    def config(self, profile: str) -> Path:
        """The configuration of a profile."""
        folder = self.repository / MODEL
        return folder / "config.pbtxt" if profile == DEFAULT_PROFILE else folder / "configs" / f"{profile}.pbtxt"


@dataclass(frozen=True)
class Pictures:
    """A batch: ``image`` uint8 [N, H, W, 3], ``mask`` uint8 [N, H, W], not 0 in the hole."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]

    @property
    def inputs(self) -> dict[str, NDArray[np.uint8]]:
        """By the names of the model's inputs."""
        return {"IMAGE": self.image, "MASK": self.mask}


@contextmanager
def subject(size: str, *, threads: int, seed: int) -> Iterator[Subject]:
    """A checkpoint and its artefact, the bundled ones or made by the exporter's own commands; gone afterwards.

    The served model has the configurations that are shipped, and beside them the number of the runtime's threads.

    Args:
        size: ``mini``, the bundled network, or the size of a random one: ``full`` is big-lama's.
        threads: the runtime's.
        seed: of random weights.

    Raises:
        BenchmarkError: the exporter failed.
    """
    with TemporaryDirectory(prefix="atelier-perf-") as folder:
        made = Subject(BUNDLED if size == "mini" else Path(folder) / "checkpoint", Path(folder) / "repository")
        if size != "mini":
            run_export("synthetic", MODEL, f"--size={size}", f"--output={made.checkpoint}", f"--seed={seed}")
        if not _copy_bundled(made):
            # Not verified there: benchmarks compare the outputs on what they measure.
            run_export(MODEL, f"--checkpoint={made.checkpoint}", f"--repository={made.repository}", "--no-verify")
        for profile, backend in BACKENDS.items():
            with made.config(profile).open("a", encoding="utf-8") as config:
                for name in THREADS[backend]:
                    config.write(f'parameters {{ key: "{name}" value {{ string_value: "{threads}" }} }}\n')
        yield made


def _copy_bundled(made: Subject) -> bool:
    """Take the artefact that is shipped, if it is of this checkpoint: what is measured is what is served."""
    home = checkout.root() / "model_repository" / MODEL
    artefact = home / "1" / made.onnx.name
    sidecar = artefact.with_name(f"{artefact.name}.json")
    if not artefact.is_file() or not sidecar.is_file():
        return False
    facts = json.loads(sidecar.read_text(encoding="utf-8"))
    of = facts["precision"], facts["checkpoint"]["sha256"], facts["sha256"]
    if of != ("fp32", sha256(checkpoint_file(made.checkpoint)), sha256(artefact)):
        return False
    made.onnx.parent.mkdir(parents=True)
    for file in (artefact, sidecar):
        shutil.copy2(file, made.onnx.parent)
    for part in ("config.pbtxt", "configs"):
        (shutil.copytree if (home / part).is_dir() else shutil.copy2)(home / part, made.repository / MODEL / part)
    return True


@contextmanager
def serve(made: Subject, profile: str = CPU_PROFILE) -> Iterator[Server]:
    """The embedded server with this model alone, on free ports.

    Args:
        made: the model.
        profile: of `BACKENDS`; the embedded server's own choice on a CPU unless told otherwise.

    Raises:
        LaunchError: the server or the model did not come up.
    """
    with served(made.repository, (MODEL,), profile) as server:
        yield server


def pictures(side: int, batch: int, seed: int) -> Pictures:
    """Noise with a hole of a quarter of its area."""
    image = np.random.default_rng(seed).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    mask = np.zeros((batch, side, side), np.uint8)
    mask[:, side // 4 : side * 3 // 4, side // 4 : side * 3 // 4] = 255
    return Pictures(image, mask)


def eager(made: Subject) -> Run:
    """The checkpoint's network in PyTorch as upstream runs it: eager, float32, FFTs; bytes in, bytes out.

    Threads are those that PyTorch is set to.
    """
    return network(load_generator(made.checkpoint))


def network(generator: torch.nn.Module) -> Run:
    """A network of floats, with the casts that the artefact has inside: bytes in, bytes out."""

    def run(batch: Pictures) -> NDArray[np.uint8]:
        with torch.inference_mode():
            image = torch.from_numpy(batch.image).permute(0, 3, 1, 2).float() / 255
            mask = (torch.from_numpy(batch.mask) > 0).float().unsqueeze(1)
            levels = (generator(image, mask) * 255).clamp(0, 255).to(torch.uint8)
            return levels.permute(0, 2, 3, 1).contiguous().numpy()

    return run


def with_openvino(made: Subject, *, threads: int, precision: str = "f32") -> Run:
    """The artefact in OpenVINO in this process, with the properties that the server's backend sets."""
    wanted = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    core = openvino.Core()
    request = core.compile_model(core.read_model(made.onnx), "CPU", wanted).create_infer_request()
    return lambda batch: np.array(request.infer(batch.inputs, share_inputs=True, share_outputs=True)["INPAINTED"])


def with_onnxruntime(made: Subject, *, threads: int) -> Run:
    """The artefact in ONNX Runtime in this process, with the session options that the server's backend sets."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(made.onnx), options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(["INPAINTED"], batch.inputs)[0]
