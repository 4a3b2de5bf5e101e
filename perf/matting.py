"""Video matting: frames a second of the served `matte` against its networks in eager PyTorch, and memory by window.

Both read the same encoded clip and give out the same file, with the same settings, turn by turn in one run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from atelier.client import Client
from atelier.matting.files import Part
from atelier.matting.job import JobSettings, MatteJob, run_job
from atelier.matting.pipeline import MattingPipeline
from atelier.media.video import Facts, open_video
from atelier.media.video.codecs import find_codec
from atelier.media.video.writing import VideoWriter
from atelier.serving import checkout
from atelier.serving.launcher import Server
from perf import report
from perf.exporter import run_export
from perf.lama import THREADS
from perf.measure import PAUSE, BenchmarkError, interleave, ratios, summarise
from perf.servers import served

EAGER, SERVED = "eager", "served"
TITLES = {EAGER: "eager PyTorch, in this process", SERVED: "served, gRPC (ONNX Runtime)"}
OUTPUTS = ("alpha",)
MODELS = ("gvm_unet", "gvm_vae_encoder", "gvm_vae_decoder")
MAX_LEVELS = 2.0  # of 255, on average: thresholds move what lies within the tolerance of one
RATE = Fraction(25)


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        size: of the random network: ``tiny``, or ``full``, the public one's.
        width, height: of the clip, and of what the network sees; multiples of 32.
        frames: of the clip.
        windows: frames of a window, each measured by itself.
        chunk: frames of a call of the decoder.
        threads: of PyTorch and of the runtime.
        rounds: timed clips of each kind.
        seed: of weights and orders.
    """

    size: str
    width: int
    height: int
    frames: int
    windows: tuple[int, ...]
    chunk: int
    threads: int
    rounds: int
    seed: int = 0

    def job(self, window: int) -> dict[str, Any]:
        """A request's settings."""
        return {
            "num_frames_per_batch": window,
            "num_overlap_frames": window // 4,  # the default of 6 would leave a window of 8 two frames to go on
            "decode_chunk_size": self.chunk,
            "size": min(self.width, self.height),
            "max_resolution": max(self.width, self.height),
            "codec": "ffv1",
        }


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Matte one clip in both ways, for every length of window.

    Raises:
        BenchmarkError: the exporter failed, or the two do not compute the same.
        LaunchError: the server did not come up.
    """
    facts = report.machine()
    task = progress.add_task("random weights", total=None)
    torch.set_num_threads(settings.threads)
    with TemporaryDirectory(prefix="atelier-perf-") as made:
        folder = Path(made)
        checkpoint, clip = folder / "checkpoint", folder / "clip.mkv"
        run_export("synthetic", "gvm", f"--size={settings.size}", f"--output={checkpoint}", f"--seed={settings.seed}")
        draw_clip(clip, settings)
        progress.update(task, description="exporting")
        repository = folder / "repository"
        run_export("gvm", f"--checkpoint={checkpoint}", f"--repository={repository}", "--no-verify")
        progress.update(task, description="starting Triton", total=2 * len(settings.windows))
        pipeline = MattingPipeline.from_pretrained(checkpoint, None, None, "svd")
        cases = []
        for model in MODELS:
            with (repository / model / "config.pbtxt").open("a", encoding="utf-8") as config:
                for name in THREADS["onnxruntime"]:
                    config.write(f'parameters {{ key: "{name}" value {{ string_value: "{settings.threads}" }} }}\n')
        with _serve(repository) as server, Client(server.grpc_url, timeout=3600) as client:
            release = client.status().version
            for window in settings.windows:
                progress.update(task, description=f"{window} frames a window")
                cases.append(_case(settings, window, clip, pipeline, client, folder))
                progress.advance(task)
        for case in cases:
            progress.update(task, description=f"memory, {case['window']} frames a window")
            case["peak_mib"] = peak_memory(checkpoint, clip, settings, case["window"])
            progress.advance(task)
    return {
        "benchmark": "matting",
        "machine": facts,
        "versions": report.versions(release),
        "commit": report.commit(),
        "settings": {**asdict(settings), "pause_seconds": PAUSE, "device": "CPU", "precision": "fp32"},
        "cases": cases,
    }


def _case(
    settings: Settings, window: int, clip: Path, pipeline: MattingPipeline, client: Client, folder: Path
) -> dict[str, Any]:
    """Seconds of both for one length of window."""
    job = settings.job(window)
    output = folder / "served"

    def eager() -> bytearray:
        return _eager(clip, pipeline, job)

    def served() -> Path:
        return client.matte(clip, output, outputs=list(OUTPUTS), **job).files[0]

    found, expected = _alphas(served()), _alphas(bytes(eager()))
    difference = float(np.abs(found.astype(np.int16) - expected).mean())
    if found.shape != expected.shape or difference > MAX_LEVELS:
        raise BenchmarkError(f"The served alpha differs from eager PyTorch's by {difference:.1f} levels on average.")
    timings = interleave({EAGER: eager, SERVED: served}, rounds=settings.rounds, warm_up=0, seed=settings.seed)
    return {
        "window": window,
        "mean_levels": round(difference, 5),
        "seconds": {name: [round(value, 5) for value in values] for name, values in timings.seconds.items()},
        "disturbed": timings.disturbed,
    }


def _eager(clip: Path, pipeline: MattingPipeline, job: Mapping[str, Any]) -> bytearray:
    """The alpha's file, made in this process."""
    file = bytearray()
    for event in run_job(MatteJob(clip, JobSettings(**job), OUTPUTS), pipeline):
        if isinstance(event, Part):
            file[event.offset : event.offset + len(event.data)] = event.data
    return file


