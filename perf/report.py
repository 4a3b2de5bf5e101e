"""Results as files: JSON with every sample, Markdown to read; neither names the machine or its folders."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from perf.measure import Summary

RESULTS = Path(__file__).resolve().parent / "results"
LIBRARIES = ("numpy", "torch", "onnxruntime", "tritonclient")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, Any]:
    """What the times depend on, and nothing that tells whose machine it is."""
    import torch  # seconds, which a command that is refused does not wait for

    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": cores(),
        "memory_gib": round(int((_field(Path("/proc/meminfo"), "MemTotal") or "0 kB").split()[0]) / 2**20, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.system(),
        # More than a little here, and something else was running.
        "load_average_at_start": round(os.getloadavg()[0], 2),
    }


def describe(facts: Mapping[str, Any]) -> str:
    """A `machine` in a few words."""
    count, gpu = facts["cores"], facts["gpu"] or "no GPU"
    return f"{count} core{'s' * (count != 1)} of {facts['cpu']}, {facts['memory_gib']} GiB of memory, {gpu}"


def versions(triton: str | None = None) -> dict[str, str]:
    """The versions of what is measured.

    Args:
        triton: the server's, which it tells itself; ``None`` where none was measured.
    """
    server = {} if triton is None else {"triton": triton}
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}, **server}


def commit(folder: Path = RESULTS.parent) -> str | None:
    """The checkout's commit, with ``-dirty`` behind it where tracked files are changed; None where there is no git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def milliseconds(seconds: Summary) -> str:
    """Median and extremes of times."""
    return f"{_number(seconds.median * 1e3)} ({_number(seconds.minimum * 1e3)} – {_number(seconds.maximum * 1e3)})"


def ratio(values: Summary) -> str:
    """Median and quartiles of ratios."""
    return f"{values.median:.2f} ({values.q1:.2f} – {values.q3:.2f})"


def percent(shares: Summary) -> str:
    """Median and quartiles of shares, with their sign."""
    return f"{shares.median:+.1%} ({shares.q1:+.1%} – {shares.q3:+.1%})"


def write(document: Mapping[str, Any], markdown: str, output: Path, name: str) -> tuple[Path, Path]:
    """Write ``name.json`` and ``name.md``.

    Args:
        document: everything that was found; numbers, texts, lists and mappings.
        markdown: the same to read.
        output: the folder, which is made where it is missing.
        name: the files' name without ending.

    Returns:
        The two files.
    """
    output.mkdir(parents=True, exist_ok=True)
    files = output / f"{name}.json", output / f"{name}.md"
    files[0].write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    files[1].write_text(markdown, encoding="utf-8")
    return files


def _number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _field(file: Path, name: str) -> str | None:
    """The first value of a field in a file of ``name: value`` lines."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = (line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name)
    return next(found, None)
