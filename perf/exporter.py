"""The exporter's commands, as benchmarks run them."""

from __future__ import annotations

import subprocess
import sys

from atelier.serving import checkout
from perf.measure import BenchmarkError


def run_export(*arguments: str) -> None:
    """Run ``python -m export``: in a process of its own, so that it leaves no threads or memory in this one.

    Raises:
        BenchmarkError: the exporter failed.
    """
    command = [sys.executable, "-m", "export", *arguments]
    run = subprocess.run(command, cwd=checkout.root(), capture_output=True, text=True, check=False)
    if run.returncode:
        raise BenchmarkError(f"The exporter failed: {' '.join(run.stderr.split())}")
