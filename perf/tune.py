"""A model's configuration, tried out on a running server: what comes out is a ``config.pbtxt`` to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from google.protobuf import json_format, text_format
from rich.progress import Progress
from tritonclient.grpc import InferenceServerClient, model_config_pb2
from tritonclient.utils import InferenceServerException

from atelier import access
from atelier.client import Client
from atelier.serving.repository import parse_config
from perf import lama, report
from perf.analyzer import Analyzer, Load
from perf.measure import BenchmarkError

GAIN = 1.03
"""A value takes the place of another where it brings this much more: less is noise on most machines."""
PRICE = 1.1
"""What a lone request may take longer at most than with the configuration that answers it soonest."""


@dataclass(frozen=True)
class Choice:
    """What is tried.

    Attributes:
        instances: processes, each with the network.
        threads: of the runtime, in each.
        max_batch: pictures.
        delay: microseconds that a batch waits for company.
    """

    instances: int
    threads: int
    max_batch: int
    delay: int

    @property
    def words(self) -> str:
        """To read."""
        return f"{self.instances} × {self.threads} thread(s), batch {self.max_batch}, {self.delay} µs"


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        size: the network, ``mini`` or ``full``.
        side: pixels of the square pictures.
        concurrency: requests under way when throughput is measured.
        instances, threads, batches, delays: values to try.
        seconds: of one window.
        windows: at most, until three agree.
        seed: of weights.
    """

    size: str
    side: int
    concurrency: int
    instances: tuple[int, ...]
    threads: tuple[int, ...]
    batches: tuple[int, ...]
    delays: tuple[int, ...]
    seconds: float
    windows: int
    seed: int = 0


@dataclass
class Trials:
    """What was measured so far, by choice."""

    found: dict[Choice, dict[str, Any]] = field(default_factory=dict)

    def better(self, new: Choice, old: Choice) -> bool:
        """Whether a choice brings more throughput, at a lone request's price that is not too high."""
        soonest = min(figures["alone"] for figures in self.found.values())
        if self.found[new]["alone"] > PRICE * soonest:
            return False
        if self.found[old]["alone"] > PRICE * soonest:
            return True
        return bool(self.found[new]["throughput"] > GAIN * self.found[old]["throughput"])


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Begin with the shipped configuration, and change one value at a time, keeping what is better.

    Raises:
        BenchmarkError: perf_analyzer failed, or the server refuses a configuration.
        LaunchError: the server did not come up.
    """
    facts = report.machine()
    values = {
        "instances": settings.instances,
        "threads": settings.threads,
        "max_batch": settings.batches,
        "delay": settings.delays,
    }
    task = progress.add_task("starting Triton", total=1 + sum(len(tried) - 1 for tried in values.values()))
    trials = Trials()
    with lama.subject(settings.size, threads=report.cores(), seed=settings.seed) as made, lama.serve(made) as server:
        shipped = parse_config(made.config(server.options.profile))
        shape = [f"--shape=IMAGE:{settings.side},{settings.side},3", f"--shape=MASK:{settings.side},{settings.side}"]
        window = {"seconds": settings.seconds, "windows": settings.windows}
        analyzer = Analyzer(lama.MODEL, server.grpc_url, server.http_url, shape, **window)
        with Client(server.grpc_url) as client:
            release = client.status().version

        def attempt(choice: Choice) -> None:
            if choice in trials.found:
                return
            progress.update(task, description=choice.words)
            _load(server.grpc_url, configure(shipped, choice))
            alone = analyzer.run(Load("grpc", 0, concurrency=1))
            loaded = analyzer.run(Load("grpc", 0, concurrency=settings.concurrency))
            trials.found[choice] = {
                "alone": alone["p50"],
                **{k: loaded[k] for k in ("throughput", "p95", "mean_batch")},
            }
            progress.advance(task)

        delay = shipped.dynamic_batching.max_queue_delay_microseconds
        best = start = Choice(shipped.instance_group[0].count, report.cores(), shipped.max_batch_size, delay)
        attempt(start)
        for name, tried in values.items():
            for value in tried:
                choice = replace(best, **{name: value})
                attempt(choice)
                if trials.better(choice, best):
                    best = choice
    return {
        "benchmark": "tune",
        "machine": facts,
        "versions": report.versions(release),
        "commit": report.commit(),
        "settings": {**asdict(settings), "device": "CPU", "gain": GAIN, "price": PRICE},
        "trials": [{**asdict(choice), **figures} for choice, figures in trials.found.items()],
        "shipped": asdict(start),
        "best": asdict(best),
        "config": text_format.MessageToString(configure(shipped, best)),
    }


def configure(shipped: Any, choice: Choice) -> Any:
    """The shipped configuration with other values."""
    config = model_config_pb2.ModelConfig()
    config.CopyFrom(shipped)
    config.instance_group[0].count = choice.instances
    config.max_batch_size = choice.max_batch
    config.dynamic_batching.max_queue_delay_microseconds = choice.delay
    for name in lama.THREADS[config.backend]:
        config.parameters[name].string_value = str(choice.threads)
    return config


def _load(url: str, config: Any) -> None:
    """Have the server load the model again, with this configuration in place of its file."""
    body = json_format.MessageToDict(config, preserving_proto_field_name=True)
    headers = {access.GRPC_HEADER: access.find(int(url.rpartition(":")[2])) or ""}
    with InferenceServerClient(url) as client:
        try:
            client.load_model(lama.MODEL, config=json.dumps(body), client_timeout=300, headers=headers)
        except InferenceServerException as error:
            raise BenchmarkError(f"The server refuses a configuration: {error.message()}") from None


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read."""
    settings, facts = document["settings"], document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    names = ("instances", "threads", "max_batch", "delay")
    rows = []
    for trial in document["trials"]:
        choice = {name: trial[name] for name in names}
        mark = {True: "**best**", False: ""}[choice == document["best"]]
        mark += " (shipped)" if choice == document["shipped"] else ""
        cells = [f"{trial['alone'] * 1e3:.1f}", f"{trial['throughput']:.2f}", f"{trial['p95'] * 1e3:.0f}"]
        rows.append([mark.strip(), *(str(choice[name]) for name in names), *cells, f"{trial['mean_batch']:.2f}"])
    headings = ["instances", "threads", "max batch", "delay µs", "alone ms", "a second", "p95 ms", "mean batch"]
    lines = [
        f"# Tuning: `lama`, {settings['size']}",
        f"`python -m perf tune lama`, commit {document['commit']}, on {report.describe(facts)}; load average at the "
        f"start {facts['load_average_at_start']}. {versions}.",
        f"perf_analyzer, {settings['side']} × {settings['side']}, gRPC: a lone request's median, then throughput and "
        f"p95 of {settings['concurrency']} requests under way. One value is changed at a time; it is kept where "
        f"throughput rises by {GAIN - 1:.0%} and a lone request takes at most {PRICE - 1:.0%} longer than the soonest.",
        report.table(["", *headings], rows),
        "## What comes out",
        f"```\n{document['config'].strip()}\n```",
    ]
    return "\n\n".join(lines) + "\n"
