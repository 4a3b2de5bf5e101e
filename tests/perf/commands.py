"""The command line of the benchmarks, run small."""

import json
import subprocess
import sys

from tests.conftest import ROOT


def perf(*arguments, timeout=800):
    command = [sys.executable, "-m", "perf", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


def written(name, folder, *arguments):
    """Run a benchmark that must succeed: its document and its page."""
    run = perf(*arguments, "--output", str(folder))
    assert run.returncode == 0, run.stderr
    return json.loads((folder / f"{name}.json").read_text("utf-8")), (folder / f"{name}.md").read_text("utf-8")
