"""What serving costs: ``lama`` behind Triton, against its runtime, another one and eager PyTorch in one process.

All run the same weights on the same batch with the same number of threads, in one run, turn by turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from atelier.client import Client
from perf import lama, report
from perf.measure import PAUSE, BenchmarkError, Summary, interleave, ratios, shares_added, summarise
from perf.statistics import STEPS, WHOLE, Statistics

EAGER, ONNXRUNTIME, OPENVINO, GRPC, SHARED, HTTP = (
    "eager",
    "onnxruntime",
    "openvino",
    "grpc",
    "grpc_shared_memory",
    "http",
)
SERVED = (GRPC, SHARED, HTTP)
TITLES = {
    EAGER: "eager PyTorch",
    ONNXRUNTIME: "ONNX Runtime",
    OPENVINO: "OpenVINO",
    GRPC: "served, gRPC",
    SHARED: "served, gRPC and shared memory",
    HTTP: "served, HTTP",
}
OUTSIDE = "outside"  # what the client waits for and Triton's core does not see: protocols, copies, the client
AROUND = "around"  # all that the client waits for but the network: what serving adds, free of the network's own noise
WEIGHTS = {"mini": "The bundled network, lama-mini", "full": "Random weights of big-lama's size"}
MAX_LEVELS = 1  # of 255: truncation to bytes makes a level of a difference of 1e-6
DIGITS = 7  # of seconds: 0.1 µs

Call = Callable[[lama.Pictures], NDArray[np.uint8]]


@dataclass(frozen=True)
class Settings:
    """What is measured, and how often.

    Attributes:
        size: ``mini``, the bundled network, or ``full``, a random one of big-lama's size.
        sides: pixels of the square pictures.
        batches: pictures a call.
        threads: of PyTorch and of each runtime.
        rounds: timed calls of each kind.
        warm_up: calls before them.
        seed: of weights, pictures and orders.
    """

    size: str
    sides: tuple[int, ...]
    batches: tuple[int, ...]
    threads: int
    rounds: int
    warm_up: int = 2
    seed: int = 0


@dataclass
class Case:
    """The samples of one size of picture and one batch.

    Attributes:
        side: pixels.
        batch: pictures.
        max_levels: largest difference from eager PyTorch, in levels of 255, by name.
        seconds: by name; the same index is the same round.
        server: for those that are served, what Triton says of each request, in seconds by step.
        disturbed: how many calls began while something else kept the cores busy.
    """

    side: int
    batch: int
    max_levels: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    server: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    disturbed: int = 0

    def summary(self) -> dict[str, dict[str, Any]]:
        """Spreads of the times and of the ratios, and the median of each step on the server."""
        ratio = {name: summarise(ratios(self.seconds[name], self.seconds[EAGER])) for name in TITLES if name != EAGER}
        share = {name: summarise(shares_added(self.seconds[name], self.seconds[OPENVINO])) for name in SERVED}
        return {
            "seconds": {name: _rounded(summarise(values)) for name, values in self.seconds.items()},
            "ratio_to_eager": {name: _rounded(spread) for name, spread in ratio.items()},
            "share_added_to_runtime": {name: _rounded(spread) for name, spread in share.items()},
            "server_median_seconds": {name: self._steps(name) for name in SERVED},
        }

    def _steps(self, name: str) -> dict[str, float]:
        server = self.server[name]

        def beyond(step: str) -> list[float]:
            return [call - part for call, part in zip(self.seconds[name], server[step], strict=True)]

        times = {**{step: server[step] for step in STEPS}, OUTSIDE: beyond(WHOLE), AROUND: beyond("compute_infer")}
        return {step: round(summarise(values).median, DIGITS) for step, values in times.items()}


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Make a network, serve it, and time it.

    Returns:
        Everything that was found, for `markdown` and `perf.report.write`.

    Raises:
        BenchmarkError: the exporter failed, or the outputs are not the same.
        LaunchError: the server did not come up.
    """
    facts = report.machine()
    torch.set_num_threads(settings.threads)
    shapes = [(side, batch) for side in settings.sides for batch in settings.batches]
    task = progress.add_task("making a network, starting Triton", total=None)
    with (
        lama.subject(settings.size, threads=settings.threads, seed=settings.seed) as made,
        lama.serve(made) as server,
        _calls(made, settings.threads, server.grpc_url, server.http_url) as calls,
        Client(server.grpc_url) as client,
    ):
        triton = client.status().version
        statistics = Statistics(server.http_url, lama.MODEL)
        progress.update(task, total=len(shapes) * (settings.warm_up + settings.rounds) * len(calls))
        cases = []
        for side, batch in shapes:
            progress.update(task, description=f"{settings.size}, {side} × {side}, batch {batch}")
            cases.append(_case(calls, side, batch, settings, statistics, partial(progress.advance, task)))
    return {
        "benchmark": "serving",
        "machine": facts,
        "versions": report.versions(triton),
        "commit": report.commit(),
        "settings": {**asdict(settings), "pause_seconds": PAUSE, "device": "CPU"},
        "cases": [{**asdict(case), "summary": case.summary()} for case in cases],
    }


@contextmanager
def _calls(made: lama.Subject, threads: int, grpc_url: str, http_url: str) -> Iterator[dict[str, Call]]:
    """What is compared, by name."""
    with Client(grpc_url) as grpc, Client(grpc_url, shared_memory=True) as shared, Client(http_url) as http:

        def served(client: Client, batch: lama.Pictures) -> NDArray[np.uint8]:
            # With the size, the answer comes through shared memory too; a client without it takes no notice.
            wanted = {"INPAINTED": batch.image.nbytes}
            return client.infer(lama.MODEL, batch.inputs, outputs=wanted)["INPAINTED"]

        yield {
            EAGER: lama.eager(made),
            ONNXRUNTIME: lama.with_onnxruntime(made, threads=threads),
            OPENVINO: lama.with_openvino(made, threads=threads),
            GRPC: partial(served, grpc),
            SHARED: partial(served, shared),
            HTTP: partial(served, http),
        }