def _alphas(file: bytes | Path) -> Any:
    with open_video(file) as video:
        return np.stack([frame.pixels[..., 0] for frame in video])


def draw_clip(clip: Path, settings: Settings) -> None:
    """A disc that crosses a background of stripes and noise."""
    generator = np.random.default_rng(settings.seed)
    rows, columns = np.mgrid[: settings.height, : settings.width]
    ground = (columns // 16 % 2 * 60 + 60)[..., None] + generator.integers(0, 30, (settings.height, settings.width, 3))
    radius = settings.height / 4
    facts = Facts(settings.width, settings.height, RATE, 1 / RATE, settings.frames, "ffv1")
    with VideoWriter(str(clip), find_codec("ffv1", alpha=False), facts) as writer:
        for number in range(settings.frames):
            centre = settings.width * (number + 1) / (settings.frames + 1)
            disc = (columns - centre) ** 2 + (rows - settings.height / 2) ** 2 < radius**2
            frame = np.where(disc[..., None], (220, 140, 60), ground).astype(np.uint8)
            writer.write(frame, number / RATE)


@contextmanager
def _serve(repository: Path) -> Iterator[Server]:
    """The embedded server with `matte` over the networks in this repository."""
    (repository / "matte").symlink_to(checkout.root() / "model_repository" / "matte")
    with served(repository, ("matte",)) as server:
        yield server


def peak_memory(checkpoint: Path, clip: Path, settings: Settings, window: int) -> float:
    """Peak memory of a process that mattes the clip in eager PyTorch, MiB; what its imports take is in it."""
    asked = json.dumps({"job": settings.job(window), "threads": settings.threads})
    command = [sys.executable, "-m", "perf.matting", str(checkpoint), str(clip), asked]
    run = subprocess.run(command, cwd=checkout.root(), capture_output=True, text=True, check=False)
    if run.returncode:
        raise BenchmarkError(f"Memory could not be measured: {' '.join(run.stderr.split())[-500:]}")
    return float(run.stdout)


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read."""
    settings, facts = document["settings"], document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    rows = []
    for case in document["cases"]:
        eager, served = (summarise([settings["frames"] / s for s in case["seconds"][name]]) for name in TITLES)
        faster = summarise(ratios(case["seconds"][EAGER], case["seconds"][SERVED]))
        row = [f"{eager.median:.2f}", f"{served.median:.2f}", report.ratio(faster), f"{case['peak_mib']:.0f}"]
        rows.append([str(case["window"]), *row])
    headings = ["frames a window", f"{TITLES[EAGER]}, frames/s", f"{TITLES[SERVED]}, frames/s"]
    where = f"on {report.describe(facts)}; load average at the start {facts['load_average_at_start']}. {versions}."
    lines = [
        "# Video matting: served against eager PyTorch",
        f"`python -m perf matting`, commit {document['commit']}, {where}",
        f"Random weights, size {settings['size']}, fp32, {settings['threads']} threads each. A drawn clip of "
        f"{settings['frames']} frames of {settings['width']} × {settings['height']}, encoded file in, encoded alpha "
        f"out, {settings['rounds']} timed clips of each, in turn. A quarter of a window overlaps the one before. "
        "*Times faster*: of eager's and served's seconds in the same round, median and quartiles. *Peak memory* is "
        "that of a process of its own, eager.",
        report.table([*headings, "times faster", "peak memory, MiB"], rows),
    ]
    return "\n\n".join(lines) + "\n"


def main(checkpoint: str, clip: str, asked: str) -> None:
    """Matte one clip and print this process's peak memory in MiB."""
    wanted = json.loads(asked)
    torch.set_num_threads(wanted["threads"])
    pipeline = MattingPipeline.from_pretrained(checkpoint, None, None, "svd")
    _eager(Path(clip), pipeline, wanted["job"])
    # Not ru_maxrss, which a child process takes over from its parent.
    peak = next(line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith("VmHWM"))
    sys.stdout.write(f"{int(peak.split()[1]) / 1024:.1f}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
