"""Video generation: memory and speed of every way of holding the network, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.progress import Progress

from perf import report
from perf.exporter import run_export
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
    from perf import generation_process  # PyTorch and diffusers, which a refusal need not wait for

    facts = report.machine()
    task = progress.add_task("random weights", total=len(settings.variants))
    cases = []
    with TemporaryDirectory(prefix="atelier-perf-") as made:
        checkpoint = Path(made) / "checkpoint"
        run_export("synthetic", "wan", f"--size={settings.size}", f"--output={checkpoint}", f"--seed={settings.seed}")
        operations = generation_process.count_operations(checkpoint, settings)
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
        "matrix_rate": generation_process.matrix_rate(settings.device, settings.bfloat16),
        "cases": cases,
    }


def _in_a_process(checkpoint: Path, variant: str, settings: Settings) -> dict[str, Any]:
    """What one variant takes; the process's own peak is its alone."""
    question = json.dumps({"checkpoint": str(checkpoint), "variant": variant, "settings": asdict(settings)})
    command = [sys.executable, "-m", "perf.generation_process"]
    run = subprocess.run(command, input=question, capture_output=True, text=True, cwd=report.RESULTS.parents[1])
    if run.returncode != 0:
        raise BenchmarkError(f"{variant} ended with status {run.returncode}: {run.stderr.strip()[-400:]}")
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


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
