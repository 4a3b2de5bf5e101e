"""A model under rising load, by perf_analyzer: throughput, latency, queue, mean batch."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matplotlib.figure import Figure
from rich.progress import Progress

from atelier.client import Client
from atelier.serving import checkout
from atelier.serving.launcher import Server
from perf import lama, report
from perf.analyzer import Analyzer, Load
from perf.measure import BenchmarkError
from perf.servers import served

WAYS = {
    "gRPC": ("grpc", False),
    "gRPC and shared memory": ("grpc", True),
    "HTTP": ("http", False),
    "HTTP and shared memory": ("http", True),
}


def ways(model: str) -> tuple[str, ...]:
    """The ways in that perf_analyzer can take: none through shared memory where a model has optional inputs."""
    return tuple(way for way, (_, shared) in WAYS.items() if model == lama.MODEL or not shared)


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        model: ``lama``, or ``inpaint``.
        size: the network, ``mini`` or ``full``.
        side: pixels of the square pictures (`lama`); `inpaint` gets the sample pictures.
        concurrencies: requests under way.
        shares: of the highest throughput that was found, as average rates of random (Poisson) arrivals.
        seconds: of one window.
        windows: at most, until three agree.
        threads: of ONNX Runtime.
        seed: of weights.
    """

    model: str
    size: str
    side: int
    concurrencies: tuple[int, ...]
    shares: tuple[float, ...]
    seconds: float
    windows: int
    threads: int
    seed: int = 0


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Serve the model and load it, every way in, closed loops first.

    Raises:
        BenchmarkError: perf_analyzer or the exporter failed.
        LaunchError: the server did not come up.
    """
    facts = report.machine()
    chosen = ways(settings.model)
    steps = len(chosen) * (len(settings.concurrencies) + len(settings.shares))
    task = progress.add_task("starting Triton", total=steps)
    points: list[dict[str, Any]] = []
    with _served(settings) as server, tensors(settings) as options, Client(server.grpc_url) as client:
        window = {"seconds": settings.seconds, "windows": settings.windows}
        analyzer = Analyzer(settings.model, server.grpc_url, server.http_url, options, **window)
        triton = client.status().version

        def run(way: str, words: str, **load: Any) -> dict[str, Any]:
            progress.update(task, description=f"{way}, {words}")
            protocol, shared = WAYS[way]
            found = analyzer.run(Load(protocol, settings.side**2 * 3 if shared else 0, **load))
            progress.advance(task)
            points.append({"way": way, **load, **found})
            return found

        for way in chosen:
            for count in settings.concurrencies:
                run(way, f"{count} at once", concurrency=count)
        best = max(point["throughput"] for point in points)
        for way in chosen:
            for share in settings.shares:
                run(way, f"{share:.0%} of the highest rate", rate=round(share * best, 3))
    return {
        "benchmark": "sweep",
        "machine": facts,
        "versions": report.versions(triton),
        "commit": report.commit(),
        "settings": {**asdict(settings), "device": "CPU"},
        "points": points,
    }


@contextmanager
def _served(settings: Settings) -> Iterator[Server]:
    """The server with the model: `lama` alone, or `inpaint` on it."""
    with lama.subject(settings.size, threads=settings.threads, seed=settings.seed) as made:
        if settings.model == lama.MODEL:
            with lama.serve(made) as server:
                yield server
            return
        if settings.size != "mini":
            raise BenchmarkError("inpaint is measured with the bundled network.")
        with served(checkout.root() / "model_repository", (settings.model,)) as server:
            yield server


@contextmanager
def tensors(settings: Settings) -> Iterator[list[str]]:
    """perf_analyzer's options for the inputs."""
    if settings.model == lama.MODEL:
        side = settings.side
        yield [f"--shape=IMAGE:{side},{side},3", f"--shape=MASK:{side},{side}"]
        return
    samples = checkout.root() / "samples"
    masks = sorted(samples.glob("*.mask.png"))
    pictures = [next(samples.glob(f"{mask.name.removesuffix('.mask.png')}.[jp]*g")) for mask in masks]
    entries = [
        {"IMAGE": _bytes_entry(picture), "MASK": _bytes_entry(mask)}
        for picture, mask in zip(pictures, masks, strict=True)
    ]
    with TemporaryDirectory(prefix="atelier-perf-") as folder:
        file = Path(folder) / "pictures.json"
        file.write_text(json.dumps({"data": entries}), encoding="utf-8")
        yield [f"--input-data={file}"]


def _bytes_entry(file: Path) -> dict[str, Any]:
    """One element of a tensor of bytes, in perf_analyzer's JSON: its length stands before it."""
    content = file.read_bytes()
    framed = len(content).to_bytes(4, "little") + content
    return {"content": {"b64": base64.b64encode(framed).decode("ascii")}, "shape": [1]}


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read."""
    settings, facts = document["settings"], document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    subject = f"{settings['side']} × {settings['side']}" if settings["model"] == "lama" else "the sample pictures"
    lines = [
        f"# Under load: `{settings['model']}`, {settings['size']}",
        f"`python -m perf sweep {settings['model']}`, commit {document['commit']}, on {report.describe(facts)}; load "
        f"average at the start {facts['load_average_at_start']}. {versions}.",
        f"perf_analyzer of {settings['seconds']:g} s windows, {subject}, {settings['threads']} thread(s). First so "
        "many requests under way at all times, then random arrivals (Poisson) at shares of the highest throughput. "
        "Mean batch is of all requests of the run, the warm-up included. A † marks a measurement whose windows did not "
        "agree within 15 %.",
    ]
    if settings["model"] != lama.MODEL:
        lines.append("perf_analyzer does not send optional inputs through shared memory, so those ways are missing.")
    for title, chosen in (("Closed loops", "concurrency"), ("Random arrivals", "rate")):
        rows = [_row(point, chosen) for point in document["points"] if point.get(chosen)]
        lines += [f"## {title}", report.table(["", chosen, *_HEADINGS], rows)]
    return "\n\n".join(lines) + "\n"


_HEADINGS = ("a second", "p50 ms", "p95 ms", "p99 ms", "queue ms", "compute ms", "mean batch")


def _row(point: Mapping[str, Any], chosen: str) -> list[str]:
    compute = sum(point.get(f"compute_{step}", 0) for step in ("input", "infer", "output"))
    seconds = [point["p50"], point["p95"], point["p99"], point.get("queue", 0), compute]
    mark = "" if point["stable"] else " †"
    times = [f"{value * 1e3:.1f}" for value in seconds]
    return [
        point["way"],
        f"{point[chosen]:g}",
        f"{point['throughput']:.2f}{mark}",
        *times,
        f"{point['mean_batch']:.2f}",
    ]


def plot(document: Mapping[str, Any], file: Path) -> None:
    """Latency against throughput, a line a way in."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, way in enumerate(ways(document["settings"]["model"])):
        for kind, style in (("concurrency", "o-"), ("rate", "x--")):
            points = [point for point in document["points"] if point["way"] == way and point.get(kind)]
            points.sort(key=lambda point: point[kind])
            label = f"{way}, {'so many at once' if kind == 'concurrency' else 'random arrivals'}"
            axes.plot(
                [point["throughput"] for point in points],
                [point["p95"] * 1e3 for point in points],
                style,
                color=f"C{number}",
                label=label,
            )
    axes.set(xlabel="pictures a second", ylabel="latency, p95, ms", title=f"{document['settings']['model']} under load")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=110)
