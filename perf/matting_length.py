"""Video matting: peak memory by length of the clip. It is the window's, not the video's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.progress import Progress

from perf import report
from perf.exporter import run_export
from perf.matting import Settings as Clip
from perf.matting import draw_clip, peak_memory


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        side: of the square clip, and of what the network sees; a multiple of 32.
        lengths: frames of a clip, each measured by itself.
        window: frames of a window.
        chunk: frames of a call of the decoder.
        threads: of PyTorch.
        seed: of weights and clip.
    """

    side: int
    lengths: tuple[int, ...]
    window: int
    chunk: int
    threads: int
    seed: int = 0


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Matte clips of every length with the small random network, each in a process of its own.

    Raises:
        BenchmarkError: the exporter or a run failed.
    """
    facts = report.machine()
    task = progress.add_task("random weights", total=len(settings.lengths))
    peaks = {}
    with TemporaryDirectory(prefix="atelier-perf-") as made:
        checkpoint, file = Path(made) / "checkpoint", Path(made) / "clip.mkv"
        run_export("synthetic", "gvm", "--size=tiny", f"--output={checkpoint}", f"--seed={settings.seed}")
        for length in settings.lengths:
            progress.update(task, description=f"{length} frames")
            side, chunk, threads = settings.side, settings.chunk, settings.threads
            clip = Clip("tiny", side, side, length, (settings.window,), chunk, threads, 1, settings.seed)
            draw_clip(file, clip)
            peaks[length] = peak_memory(checkpoint, file, clip, settings.window)
            progress.advance(task)
    return {
        "benchmark": "matting-length",
        "machine": facts,
        "versions": report.versions(),
        "commit": report.commit(),
        "settings": asdict(settings),
        "cases": [{"frames": length, "peak_mib": peak} for length, peak in peaks.items()],
    }


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read."""
    settings, facts = document["settings"], document["machine"]
    first = document["cases"][0]["peak_mib"]
    rows = [[f"{c['frames']:,}", f"{c['peak_mib']:.0f}", f"{c['peak_mib'] / first:.3f}"] for c in document["cases"]]
    lines = [
        "# Video matting: memory by length of the clip",
        f"`python -m perf matting-length`, commit {document['commit']}, on {report.describe(facts)}.",
        f"The small random network in eager PyTorch, {settings['side']} × {settings['side']}, {settings['window']} "
        f"frames a window, {settings['chunk']} a call of the decoder; encoded file in, encoded alpha out. *Peak "
        "memory* is that of a process of its own; its imports, and the finished file of the alpha, are in it.",
        report.table(["frames", "peak memory, MiB", "of the first"], rows),
    ]
    return "\n\n".join(lines) + "\n"
