"""Compositing: seconds and memory of FLUX.1-Fill in every way of holding it, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import Progress

from atelier.compositing.jobs import Placement, StageReport, SynthesisJob
from atelier.compositing.settings import SynthesizerSettings
from atelier.errors import InvalidInput
from atelier.media.boxes import Box
from perf import report
from perf.exporter import run_export
from perf.measure import BenchmarkError, host_peak

if TYPE_CHECKING:
    from atelier.compositing.neural.synthesis import NeuralSynthesizer

VARIANTS: dict[str, dict[str, Any]] = {
    "none": {},
    "bnb-int8": {"quantisation": "bnb-int8"},
    "nf4": {"quantisation": "nf4"},
    "torchao-int8": {"quantisation": "torchao-int8"},
    "quanto-int8": {"quantisation": "quanto-int8"},
    "model offload": {"offload": "model"},
    "group offload": {"offload": "group"},
    "sequential offload": {"offload": "sequential"},
    "nf4 + model offload": {"preset": "l4"},
    "torchao-int8 + group offload": {"quantisation": "torchao-int8", "offload": "group"},
    "vae_tiling": {"vae_tiling": True},
    "redux": {"identity": "redux"},
    "diptych": {"identity": "diptych"},
}
"""Settings of `object_synthesizer`, by the name that the result has for them; without identity where it is not named.

