"""NVIDIA's perf_analyzer: its binary from the last wheel that holds one for this glibc, and its figures."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from atelier import access
from atelier.serving import checkout, embedded, wheels
from perf.measure import BenchmarkError
from perf.statistics import page

WHEEL = "tritonclient==2.51.0"
"""From 2.58 on the wheel holds no binary any more; those between need a newer glibc than Debian 12's."""
WHEEL_SHA256 = "c485bb0123bdf310f90bc8b03d3489b28df2ffed55b30c7eee0b795b48113d52"
LIBRARIES = ("libb64.so.0d", "libcudart.so.12")
"""What the binary is linked against; the embedded server brings both, under names of their own."""

MICROSECONDS = 1e-6
AGREEMENT = 15  # percent
UNSTABLE = "Failed to obtain stable measurement"
TOO_SHORT = "use a larger time window"
LONGEST = 120.0  # seconds of a window
_TIMES = {
    "average": "Avg latency",
    "p50": "p50 latency",
    "p95": "p95 latency",
    "p99": "p99 latency",
    "queue": "Server Queue",
    "compute_input": "Server Compute Input",
    "compute_infer": "Server Compute Infer",
    "compute_output": "Server Compute Output",
}


@dataclass(frozen=True)
class Load:
    """How requests are sent.

    Attributes:
        protocol: ``grpc`` or ``http``.
        shared_memory: bytes of shared memory for the outputs, or 0: tensors in messages.
        concurrency: requests that are under way at all times; 0 where a rate is given.
        rate: requests a second on average, at random (Poisson); 0 where a concurrency is given.
    """

    protocol: str
    shared_memory: int
    concurrency: int = 0
    rate: float = 0.0

    @property
    def arguments(self) -> list[str]:
        """As the binary takes them."""
        words = ["-i", self.protocol, "--shared-memory", "system" if self.shared_memory else "none"]
        if self.shared_memory:
            words.append(f"--output-shared-memory-size={self.shared_memory}")
        if self.concurrency:
            return [*words, f"--concurrency-range={self.concurrency}"]
        return [*words, f"--request-rate-range={self.rate:g}", "--request-distribution=poisson"]


def install() -> Path:
    """The binary, which is fetched and unpacked where it is not there yet.

    Raises:
        InvalidInput: pip failed.
        BenchmarkError: the embedded server, whose libraries it needs, is not there.
    """
    folder = checkout.tools() / f"perf_analyzer-{WHEEL.partition('==')[2]}"
    binary = folder / "bin" / "perf_analyzer"
    if not binary.is_file():
        wheels.unpack("perf_analyzer", WHEEL, WHEEL_SHA256, folder)
    for name in LIBRARIES:
        stem = name.partition(".")[0]
        found = sorted(embedded.locate().libraries.glob(f"{stem}-*.so.*"))
        if not found:
            raise BenchmarkError(
                f"{name}, which perf_analyzer needs, comes with the embedded server: run `make serve`."
            )
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(found[0])
    binary.chmod(0o755)
    return binary


class Analyzer:
    """One model of one server, under loads.

    Args:
        model: its name.
        grpc_url: the server's, without a scheme.
        http_url: the server's, with one.
        tensors: how to make inputs: ``--shape=…`` or ``--input-data=…``.
        seconds: of one window; three that agree are a measurement.
        windows: at most, until three agree.
    """

    def __init__(
        self, model: str, grpc_url: str, http_url: str, tensors: Sequence[str], *, seconds: float, windows: int = 10
    ) -> None:
        self._binary, self._model, self._tensors = install(), model, list(tensors)
        self._urls = {"grpc": grpc_url, "http": http_url.removeprefix("http://")}
        self._page = page(http_url, model)
        self._key = access.find(urlsplit(http_url).port or 0) or ""
        self._seconds, self._windows = seconds, windows

    def run(self, load: Load) -> dict[str, Any]:
        """Send requests until three windows agree within 15 %, or all have passed.

        Returns:
            ``throughput`` in inferences a second; ``p50``, ``p95``, ``p99``, ``average``, ``queue`` and the steps of
            computing in seconds; ``mean_batch``; ``stable``, whether the windows agreed.

        Raises:
            BenchmarkError: perf_analyzer failed.
        """
        before = self._counts()
        seconds, row, words = self._patiently(load, self._seconds, AGREEMENT, self._windows)
        stable = row is not None
        if row is None and UNSTABLE in words:  # it writes nothing then: a few windows more, whatever they say
            seconds, row, words = self._patiently(load, seconds, 1000, 10)
            while row is None and UNSTABLE in words and seconds < LONGEST:  # windows without a request agree with none
                seconds, row, words = self._patiently(load, 4 * seconds, 1000, 10)
        if row is None:
            raise BenchmarkError(f"perf_analyzer failed: {words}")
        after = self._counts()
        executions = max(after["execution_count"] - before["execution_count"], 1)
        mean_batch = (after["inference_count"] - before["inference_count"]) / executions
        return {**_figures(row), "mean_batch": round(mean_batch, 3), "stable": stable}

    def _patiently(
        self, load: Load, seconds: float, agreement: int, trials: int
    ) -> tuple[float, dict[str, str] | None, str]:
        """A measurement, with longer windows where no request fits into one; and how long they were."""
        row, words = self._measured(load, seconds, agreement, trials)
        while row is None and TOO_SHORT in words and seconds < LONGEST:
            seconds *= 4
            row, words = self._measured(load, seconds, agreement, trials)
        return seconds, row, words

    def _measured(self, load: Load, seconds: float, agreement: int, trials: int) -> tuple[dict[str, str] | None, str]:
        """The report's last row, or nothing and what perf_analyzer says of it."""
        with TemporaryDirectory(prefix="atelier-perf-") as folder:
            report = Path(folder) / "report.csv"
            command = [str(self._binary), "-m", self._model, "-u", self._urls[load.protocol], *load.arguments]
            header = access.GRPC_HEADER if load.protocol == "grpc" else access.HTTP_HEADER
            command += ["-H", f"{header}:{self._key}"]  # it asks for statistics, and registers segments
            command += [*self._tensors, f"--measurement-interval={seconds * 1000:.0f}", "-f", str(report)]
            command += [f"--stability-percentage={agreement}", f"--max-trials={trials}", "--verbose-csv"]
            run = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
            rows = list(csv.DictReader(report.read_text("utf-8").splitlines())) if report.is_file() else []
        said = [line.strip() for line in (run.stdout + run.stderr).splitlines() if line.strip()]
        known = next((line for line in said if UNSTABLE in line or TOO_SHORT in line), "")
        return (rows[-1] if rows and not run.returncode else None), known or (said or ["no reason given"])[-1]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "LD_LIBRARY_PATH": str(self._binary.parents[1])}

    def _counts(self) -> dict[str, int]:
        with urllib.request.urlopen(self._page, timeout=10) as reply:
            entries = json.load(reply)["model_stats"]
        return {name: sum(int(entry[name]) for entry in entries) for name in ("inference_count", "execution_count")}


def _figures(row: Mapping[str, str]) -> dict[str, Any]:
    times = {name: round(float(row[column]) * MICROSECONDS, 6) for name, column in _TIMES.items() if row.get(column)}
    return {"throughput": float(row["Inferences/Second"]), **times}
