"""Hours of mixed traffic on a supervised server: what stays in memory, what is refused, how long answers take.

With a kill, one of ``inpaint``'s processes is ended a quarter into the time, and how soon that is noticed and mended is
measured too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
from matplotlib.figure import Figure
from rich.progress import Progress

from atelier.client import Client
from atelier.serving import checkout, stubs
from atelier.serving.leftovers import REGIONS, SHARED_MEMORY
from atelier.serving.ports import free_ports
from perf import report, soak_traffic
from perf.measure import BenchmarkError

MIB = 2**20
KILLED_AT = 0.25
"""Share of the time after which a process is killed."""
EARLY, LATE = (0.4, 0.6), (0.8, 1.0)
"""Shares of the time that are compared: memory that grows between them grows for ever."""
MOST_GROWTH = {"server": 64.0, "stubs": 64.0, "shared": 1.0}
"""MiB by which memory may grow between them: what allocators keep of ever new sizes levels off within that."""
TITLES = {"server": "Triton", "stubs": "Python processes", "shared": "/dev/shm"}
NOTICED = 15.0
"""Seconds within which a killed process is to be noticed."""
PATIENCE = 300.0
"""Seconds that a start may take."""


@dataclass(frozen=True)
class Settings:
    """What is done.

    Attributes:
        minutes: of traffic.
        callers: calls under way.
        kill: whether a process of ``inpaint`` is killed.
        interval: seconds between two looks at the memory.
        seed: of pictures and of what is sent.
    """

    minutes: float
    callers: int
    kill: bool
    interval: float = 2.0
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """Memory at one time: MiB of the server, of its Python processes, and of their shared memory."""

    seconds: float
    server: float
    stubs: float
    shared: float


class Serving:
    """``atelier serve`` in a process of its own, with ``inpaint``.

    Args:
        process: the launcher.
        grpc_url: the server's.
        health_url: the launcher's own answer to probes.
    """

    def __init__(self, process: subprocess.Popen[bytes], grpc_url: str, health_url: str) -> None:
        self.grpc_url, self._process, self._health_url = grpc_url, process, health_url

    def health(self) -> int:
        """Status of the probe; 0 where nothing listens."""
        try:
            with urlopen(self._health_url, timeout=10) as reply:
                return int(reply.status)
        except HTTPError as error:
            return error.code
        except OSError:
            return 0

    def server(self) -> int | None:
        """The number of Triton's process, while there is one."""
        pid = self._process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        except OSError:  # the launcher has ended
            return None
        return int(children[0]) if children else None

    def is_alive(self) -> bool:
        """Whether the launcher runs."""
        return self._process.poll() is None

    def sample(self, seconds: float) -> Sample | None:
        """Memory now; nothing while there is no server."""
        if (server := self.server()) is None:
            return None
        shared = sum(_blocks(path) for path in SHARED_MEMORY.glob(f"{REGIONS}*_{self._process.pid}_*"))
        python = sum(_resident(stub.pid) for stub in stubs.running(server))
        return Sample(round(seconds, 1), round(_resident(server), 1), round(python, 1), round(shared / MIB, 1))

    def kill_one(self) -> None:
        """End one of ``inpaint``'s processes, as the system does where memory is short."""
        victims = [stub.pid for stub in stubs.running(self.server() or 0) if stub.model == "inpaint"]
        os.kill(victims[0], signal.SIGKILL)


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Serve, send, look.

    Raises:
        BenchmarkError: the server did not come up.
    """
    facts = report.machine()
    task = progress.add_task("starting Triton", total=None)
    seconds = settings.minutes * 60
    samples: list[Sample] = []
    fault: dict[str, float] = {}
    with _serving() as serving:
        with Client(serving.grpc_url) as client:
            triton = client.status().version
        progress.update(task, description=f"{settings.callers} callers", total=int(seconds))
        started, ended = perf_counter(), threading.Event()

        def look() -> None:
            while not ended.wait(settings.interval):
                passed = perf_counter() - started
                if (sample := serving.sample(passed)) is not None:
                    samples.append(sample)
                progress.update(task, completed=min(int(passed), int(seconds)))

        def harm() -> None:
            if not ended.wait(seconds * KILLED_AT):
                fault.update(_kill(serving, ended))

        threads = [threading.Thread(target=what) for what in (look, *([harm] if settings.kill else []))]
        for thread in threads:
            thread.start()
        try:
            found = asyncio.run(soak_traffic.send(serving.grpc_url, seconds, settings.callers, settings.seed, started))
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        alive = serving.is_alive()
    document = {
        "benchmark": "soak",
        "machine": facts,
        "versions": report.versions(triton),
        "commit": report.commit(),
        "settings": {**asdict(settings), "shares": soak_traffic.SHARES, "sides": soak_traffic.SIDES, "device": "CPU"},
        "outcomes": {kind: dict(counts) for kind, counts in found.outcomes.items()},
        "errors": dict(found.errors),
        "fault": fault,
        "growth_mib": growth(samples, seconds),
        "samples": [asdict(sample) for sample in samples],
        "answers": found.answered,
    }
    return document | {"failed": failures(document, alive=alive)}


def failures(document: Mapping[str, Any], *, alive: bool) -> list[str]:
    """What did not hold, a sentence each.

    Args:
        document: of a run.
        alive: whether the launcher ran to its end.
    """
    failed = [] if alive else ["The launcher ended."]
    if wrong := sum(counts.get("wrong", 0) for counts in document["outcomes"].values()):
        failed.append(f"{wrong} answers were wrong.")
    if not document["answers"]:
        failed.append("Nothing was answered.")
    for name, grown in document["growth_mib"].items():
        if grown > MOST_GROWTH[name]:
            failed.append(
                f"The memory of {TITLES[name]} grew by {grown:.0f} MiB; {MOST_GROWTH[name]:.0f} are accepted."
            )
    if document["settings"]["kill"]:
        if document["fault"].get("noticed", NOTICED + 1) > NOTICED:
            failed.append(f"The killed process was not noticed within {NOTICED:.0f} s.")
        if "mended" not in document["fault"]:
            failed.append("The service did not come back.")
    return failed


def growth(samples: Sequence[Sample], seconds: float) -> dict[str, float]:
    """By how many MiB the median of late samples is above that of earlier ones; nothing where either has none."""
    early, late = (
        [sample for sample in samples if first <= sample.seconds / seconds <= last] for first, last in (EARLY, LATE)
    )
    if not early or not late:
        return {}
    return {
        name: round(float(np.median([asdict(s)[name] for s in late]) - np.median([asdict(s)[name] for s in early])), 1)
        for name in ("server", "stubs", "shared")
    }


def _kill(serving: Serving, ended: threading.Event) -> dict[str, float]:
    """Seconds until a killed process is noticed, and until the service is back."""
    serving.kill_one()
    began, found = monotonic(), {}
    for name, wanted in (("noticed", 503), ("mended", 200)):
        while serving.health() != wanted and not ended.wait(0.2):
            pass
        if not ended.is_set():
            found[name] = round(monotonic() - began, 1)
    return found


@contextmanager
def _serving() -> Iterator[Serving]:
    http, grpc, metrics, health = free_ports(4)
    ports = [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}", f"--health-port={health}"]
    command = [sys.executable, "-c", "from atelier.cli import main; main()", "serve", "--models=inpaint", *ports]
    process = subprocess.Popen(command, cwd=checkout.root(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    serving = Serving(process, f"127.0.0.1:{grpc}", f"http://127.0.0.1:{health}/readyz")
    try:
        deadline = monotonic() + PATIENCE
        while serving.health() != 200:
            if process.poll() is not None or monotonic() > deadline:
                raise BenchmarkError("The server did not come up: `atelier serve --models inpaint` says why.")
            sleep(0.2)
        yield serving
    finally:
        process.terminate()
        process.wait(120)


def _resident(process: int) -> float:
    """MiB of a process that are its own: what it shares with others, and shared memory, are not counted."""
    try:
        lines = Path(f"/proc/{process}/status").read_text("ascii", "replace").splitlines()
    except OSError:  # it has just ended
        return 0.0
    found = [int(line.split()[1]) for line in lines if line.startswith("RssAnon:")]
    return found[0] / 1024 if found else 0.0


def _blocks(path: Path) -> int:
    """Bytes that a segment takes."""
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read."""
    settings, facts, fault = document["settings"], document["machine"], document["fault"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    lines = [
        "# Soak: `inpaint`",
        f"`python -m perf soak --minutes {settings['minutes']:g}`, commit {document['commit']}, on "
        f"{report.describe(facts)}; load average at the start {facts['load_average_at_start']}. {versions}.",
        f"{settings['callers']} callers over gRPC, each with the next call when the last has ended: "
        + ", ".join(f"{share:.0%} {kind}" for kind, share in settings["shares"].items())
        + f". Sides of {settings['sides'][0]} to {settings['sides'][1]} pixels, {soak_traffic.PICTURES} sizes. Every "
        "answer was compared with its picture outside of the hole.",
        report.table(["calls", *_outcomes(document)], _counts(document)),
    ]
    if seconds := [taken for _, taken in document["answers"]]:
        quantiles = np.quantile(seconds, (0.5, 0.95, 0.99, 1)) * 1e3
        headings = ["", "p50 ms", "p95 ms", "p99 ms", "longest ms"]
        lines.append(report.table(headings, [["good answers", *(f"{value:.0f}" for value in quantiles)]]))
    if settings["kill"]:
        noticed, mended = (f"{fault[name]:g} s" if name in fault else "not in time" for name in ("noticed", "mended"))
        lines.append(f"One of `inpaint`'s processes was killed (−9): noticed after {noticed}, service back {mended}.")
    lines.append(_memory(document))
    lines.append(
        "**Did not hold:** " + " ".join(document["failed"]) if document["failed"] else f"Held: {_limits(document)}."
    )
    if document["errors"]:
        lines += ["Failed with:", "\n".join(f"- {words} ({count})" for words, count in document["errors"].items())]
    return "\n\n".join(lines) + "\n"


def _limits(document: Mapping[str, Any]) -> str:
    """What is asked of a run."""
    memory = ", ".join(f"{TITLES[name]} {most:.0f}" for name, most in MOST_GROWTH.items())
    kill = f"a killed process noticed within {NOTICED:.0f} s and mended; " if document["settings"]["kill"] else ""
    return f"no wrong answer; {kill}growth of at most so many MiB: {memory}"


def _outcomes(document: Mapping[str, Any]) -> list[str]:
    return sorted({outcome for counts in document["outcomes"].values() for outcome in counts})


def _counts(document: Mapping[str, Any]) -> list[list[str]]:
    names = _outcomes(document)
    return [[kind, *(str(counts.get(name, 0)) for name in names)] for kind, counts in document["outcomes"].items()]


def _memory(document: Mapping[str, Any]) -> str:
    rows = []
    for name, title in TITLES.items():
        values = [sample[name] for sample in document["samples"]]
        grown = document["growth_mib"].get(name)
        peak = f"{max(values):.0f}" if values else ""
        last = f"{values[-1]:.0f}" if values else ""
        rows.append([title, peak, last, "" if grown is None else f"{grown:+.1f}"])
    early, late = (f"{first:.0%} to {last:.0%}" for first, last in (EARLY, LATE))
    headings = ["MiB", "highest", "at the end", f"median of {late} of the time, above that of {early}"]
    return report.table(headings, rows)


def plot(document: Mapping[str, Any], file: Path) -> None:
    """Memory and latency over time."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    minutes = [sample["seconds"] / 60 for sample in document["samples"]]
    for name, title in TITLES.items():
        above.plot(minutes, [sample[name] for sample in document["samples"]], label=title)
    above.set(ylabel="MiB", title="inpaint, mixed traffic")
    above.set_ylim(bottom=0)
    above.legend(fontsize="small")
    answers = document["answers"]
    below.plot([at / 60 for at, _ in answers], [taken * 1e3 for _, taken in answers], ".", markersize=2)
    below.set(xlabel="minutes", ylabel="latency of good answers, ms")
    below.set_ylim(bottom=0)
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)
