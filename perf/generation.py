"""Video generation: what adapters cost, and what the first-block cache and other options bring, in one run.

Every variant makes the same video of the same random network, turn by turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.progress import Progress
from safetensors.torch import save_file
from torch import nn

from atelier.generation.checkpoint import load_components
from atelier.generation.jobs import GenerationJob
from atelier.generation.loading import LoadOptions
from atelier.generation.names import original_name
from atelier.generation.pipeline import GenerationPipeline
from atelier.generation.settings import GenerationSettings
from perf import report
from perf.exporter import run_export
from perf.measure import PAUSE, interleave, ratios, summarise

PLAIN, ADAPTER, CACHE = "plain", "adapter", "first-block cache"
TARGETS = ("q", "k", "v", "o", "ffn.0", "ffn.2")
"""DiffSynth-Studio's default layers."""


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        size: of the random network: ``tiny``, or ``full``, the public one's.
        frame_size: ``WIDTH*HEIGHT`` of the video.
        frames: of it, 4n + 1.
        steps: of denoising.
        rank: of the adapter.
        threshold: of the first-block cache.
        device: PyTorch's name.
        bfloat16: text encoder and transformer in bfloat16.
        threads: of PyTorch.
        rounds: timed videos of each variant.
        seed: of weights, noise and orders.
    """

    size: str
    frame_size: str
    frames: int
    steps: int
    rank: int
    threshold: float
    device: str
    bfloat16: bool
    threads: int
    rounds: int
    seed: int = 0


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Make the same video in every variant.

    Raises:
        BenchmarkError: the exporter failed.
        InvalidInput: an option is not possible on this machine.
    """
    facts = report.machine()
    torch.set_num_threads(settings.threads)
    task = progress.add_task("random weights", total=None)
    stages: dict[str, list[dict[str, float]]] = {}
    with TemporaryDirectory(prefix="atelier-perf-") as made:
        folder = Path(made)
        seed = f"--seed={settings.seed}"
        run_export("synthetic", "wan", f"--size={settings.size}", f"--output={folder / 'checkpoint'}", seed)
        progress.update(task, description="loading")
        pipelines = _load(settings, folder)

        def video(name: str) -> None:
            job = _job(settings, name)
            pipelines[name](job)
            stages.setdefault(name, []).append(dict(job.seconds))

        progress.update(task, description="videos", total=(settings.rounds + 1) * len(pipelines))
        timings = interleave(
            {name: (lambda name=name: video(name)) for name in pipelines},
            rounds=settings.rounds,
            warm_up=1,
            seed=settings.seed,
            on_call=lambda *_: progress.advance(task),
        )
        peak = torch.cuda.max_memory_allocated() / 2**20 if facts["gpu"] else None
    return {
        "benchmark": "generation",
        "machine": facts,
        "versions": report.versions(),
        "commit": report.commit(),
        "settings": {**asdict(settings), "pause_seconds": PAUSE},
        "peak_gpu_mib": peak,
        "cases": [
            {
                "variant": name,
                "seconds": [round(value, 5) for value in timings.seconds[name]],
                "stages": [{key: round(value, 5) for key, value in entry.items()} for entry in stages[name][1:]],
            }
            for name in pipelines
        ],
        "disturbed": timings.disturbed,
    }


def _load(settings: Settings, folder: Path) -> dict[str, GenerationPipeline]:
    """The variants, over one set of weights."""
    common: dict[str, Any] = {"device": settings.device, "convert_model_dtype": settings.bfloat16, "text_length": 64}
    options = LoadOptions(**common)
    options.check()
    components = load_components(folder / "checkpoint", dtype=options.dtype)
    loras = folder / "loras"
    loras.mkdir()
    _draw_adapter(components.transformer, loras / "drawn.safetensors", settings)
    cached = LoadOptions(**common, first_block_cache=settings.threshold)
    plain = GenerationPipeline(components, options, loras)
    return {PLAIN: plain, ADAPTER: plain, CACHE: GenerationPipeline(components, cached, loras)}


def _draw_adapter(transformer: Any, file: Path, settings: Settings) -> None:
    """A random adapter as DiffSynth-Studio writes one."""
    generator = torch.Generator().manual_seed(settings.seed)
    state = {}
    for name, layer in transformer.named_modules():
        original = original_name(name)
        if not isinstance(layer, nn.Linear) or not original.startswith("blocks.") or not original.endswith(TARGETS):
            continue
        down = torch.randn(settings.rank, layer.in_features, generator=generator) / layer.in_features**0.5
        up = torch.randn(layer.out_features, settings.rank, generator=generator) * 0.01
        state[f"{original}.lora_A.default.weight"] = down.bfloat16()
        state[f"{original}.lora_B.default.weight"] = up.bfloat16()
    save_file(state, file)


def _job(settings: Settings, variant: str) -> GenerationJob:
    asked = GenerationSettings(
        frame_num=settings.frames, size=settings.frame_size, sample_steps=settings.steps, seed=settings.seed
    )
    loras = [("drawn", 1.0)] if variant == ADAPTER else []
    return GenerationJob("two cats boxing on a stage", asked, loras=loras)


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read."""
    settings, facts = document["settings"], document["machine"]
    plain = next(case for case in document["cases"] if case["variant"] == PLAIN)
    rows = []
    for case in document["cases"]:
        seconds = summarise(case["seconds"])
        step = summarise([entry["denoising"] / settings["steps"] for entry in case["stages"]])
        decoding = summarise([entry["decoding"] for entry in case["stages"]])
        share = report.ratio(summarise(ratios(case["seconds"], plain["seconds"])))
        rows.append([case["variant"], f"{seconds.median:.3f}", f"{step.median:.4f}", f"{decoding.median:.3f}", share])
    precision = "bfloat16" if settings["bfloat16"] else "float32"
    lines = [
        "# Video generation: adapters and the first-block cache",
        f"`python -m perf generation`, commit {document['commit']}, on {report.describe(facts)}; load average at the "
        f"start {facts['load_average_at_start']}. "
        + ", ".join(f"{name} {number}" for name, number in document["versions"].items())
        + ".",
        f"Random weights, {settings['size']}, {precision}, on {settings['device']}, {settings['threads']} threads; "
        f"{settings['frames']} frames of {settings['frame_size']}, {settings['steps']} steps with guidance; an adapter "
        f"of rank {settings['rank']} on DiffSynth's layers, unmerged; threshold {settings['threshold']}. "
        f"{settings['rounds']} timed videos of each, in turn. *Of plain*: seconds of the same round, median and "
        "quartiles. Random weights say nothing of quality.",
        report.table(["variant", "seconds a video", "seconds a step", "seconds of decoding", "of plain"], rows),
    ]
    return "\n\n".join(lines) + "\n"