GGUF is not among them: its file would have to be written first.
"""

PUBLISHED = {
    "none": (31.4, 36.2, 12),
    "bnb-int8": (19.3, 24.4, 27),
    "nf4": (12.6, 17.3, 12),
    "torchao-int8": (17.0, 21.5, 15),
    "quanto-int8": (17.3, 21.8, 16),
}
"""GB after loading, GB at the peak, seconds of 50 steps: FLUX.1-dev at 1024 x 1024 on an H100, transformer and T5
quantised (https://huggingface.co/blog/diffusers-quantization)."""

NOTES = {"none": 24, "bnb-int8": 12, "torchao-int8": 12, "quanto-int8": 12, "nf4": 6, "nf4 + model offload": 6}
"""GB that the old notes planned for the transformer; of T5 and of what computing takes they said nothing."""


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        size: of the random networks: ``tiny``, or ``full``, the published ones.
        resolution: side of the square crop, pixels.
        steps: of denoising, each number measured by itself.
        variants: names in `VARIANTS`.
        device: PyTorch's name.
        threads: of PyTorch.
        rounds: timed pictures of each; the one whose denoising is the median counts.
        seed: of weights and noise.
    """

    size: str
    resolution: int
    steps: tuple[int, ...]
    variants: tuple[str, ...]
    device: str
    threads: int
    rounds: int = 3
    seed: int = 0


def measure(settings: Settings, progress: Progress, checkpoints: Path | None = None) -> dict[str, Any]:
    """Load and run every variant.

    Args:
        settings: what is measured.
        progress: told of every variant.
        checkpoints: a folder with ``flux-fill`` and ``flux-redux`` in it; None: they are made, and go afterwards.

    Raises:
        BenchmarkError: the exporter failed, or a variant for another reason than that it is not possible here.
    """
    facts, cases = report.machine(), []
    task = progress.add_task("random weights", total=len(settings.variants))
    with ExitStack() as stack:
        if checkpoints is None:
            checkpoints = Path(stack.enter_context(TemporaryDirectory(prefix="atelier-perf-")))
            redux = ["flux-redux"] * any(VARIANTS[name].get("identity") == "redux" for name in settings.variants)
            for name in ("flux-fill", *redux):
                size, seed = f"--size={settings.size}", f"--seed={settings.seed}"
                run_export("synthetic", name, size, seed, f"--output={checkpoints / name}")
        for name in settings.variants:
            progress.update(task, description=name)
            cases.append({"variant": name, **_in_a_process(checkpoints, name, settings)})
            progress.advance(task)
    return {
        "benchmark": "compositing",
        "machine": facts,
        "versions": report.versions(),
        "commit": report.commit(),
        "settings": asdict(settings),
        "cases": cases,
    }


def _in_a_process(checkpoints: Path, variant: str, settings: Settings) -> dict[str, Any]:
    """What one variant takes; the process's own peak is its alone."""
    question = json.dumps({"checkpoints": str(checkpoints), "variant": variant, "settings": asdict(settings)})
    command = [sys.executable, "-m", "perf.compositing"]
    run = subprocess.run(command, input=question, capture_output=True, text=True, cwd=report.RESULTS.parents[1])
    if run.returncode != 0:
        said = run.stderr.strip()[-400:]
        if "OutOfMemoryError" in said:  # which is an answer, too
            return {"refused": "the GPU's memory is not enough"}
        raise BenchmarkError(f"{variant} ended with status {run.returncode}: {said}")
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def _answer() -> None:
    """In that process: load, make pictures, and print what they took as JSON."""
    import torch  # here, as the process that asks needs neither and would wait for them

    from atelier.compositing.neural.synthesis import NeuralSynthesizer

    question = json.load(sys.stdin)
    settings, folder = Settings(**question["settings"]), Path(question["checkpoints"])
    torch.set_num_threads(settings.threads)
    held = {"device": settings.device, "resolution": settings.resolution, "identity": "none"}
    asked = SynthesizerSettings(**held | VARIANTS[question["variant"]])
    try:
        began = perf_counter()
        network = NeuralSynthesizer({"checkpoint": folder / "flux-fill", "redux": folder / "flux-redux"}, asked)
    except InvalidInput as error:
        print(json.dumps({"refused": str(error)}))
        return
    loading = perf_counter() - began
    network(_job(settings, 1))  # finds the fastest kernels
    runs = {
        str(steps): _median([_picture(network, settings, steps) for _ in range(settings.rounds)])
        for steps in settings.steps
    }
    found = {
        "loading": loading,
        "loaded": network.loaded["ready"].as_dict(),
        "runs": runs,
        "host_peak": host_peak(),
    }
    print(json.dumps(found))


def _picture(network: NeuralSynthesizer, settings: Settings, steps: int) -> dict[str, Any]:
    began = perf_counter()
    found = network(_job(settings, steps))[3]
    seconds = perf_counter() - began
    return {
        "seconds": seconds,
        "stages": found.seconds,
        "memory": found.memory["after"],
        "bytes": found.models["flux.1-fill"]["bytes"],
    }


def _median(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return sorted(runs, key=lambda run: run["stages"]["denoising"])[len(runs) // 2]


def _job(settings: Settings, steps: int) -> SynthesisJob:
    """A crop of the size that is worked at, of which the middle is painted; a prompt that is new each time costs T5."""
    side, generator = settings.resolution, np.random.default_rng(settings.seed)
    background = generator.integers(0, 256, (side, side, 3), np.uint8)
    picture = generator.integers(0, 256, (side // 2, side // 2, 4), np.uint8)
    middle = Box(side // 4, side // 4, side // 2, side // 2)
    mask = np.zeros((side, side), np.uint8)
    mask[middle.slices] = 255
    place = Placement(middle, Box(0, 0, side, side), mask, mask, background, "box", StageReport("given"))
    prompt = f"a red cup on a wooden table, picture {perf_counter():.6f}"
    return SynthesisJob(background, picture, place, prompt=prompt, seed=settings.seed, steps=steps)


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read."""
    settings, facts = document["settings"], document["machine"]
    tiny, rows, refused = settings["size"] == "tiny", [], []
    for case in document["cases"]:
        name = case["variant"]
        if "refused" in case:
            refused.append(f"- `{name}`: {case['refused']}")
            continue
        loaded, published = case["loaded"].get("gpu"), PUBLISHED.get(name)
        for steps, run in case["runs"].items():
            denoising, peak = run["stages"]["denoising"], run["memory"].get("gpu_peak")
            row = [name, steps, f"{case['loading']:.1f}", f"{run['seconds']:.2f}", f"{denoising / int(steps):.3f}"]
            row += [f"{run['bytes'][part] / 1e9:.{4 if tiny else 1}f}" for part in ("transformer", "text_encoder_2")]
            row += ["no GPU" if value is None else f"{value / 1e9:.1f}" for value in (loaded, peak)]
            row.append(f"{case['host_peak'] / 1e9:.1f}")
            if not tiny:
                row += ["" if name not in NOTES else str(NOTES[name])]
                row.append("" if published is None else f"{published[0]} / {published[1]} / {published[2]} s")
            rows.append(row)
    headings = ["held as", "steps", "s to load", "s a picture", "s a step", "transformer, GB", "T5, GB"]
    headings += ["GPU loaded, GB", "GPU peak, GB", "host peak, GB"]
    headings += [] if tiny else ["old notes, GB", "published"]
    lines = [
        "# Compositing: ways of holding FLUX.1-Fill",
        f"`python -m perf compositing`, commit {document['commit']}, on {report.describe(facts)}; load average at the "
        f"start {facts['load_average_at_start']}. "
        + ", ".join(f"{name} {number}" for name, number in document["versions"].items())
        + ".",
        _described(settings),
        report.table(headings, rows),
    ]
    if refused:
        lines.append("Not possible on this machine:\n\n" + "\n".join(refused))
    return "\n\n".join(lines) + "\n"


def _described(settings: Mapping[str, Any]) -> str:
    """What was measured, in a paragraph."""
    side = settings["resolution"]
    text = (
        f"Random weights, {settings['size']}, on {settings['device']}, threads: {settings['threads']}; a crop of "
        f"{side} x {side}, a prompt that is not known yet. Each in a process of its own; after a first picture the "
        f"median of {settings['rounds']}. Without Redux or diptych where they are not named. Weights are counted by "
        "their tensors. Random weights say nothing of quality."
    )
    if settings["size"] == "tiny":
        return f"{text} The tiny networks (3 MB) show that each way works, not what it costs at the published size."
    return (
        f"{text} *Old notes*: what they planned for the transformer. *Published*: FLUX.1-dev on an H100, 1024 x 1024, "
        "50 steps: loaded / peak / time (https://huggingface.co/blog/diffusers-quantization)."
    )


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _answer()
