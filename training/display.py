"""What a run shows: a bar on a terminal, a line of text now and then elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from training import log

_SHOWN = ("total", "hole", "known", "gradient", "frequency", "adversarial", "features", "discriminator", "r1")


class Display:
    """A `training.loop.Listener` that writes to a console.

    Args:
        console: Where to; a bar is drawn if it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            MofNCompleteColumn(),
            BarColumn(30),
            TextColumn("{task.fields[left]} {task.fields[text]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None, left="", text="")

    @contextmanager
    def shown(self) -> Iterator[Display]:
        """Show it meanwhile."""
        with self._progress:
            yield self

    def begin(self, step: int, total: int) -> None:
        """See `training.loop.Listener.begin`."""
        self._progress.update(self._task, total=total, completed=step)
        if step:
            self._console.print(f"going on after step {step} of {total}", highlight=False)

    def progress(self, step: int, record: log.Record | None, seconds_left: float | None) -> None:
        """See `training.loop.Listener.progress`."""
        left = "" if seconds_left is None else f"{timedelta(seconds=round(seconds_left))} left"
        self._progress.update(self._task, completed=step, left=left)
        if record is None:
            return
        if record["event"] == "validation":
            text = f"validation: L1 {record['l1']:.4f}, PSNR {record['psnr']:.2f} dB"
            self._console.print(f"step {step}: {text}", highlight=False, soft_wrap=True)
            return
        parts = " ".join(f"{name} {record[name]:.4g}" for name in _SHOWN if name in record)
        text = f"{parts} · {record['samples_per_second']:.1f} samples/s"
        self._progress.update(self._task, text=text)
        if not self._console.is_terminal:
            self._console.print(f"step {step}: {text} · {left}", highlight=False, soft_wrap=True)