def _case(
    calls: Mapping[str, Call],
    side: int,
    batch: int,
    settings: Settings,
    statistics: Statistics,
    advance: Callable[[], None],
) -> Case:
    """See that all compute the same, then time them."""
    pictures = lama.pictures(side, batch, settings.seed)
    case = Case(side, batch)
    outputs = {}
    for name, call in calls.items():
        outputs[name] = call(pictures)
        if name in SERVED:
            statistics.next_request()  # not a sample
    case.max_levels = compare(outputs, f"{side} × {side}, batch {batch}")
    case.server = {name: {step: [] for step in (*STEPS, WHOLE)} for name in SERVED}

    def note(name: str, _seconds: float, timed: bool) -> None:
        if name in SERVED:
            request = statistics.next_request()
            for step, samples in case.server[name].items():
                samples += [round(request[step], DIGITS)] * timed
        advance()

    prepared = {name: partial(call, pictures) for name, call in calls.items()}
    found = interleave(prepared, rounds=settings.rounds, warm_up=settings.warm_up, seed=settings.seed, on_call=note)
    case.seconds = {name: [round(value, DIGITS) for value in values] for name, values in found.seconds.items()}
    case.disturbed = found.disturbed
    return case


def compare(outputs: Mapping[str, NDArray[np.uint8]], where: str) -> dict[str, int]:
    """Largest difference of each output from eager PyTorch's, in levels of 255.

    Raises:
        BenchmarkError: one is larger than truncation explains, so that times would compare different things.
    """
    expected = outputs[EAGER].astype(np.int16)
    found = {}
    for name, output in outputs.items():
        if output.shape != expected.shape:
            raise BenchmarkError(f"{TITLES[name]} answers {list(output.shape)} to {where}, not {list(expected.shape)}.")
        found[name] = int(np.abs(output - expected).max())
        if found[name] > MAX_LEVELS:
            raise BenchmarkError(f"{TITLES[name]} differs from {TITLES[EAGER]} by {found[name]} levels ({where}).")
    return found


def _rounded(spread: Summary) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in asdict(spread).items()}


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read."""
    settings, facts = document["settings"], document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    calls = settings["rounds"] * len(TITLES)
    lines = [
        f"# Serving: `lama`, {settings['size']}",
        f"`python -m perf serving`, commit {document['commit']}, on {report.describe(facts)}; load average at the "
        f"start {facts['load_average_at_start']}. {versions}.",
        f"{WEIGHTS[settings['size']]}, {settings['threads']} thread(s) each, {settings['rounds']} rounds after "
        f"{settings['warm_up']} to warm up. A round runs each of the six once, in an order drawn anew, each after a "
        f"pause of {settings['pause_seconds'] * 1e3:.0f} ms or more in which thread pools stop spinning and the "
        f"machine is seen to be idle. First, all six got the same pictures: no byte differs by more than "
        f"{MAX_LEVELS}.",
        "Served means the shipped configuration with the embedded server's runtime on a CPU, OpenVINO, one "
        "request at a time: its dynamic batching waits 1 ms for company "
        "(queue). Input and output are Triton's copies to and from the process that runs the network, compute is "
        "that process, outside is the protocol and the client, both ways.",
    ]
    for case in document["cases"]:
        pictures = f"{case['side']} × {case['side']}, batch {case['batch']}"
        lines += [f"## {pictures}", _comparison(case), _steps(case)]
        if case["disturbed"]:
            lines.append(f"{case['disturbed']} of {calls} calls began while something else kept the machine busy.")
    return "\n\n".join(lines) + "\n"


def _comparison(case: Mapping[str, Any]) -> str:
    """Times, their ratio to eager PyTorch's, and what serving adds to OpenVINO's."""
    summary = case["summary"]
    seconds = {name: Summary(**spread) for name, spread in summary["seconds"].items()}
    rows = []
    for name, title in TITLES.items():
        ratio, added = summary["ratio_to_eager"].get(name), summary["share_added_to_runtime"].get(name)
        fastest = seconds[name].minimum / seconds[EAGER].minimum
        columns = [report.ratio(Summary(**ratio)), f"{fastest:.2f}"] if ratio else ["1", "1"]
        rows.append([title, report.milliseconds(seconds[name]), *columns])
        rows[-1].append(report.percent(Summary(**added)) if added else "")
    headings = ["ms: median (extremes)", "of eager's time: median (quartiles)", "fastest by fastest"]
    return report.table(["", *headings, "added to OpenVINO's: median (quartiles)"], rows)


def _steps(case: Mapping[str, Any]) -> str:
    """Where a served call's time goes."""
    medians, alone = case["summary"]["server_median_seconds"], case["summary"]["seconds"][OPENVINO]["median"]
    rows = []
    for name in SERVED:
        rows.append([TITLES[name], *(f"{medians[name][step] * 1e3:.2f}" for step in (*STEPS, OUTSIDE, AROUND))])
        rows[-1].append(f"{medians[name][AROUND] / alone:.1%}")
    headings = ["queue", "input", "compute", "output", "outside", "all but compute", "of OpenVINO's time"]
    return report.table(["median ms", *headings], rows)
