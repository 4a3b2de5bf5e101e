"""What a run leaves to read: a line of JSON every now and then, and a picture of them.

A line has ``event``: ``train``, the means since the last such line, or ``validation``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.settings import Settings

NAME = "log.jsonl"
CURVE = "curve.png"
Record = dict[str, Any]

_SMOOTHING = 0.9  # decay of the moving mean of the curves, per line
_PARTS = ("hole", "known", "gradient", "frequency")
_ADVERSARIAL = ("adversarial", "features", "discriminator", "r1")


def read(folder: Path) -> list[Record]:
    """All lines of a run's log; none where there is no log, and without a last line that was cut off."""
    file = folder / NAME
    if not file.is_file():
        return []
    records = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


class Log:
    """The log of a run, written line by line.

    Args:
        folder: The run's.
        step: Lines of later steps are dropped: the run that goes on from here writes them anew.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.records = [record for record in read(folder) if record["step"] <= step]
        self._file = (folder / NAME).open("w", encoding="utf-8")
        self._write(self.records)

    def add(self, event: str, values: Mapping[str, object]) -> Record:
        """Append a line, and return it."""
        rounded = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in values.items()}
        record: Record = {"event": event, **rounded}
        self.records.append(record)
        self._write([record])
        return record

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, records: Iterable[Record]) -> None:
        for record in records:
            self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def draw(records: Sequence[Record], settings: Settings, path: Path) -> None:
    """Draw the curves of a log as PNG: the losses, the adversarial ones, and the validation; stages parted by lines."""
    # Without pyplot: its figures and its choice of a window belong to the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 12), layout="constrained")
    FigureCanvasAgg(figure)
    above, middle, below = figure.subplots(3, 1, sharex=True)
    trained = [record for record in records if record["event"] == "train"]
    validated = [record for record in records if record["event"] == "validation"]
    for axes, names in ((above, _PARTS), (middle, _ADVERSARIAL)):
        for name in names:
            steps, values = _series(trained, name)
            if steps:
                axes.plot(steps, _smoothed(values), label=name)
    steps, values = _series(validated, "l1")
    if steps:
        above.plot(steps, values, "k.-", label="hole, validation")
    ratio = below.twinx()
    for axes, name, colour in ((below, "psnr", "C0"), (ratio, "l1", "C1")):
        steps, values = _series(validated, name)
        axes.plot(steps, values, ".-", color=colour)
        axes.set_ylabel({"psnr": "validation PSNR in dB", "l1": "validation L1"}[name], color=colour)
    for axes, title in ((above, "losses"), (middle, "adversarial")):
        axes.set_ylabel(title)
        if axes.lines:
            axes.set_yscale("log")
            axes.legend(loc="upper right")
    boundary = 0
    for stage in settings.stages[:-1]:
        boundary += stage.steps
        for axes in (above, middle, below):
            axes.axvline(boundary, color="grey", linestyle=":")
    below.set_xlabel("step")
    below.set_xlim(0, max([1, *(record["step"] for record in records)]))
    unfinished = path.with_suffix(".unfinished")
    figure.savefig(unfinished, format="png", dpi=80)
    unfinished.replace(path)


def _series(records: Sequence[Record], name: str) -> tuple[list[int], list[float]]:
    found = [(record["step"], record[name]) for record in records if record.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]


def _smoothed(values: Sequence[float]) -> list[float]:
    """A moving mean that is not drawn towards its first value."""
    smooth, total, share = [], 0.0, 0.0
    for value in values:
        total = _SMOOTHING * total + (1 - _SMOOTHING) * value
        share = _SMOOTHING * share + (1 - _SMOOTHING)
        smooth.append(total / share)
    return smooth
