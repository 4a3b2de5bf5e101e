"""The same network in every runtime, in one process and one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from atelier.inpainting import load_generator
from perf import lama, report
from perf.measure import PAUSE, Summary, interleave, ratios, summarise

EAGER = "eager"
TITLES = {
    EAGER: "eager PyTorch",
    "torchscript": "TorchScript, traced and frozen",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO, fp32",
    "openvino_bf16": "OpenVINO, bf16",
}
EXACT = 2
"""Levels of 255 by which an output may differ from eager PyTorch's and count as exact: cutting makes a level."""

Call = Callable[[lama.Pictures], NDArray[np.uint8]]


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        size: ``mini`` or ``full``.
        sides: pixels of the square pictures.
        batches: pictures a call.
        threads: of each, one list of cases a number.
        rounds: timed calls of each kind, after one whose outputs are compared.
        seed: of weights, pictures and orders.
    """

    size: str
    sides: tuple[int, ...]
    batches: tuple[int, ...]
    threads: tuple[int, ...]
    rounds: int
    seed: int = 0


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Make the network and time it.

    Raises:
        BenchmarkError: the exporter failed.
    """
    facts = report.machine()
    shapes = [(side, batch) for side in settings.sides for batch in settings.batches]
    total = len(settings.threads) * len(shapes) * settings.rounds * len(TITLES)
    task = progress.add_task("making a network", total=total)
    cases = []
    with lama.subject(settings.size, threads=1, seed=settings.seed) as made:
        for threads in settings.threads:
            torch.set_num_threads(threads)
            calls = _calls(made, threads)
            for side, batch in sorted(shapes, key=lambda shape: shape[0] ** 2 * shape[1]):
                progress.update(task, description=f"{threads} thread(s), {side} × {side}, batch {batch}")
                step = partial(progress.advance, task)
                cases.append({"threads": threads, **_case(calls, side, batch, settings, step)})
                # What does not compute the same is no choice, and is timed in the smallest case alone.
                calls = {name: call for name, call in calls.items() if cases[-1]["max_levels"][name] <= EXACT}
    return {
        "benchmark": "runtimes",
        "machine": facts,
        "versions": {**report.versions(), "openvino": version("openvino")},
        "commit": report.commit(),
        "settings": {**asdict(settings), "pause_seconds": PAUSE, "device": "CPU"},
        "cases": cases,
    }


def _calls(made: lama.Subject, threads: int) -> dict[str, Call]:
    """What is compared, by name; all bytes in, bytes out."""
    return {
        EAGER: lama.eager(made),
        "torchscript": _torchscript(made),
        "onnxruntime": lama.with_onnxruntime(made, threads=threads),
        "openvino": lama.with_openvino(made, threads=threads),
        "openvino_bf16": lama.with_openvino(made, threads=threads, precision="bf16"),
    }


def _torchscript(made: lama.Subject) -> Call:
    generator = load_generator(made.checkpoint)
    with torch.inference_mode():
        example = torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
        traced = torch.jit.freeze(torch.jit.trace(generator, example))
    return lama.network(traced)


def _case(
    calls: Mapping[str, Call], side: int, batch: int, settings: Settings, advance: Callable[[], None]
) -> dict[str, Any]:
    pictures = lama.pictures(side, batch, settings.seed)
    prepared = {name: partial(call, pictures) for name, call in calls.items()}
    outputs = {name: call().astype(np.int16) for name, call in prepared.items()}
    levels = {name: int(np.abs(output - outputs[EAGER]).max()) for name, output in outputs.items()}

    def note(_name: str, _seconds: float, _timed: bool) -> None:
        advance()

    found = interleave(prepared, rounds=settings.rounds, warm_up=0, seed=settings.seed, on_call=note)
    seconds = {name: [round(value, 6) for value in values] for name, values in found.seconds.items()}
    return {"side": side, "batch": batch, "max_levels": levels, "seconds": seconds, "disturbed": found.disturbed}


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read."""
    settings, facts = document["settings"], document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    lines = [
        f"# Runtimes: `lama`, {settings['size']}",
        f"`python -m perf runtimes`, commit {document['commit']}, on {report.describe(facts)}; load average at the "
        f"start {facts['load_average_at_start']}. {versions}.",
        f"{settings['rounds']} rounds after one to warm up, in turn, in one process, bytes in and out, each after a "
        "pause in which thread pools stop spinning. *Differs* is the largest difference from eager PyTorch's bytes, in "
        f"levels of 255; more than {EXACT} is not exact, and is timed in the smallest case alone.",
    ]
    for threads in settings["threads"]:
        for case in (case for case in document["cases"] if case["threads"] == threads):
            lines.append(f"## {threads} thread(s), {case['side']} × {case['side']}, batch {case['batch']}")
            rows = []
            for name in case["seconds"]:
                share = summarise(ratios(case["seconds"][name], case["seconds"][EAGER]))
                times = report.milliseconds(summarise(case["seconds"][name]))
                rows.append([TITLES[name], times, "1" if name == EAGER else report.ratio(share)])
                rows[-1].append(str(case["max_levels"][name]))
            headings = ["ms: median (extremes)", "of eager's time: median (quartiles)", "differs"]
            lines.append(report.table(["", *headings], rows))
    return "\n\n".join(lines) + "\n"


def of_eager(document: Mapping[str, Any], name: str, **case: int) -> Summary:
    """A runtime's share of eager PyTorch's time in the case of these ``side``, ``batch`` and ``threads``."""
    (found,) = (entry for entry in document["cases"] if all(entry[key] == value for key, value in case.items()))
    return summarise(ratios(found["seconds"][name], found["seconds"][EAGER]))
