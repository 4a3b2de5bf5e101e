"""Triton's batching against the old worker's, with the same arrivals through the same real Redis."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

import numpy as np
import redis
from rich.progress import Progress

from atelier.client import Client
from atelier.serving import checkout
from atelier.serving.options import CPU_PROFILE, DEFAULT_PROFILE
from atelier.serving.ports import free_ports
from perf import lama, old_worker, report
from perf.measure import BenchmarkError
from perf.traffic import LONG, SHORT, Arrival, Traffic, Wait, burst, poisson

OLD_EAGER, OLD_ONNXRUNTIME, BRIDGE_ONNXRUNTIME, BRIDGE_OPENVINO = (
    "old_eager",
    "old_onnxruntime",
    "bridge_onnxruntime",
    "bridge_openvino",
)
TITLES = {
    OLD_EAGER: "old worker, eager PyTorch",
    OLD_ONNXRUNTIME: "old worker, ONNX Runtime",
    BRIDGE_ONNXRUNTIME: "bridge and Triton, ONNX Runtime",
    BRIDGE_OPENVINO: "bridge and Triton, OpenVINO",
}
SYSTEMS = tuple(TITLES)
SERVED = {BRIDGE_ONNXRUNTIME: DEFAULT_PROFILE, BRIDGE_OPENVINO: CPU_PROFILE}
LONG_SHARE = 0.3


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        size: the network, ``mini`` or ``full``.
        threads: of each system's runtime.
        lone: requests that come alone, some seconds apart.
        random: requests of each run of random arrivals.
        burst: requests that come at once.
        backlog: long pages that wait when the short ones begin to come.
        late: short pages that come then, every 2 s.
        loads: average rates of random arrivals, as shares of the slowest system's throughput in the burst.
        seed: of weights and arrivals.
    """

    size: str
    threads: int
    lone: int = 8
    random: int = 60
    burst: int = 200
    backlog: int = 60
    late: int = 8
    loads: tuple[float, ...] = (0.3, 0.6, 0.9)
    seed: int = 0


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Start all systems beside each other, each with lists of its own, and let them work in turn.

    Raises:
        BenchmarkError: something does not start, or a task is not answered.
        LaunchError: the server did not come up.
    """
    facts = report.machine()
    task = progress.add_task("starting Redis, two servers, two bridges and two old workers", total=None)
    runs: list[dict[str, Any]] = []
    with ExitStack() as stack:
        client, url = stack.enter_context(_redis())
        made = stack.enter_context(lama.subject(settings.size, threads=settings.threads, seed=settings.seed))
        lists = {name: (f"{name}:short", f"{name}:long") for name in SYSTEMS}
        for name, profile in SERVED.items():
            server = stack.enter_context(lama.serve(made, profile))
            with Client(server.grpc_url) as triton:
                release = triton.status().version
            stack.enter_context(_bridge(url, server.grpc_url, lists[name]))
        for name, runtime in ((OLD_EAGER, "eager"), (OLD_ONNXRUNTIME, "onnxruntime")):
            stack.enter_context(_old_worker(url, made, runtime, lists[name], settings.threads))
        traffic = Traffic(client)
        for name in SYSTEMS:  # thread pools, allocators, and Triton's first batches
            traffic.run(lists[name], burst(8, LONG_SHARE, 1), 600)

        def run(scenario: str, arrivals: Sequence[Arrival]) -> dict[str, float]:
            """Throughput by system."""
            found = {}
            for name in SYSTEMS:
                progress.update(task, description=f"{scenario}: {name}")
                waits = traffic.run(lists[name], arrivals, 900)
                runs.append({"scenario": scenario, "system": name, "waits": [_plain(wait) for wait in waits]})
                found[name] = throughput(waits)
                progress.advance(task)
            return found

        progress.update(task, total=len(SYSTEMS) * (3 + len(settings.loads)))
        gaps = [Arrival(4.0 * number + 0.37 * (number % 3), False) for number in range(settings.lone)]
        run("lone", gaps)
        capacity = min(run("burst", burst(settings.burst, LONG_SHARE, settings.seed)).values())
        for load in settings.loads:
            run(f"{load:.0%}", poisson(load * capacity, settings.random, LONG_SHARE, settings.seed))
        late = [Arrival(2.0 * number + 1, False) for number in range(settings.late)]
        run("starvation", [Arrival(0.0, True)] * settings.backlog + late)
    return {
        "benchmark": "batching",
        "machine": facts,
        "versions": {**report.versions(release), "redis": version("redis")},
        "commit": report.commit(),
        "settings": {**asdict(settings), "short": SHORT, "long": LONG, "capacity": round(capacity, 4)},
        "runs": runs,
    }


def _plain(wait: Wait) -> list[Any]:
    return [wait.at, wait.seconds, "long" if wait.is_long else "short"]


def throughput(waits: Sequence[Wait]) -> float:
    """Answers a second, from the first push to the last answer."""
    return len(waits) / (max(wait.at + wait.seconds for wait in waits) - min(wait.at for wait in waits))


@contextmanager
def _redis() -> Iterator[tuple[Any, str]]:
    binary = shutil.which("redis-server")
    if binary is None:
        raise BenchmarkError("redis-server is missing: apt-get install redis-server")
    (port,) = free_ports(1)
    with TemporaryDirectory(prefix="atelier-perf-") as folder:
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        with _process(command):
            url = f"redis://127.0.0.1:{port}/0"
            client = redis.Redis.from_url(url)
            _until(lambda: _answers(client), "redis-server")
            yield client, url


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextmanager
def _bridge(url: str, triton: str, lists: tuple[str, str]) -> Iterator[None]:
    options = [f"--redis-url={url}", f"--url={triton}", f"--short-queue={lists[0]}"]
    command = [sys.executable, "-m", "clients.redis_bridge", *options, f"--long-queue={lists[1]}"]
    with _process([*command, "--log-level=ERROR"]):
        yield


@contextmanager
def _old_worker(url: str, made: lama.Subject, runtime: str, lists: tuple[str, str], threads: int) -> Iterator[None]:
    options = [f"--redis-url={url}", f"--runtime={runtime}", f"--threads={threads}", "--lists", *lists]
    folders = [f"--checkpoint={made.checkpoint}", f"--repository={made.repository}"]
    with _process([sys.executable, "-m", "perf.old_worker", *options, *folders], subprocess.PIPE) as process:
        line = process.stdout.readline().decode().strip()
        if line != old_worker.READY:
            raise BenchmarkError(f"The old worker did not start ({runtime}).")
        yield


@contextmanager
def _process(command: Sequence[str], stdout: int = subprocess.DEVNULL) -> Iterator[Any]:
    process = subprocess.Popen(command, cwd=checkout.root(), stdout=stdout)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(condition: Callable[[], bool], what: str, patience: float = 20.0) -> None:
    deadline = monotonic() + patience
    while not condition():
        if monotonic() > deadline:
            raise BenchmarkError(f"{what} does not answer.")
        sleep(0.05)


def summary(waits: Sequence[Sequence[Any]]) -> dict[str, float]:
    """What a run comes to: seconds, but for the throughput.

    Args:
        waits: for each task: when it was pushed, how long it waited for its answer, and from which list.
    """
    seconds = [wait[1] for wait in waits]
    worst = {name: max((wait[1] for wait in waits if wait[2] == name), default=0.0) for name in ("short", "long")}
    last = max(wait[0] + wait[1] for wait in waits)
    p50, p95, p99 = (float(np.quantile(seconds, share)) for share in (0.5, 0.95, 0.99))
    rate = len(waits) / (last - min(wait[0] for wait in waits))
    return {"throughput": rate, "p50": p50, "p95": p95, "p99": p99, **{f"worst_{k}": v for k, v in worst.items()}}


GOALS = (
    ("a lone request is answered sooner, times", "lone", "p50", 5.0),
    ("p95 at 60 % of capacity is lower, times", "60%", "p95", 2.0),
    ("burst throughput, times", "burst", "throughput", 1.2),
    ("a short page behind a full long list waits less, times", "starvation", "worst_short", 1.0),
)
"""What was aimed for: words, scenario, figure, ratio."""


def goals(document: Mapping[str, Any]) -> list[tuple[str, float, float, float]]:
    """What was found beside what was aimed for, larger is better.

    Returns:
        Words; the ratio on the same runtime, which is batching's; the ratio of the worker as it was (eager PyTorch) to
        what is shipped for a CPU (OpenVINO); the ratio wanted.
    """
    found = {(run["scenario"], run["system"]): summary(run["waits"]) for run in document["runs"]}

    def ratio(scenario: str, figure: str, old: str, new: str) -> float:
        quotient = found[scenario, old][figure] / found[scenario, new][figure]
        return 1 / quotient if figure == "throughput" else quotient

    return [
        (
            words,
            ratio(scenario, figure, OLD_ONNXRUNTIME, BRIDGE_ONNXRUNTIME),
            ratio(scenario, figure, OLD_EAGER, BRIDGE_OPENVINO),
            wanted,
        )
        for words, scenario, figure, wanted in GOALS
        if (scenario, OLD_ONNXRUNTIME) in found
    ]


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read."""
    settings, facts = document["settings"], document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    short, long = (" × ".join(map(str, settings[name])) for name in ("short", "long"))
    lines = [
        f"# Batching: the bridge against the old worker, `lama`, {settings['size']}",
        f"`python -m perf batching`, commit {document['commit']}, on {report.describe(facts)}; load average at the "
        f"start {facts['load_average_at_start']}. {versions}.",
        f"Short pages of {short}, long ones of {long} (a quarter of what the old producers made), {LONG_SHARE:.0%} of "
        f"them long; {settings['threads']} thread(s) each. What is served has the instances that it ships with: "
        "one of ONNX Runtime, whose configuration serves GPUs too, two of OpenVINO. Capacity, "
        f"{settings['capacity']:.2f} pages a second, is the slowest system's throughput in the burst; random arrivals "
        "(Poisson) come at shares of it, the same for all four, one after another. Seconds are from the push to the "
        "notice of the answer.",
        "## The bridge against the old worker",
        "Both on ONNX Runtime, which shows what batching does; and the worker as it was, on eager PyTorch, against "
        "what is shipped for a CPU, OpenVINO.",
        report.table(
            ["", "same runtime", "as it was, as shipped", "aimed for"],
            [[words, f"{same:.2f}", f"{shipped:.2f}", f"{g:.1f}"] for words, same, shipped, g in goals(document)],
        ),
    ]
    titles = {
        "lone": f"{settings['lone']} lone requests, some 4 s apart",
        "burst": f"A burst of {settings['burst']}",
        **{
            f"{load:.0%}": f"Random arrivals, {load:.0%} of capacity, {settings['random']} requests"
            for load in settings["loads"]
        },
        "starvation": f"{settings['backlog']} long pages wait, and every 2 s a short one comes",
    }
    for scenario, title in titles.items():
        rows = []
        for run in document["runs"]:
            if run["scenario"] == scenario:
                figures = summary(run["waits"])
                rows.append([TITLES[run["system"]], *(f"{figures[name]:.2f}" for name in _COLUMNS)])
        lines += [f"## {title}", report.table(["", *_COLUMNS.values()], rows)]
    return "\n\n".join(lines) + "\n"


_COLUMNS = {
    "throughput": "a second",
    "p50": "p50 s",
    "p95": "p95 s",
    "p99": "p99 s",
    "worst_short": "worst, short",
    "worst_long": "worst, long",
}
