"""One way of holding a video network, in a process of its own: what `generation_options` asks it on stdin."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from torch.utils.flop_counter import FlopCounterMode

from atelier import memory
from atelier.errors import InvalidInput
from atelier.generation.jobs import GenerationJob
from atelier.generation.loading import LoadOptions
from atelier.generation.pipeline import GenerationPipeline
from atelier.generation.settings import GenerationSettings
from atelier.generation.sizes import STRIDE, read_size
from perf.generation_options import VARIANTS, Settings
from perf.measure import host_peak

MATRIX = {"cuda": 8192, "cpu": 2048}
"""Side of the square matrices whose product tells how fast a device multiplies at most."""
REPEATS = 10


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


def matrix_rate(device: str, bfloat16: bool) -> float:
    """The best of several products of square matrices, operations a second."""
    dtype = torch.bfloat16 if bfloat16 else torch.float32
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
        "host_peak": host_peak(),
    }
    print(json.dumps(found))


def _video(pipeline: GenerationPipeline, settings: Settings, steps: int) -> tuple[dict[str, float], memory.Memory]:
    asked = GenerationSettings(
        frame_num=settings.frames, size=settings.frame_size, sample_steps=steps, seed=settings.seed
    )
    job = GenerationJob("two cats boxing on a stage", asked)
    pipeline(job)
    return dict(job.seconds), memory.measure(settings.device)


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _answer()
