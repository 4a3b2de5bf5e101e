"""Video generation: memory and speed of every way of holding the network, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from rich.progress import Progress
from torch.utils.flop_counter import FlopCounterMode

from atelier import memory
from atelier.errors import InvalidInput
from atelier.generation.jobs import GenerationJob
from atelier.generation.loading import LoadOptions
from atelier.generation.pipeline import GenerationPipeline
from atelier.generation.settings import GenerationSettings
from atelier.generation.sizes import STRIDE, read_size
from perf import report
from perf.lama import run_export
from perf.measure import BenchmarkError

PLAIN = "plain"
VARIANTS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "compile": {"compile": True},
    "first-block cache": {"first_block_cache": 0.1},
    "offload_model": {"offload_model": True},
    "group_offload": {"group_offload": True},
    "t5_cpu": {"t5_cpu": True},
    "vae_tiling": {"vae_tiling": True},
    "vae bf16": {"vae_precision": "bf16"},
    "fp8_storage": {"fp8_storage": True},
    "int8": {"quantisation": "int8"},
    "fp8": {"quantisation": "fp8"},
    "nf4": {"quantisation": "nf4"},
    "old worker's": {"offload_model": True, "t5_cpu": True},
}
"""Settings of the model ``generate`` beside ``convert_model_dtype``, by the name that the result has for them."""

MATRIX = {"cuda": 8192, "cpu": 2048}
"""Side of the square matrices whose product tells how fast a device multiplies at most."""
REPEATS = 10


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        size: of the random network: ``tiny``, or ``full``, the public one's.
        frame_size: ``WIDTH*HEIGHT`` of the video.
        frames: of it, 4n + 1.
        steps: of denoising, of the video that is timed; one of two steps goes before it.
        variants: names in `VARIANTS`; `PLAIN` first.
        device: PyTorch's name.
        bfloat16: text encoder and transformer in bfloat16.
        threads: of PyTorch.
        rounds: timed videos; the one whose step is the median counts.
        seed: of weights and noise.
    """

    size: str
    frame_size: str
    frames: int
    steps: int
    variants: tuple[str, ...]
    device: str
    bfloat16: bool
    threads: int
    rounds: int = 3
    seed: int = 0


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Load and run every variant.

    Raises:
        BenchmarkError: the exporter failed, or a variant for another reason than that it is not possible here.
    """
    facts = report.machine()
    task = progress.add_task("random weights", total=len(settings.variants))
    cases = []
    with TemporaryDirectory(prefix="atelier-perf-") as made:
        checkpoint = Path(made) / "checkpoint"
        run_export("synthetic", "wan", f"--size={settings.size}", f"--output={checkpoint}", f"--seed={settings.seed}")
        operations = count_operations(checkpoint, settings)
        for name in settings.variants:
            progress.update(task, description=name)
            cases.append({"variant": name, **_in_a_process(checkpoint, name, settings)})
            progress.advance(task)
    return {
        "benchmark": "generation-options",
        "machine": facts,
        "versions": report.versions(),
        "commit": report.commit(),
        "settings": asdict(settings),
        "operations_a_step": operations,
        "matrix_rate": matrix_rate(settings.device, torch.bfloat16 if settings.bfloat16 else torch.float32),
        "cases": cases,
    }


def count_operations(checkpoint: Path, settings: Settings) -> int:
    """Floating-point operations of one step with guidance: two passes of the transformer, counted without weights."""
    networks: Any = WanTransformer3DModel  # diffusers has no types
    config = networks.load_config(checkpoint / "transformer")
    with torch.device("meta"):
        transformer = networks.from_config(config)
        width, height = read_size(settings.frame_size)
        frames = (settings.frames - 1) // STRIDE + 1
        latents = torch.empty(1, config["in_channels"], frames, height // 16, width // 16)
        tokens = frames * (height // 32) * (width // 32)
        text = torch.empty(1, LoadOptions.model_fields["text_length"].default, config["text_dim"])
        with FlopCounterMode(display=False) as counter:
            # TI2V-5B has a time for every token.
            transformer(latents, torch.empty(1, tokens), text, return_dict=False)
    return 2 * int(counter.get_total_flops())


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """The best of several products of square matrices, operations a second."""
    side, best = MATRIX[torch.device(device).type], 0.0
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    for _ in range(REPEATS):
        _wait(device)
        began = perf_counter()
        torch.matmul(left, right)
        _wait(device)
        best = max(best, 2 * side**3 / (perf_counter() - began))
    return best


def _wait(device: str) -> None:
    """For what was asked of a GPU to be done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def _in_a_process(checkpoint: Path, variant: str, settings: Settings) -> dict[str, Any]:
    """What one variant takes; the process's own peak is its alone."""
    question = json.dumps({"checkpoint": str(checkpoint), "variant": variant, "settings": asdict(settings)})
    command = [sys.executable, "-m", "perf.generation_options"]
    run = subprocess.run(command, input=question, capture_output=True, text=True, cwd=report.RESULTS.parents[1])
    if run.returncode != 0:
        raise BenchmarkError(f"{variant} ended with status {run.returncode}: {run.stderr.strip()[-400:]}")
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def _answer() -> None:
    """In that process: load, make two videos, and print what they took as JSON."""
    question = json.load(sys.stdin)
    settings, folder = Settings(**question["settings"]), Path(question["checkpoint"])
    torch.set_num_threads(settings.threads)
    options = LoadOptions(
        device=settings.device, convert_model_dtype=settings.bfloat16, **VARIANTS[question["variant"]]
    )
    try:
        began = perf_counter()
        pipeline = GenerationPipeline.from_pretrained(folder, options, loras=folder / "loras")
    except InvalidInput as error:
        print(json.dumps({"refused": str(error)}))
        return
    loading = perf_counter() - began
    _video(pipeline, settings, 2)  # compiles, and finds the fastest kernels
    videos = [_video(pipeline, settings, settings.steps) for _ in range(settings.rounds)]
    videos.sort(key=lambda video: video[0]["denoising"])
    seconds, taken = videos[len(videos) // 2]
    found = {
        "loading": loading,
        "loaded": pipeline.loaded["ready"].as_dict(),
        "seconds": seconds,
        "step": seconds["denoising"] / settings.steps,
        "peak": taken.gpu_peak,
        "host_peak": _host_peak(),
    }
    print(json.dumps(found))


def _video(pipeline: GenerationPipeline, settings: Settings, steps: int) -> tuple[dict[str, float], memory.Memory]:
    asked = GenerationSettings(
        frame_num=settings.frames, size=settings.frame_size, sample_steps=steps, seed=settings.seed
    )
    job = GenerationJob("two cats boxing on a stage", asked)
    pipeline(job)
    return dict(job.seconds), memory.measure(settings.device)


def _host_peak() -> int:
    """The most memory that this process had, bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read."""
    settings, facts, rate = document["settings"], document["machine"], document["matrix_rate"]
    rows, refused = [], []
    plain = next((case["step"] for case in document["cases"] if case["variant"] == PLAIN), None)
    for case in document["cases"]:
        if "refused" in case:
            refused.append(f"- `{case['variant']}`: {case['refused']}")
            continue
        share = document["operations_a_step"] / case["step"] / rate
        rows.append(
            [
                case["variant"],
                f"{sum(case['seconds'].values()):.2f}",
                f"{case['step']:.3f}",
                "" if plain is None else f"{case['step'] / plain:.2f}",
                "" if case["variant"] == "first-block cache" else f"{share:.0%}",
                "no GPU" if case["peak"] is None else f"{case['peak'] / 2**30:.2f}",
                f"{case['host_peak'] / 2**30:.2f}",
            ]
        )
    precision = "bfloat16" if settings["bfloat16"] else "float32"
    headings = [
        "held as",
        "seconds a video",
        "seconds a step",
        "of plain",
        "of the matrix rate",
        "GPU, GiB",
        "host, GiB",
    ]
    lines = [
        "# Video generation: ways of holding the network",
        f"`python -m perf generation-options`, commit {document['commit']}, on {report.describe(facts)}; "
        + ", ".join(f"{name} {number}" for name, number in document["versions"].items())
        + ".",
        f"Random weights, {settings['size']}, {precision}, on {settings['device']}, {settings['threads']} threads; "
        f"{settings['frames']} frames of {settings['frame_size']}, {settings['steps']} steps with guidance; each in a "
        f"process of its own, the median of {settings['rounds']} videos after a first one. "
        f"A step is {document['operations_a_step']:.3g} operations, "
        f"counted by PyTorch; the device multiplies square matrices of that precision at {rate:.3g} operations a "
        "second: *of the matrix rate* is the step's share of "
        "it. Memory is the peak. Random weights say nothing of quality.",
        report.table(headings, rows),
    ]
    if refused:
        lines.append("Not possible on this machine:\n\n" + "\n".join(refused))
    return "\n\n".join(lines) + "\n"


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _answer()
