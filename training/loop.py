"""A whole run: from its settings to published weights, through interruptions.

The folder of a run holds ``state.pt``, ``log.jsonl``, ``curve.png``, ``samples/`` and, at its end, ``weights/``.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor

from training import batches, fonts, log, publish, state
from training.settings import Settings, SettingsError
from training.trainer import Trainer, rate
from training.validation import Validation

_FILES = (state.NAME, log.NAME, log.CURVE)
_FOLDERS = ("samples", "weights")


class Listener(Protocol):
    """Who is told how a run goes."""

    def begin(self, step: int, total: int) -> None:
        """A run begins, or goes on after ``step`` steps."""

    def progress(self, step: int, record: log.Record | None, seconds_left: float | None) -> None:
        """A step is done; with the log's newest line where there is one."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: Steps that are done.
        finished: Whether these are all; if not, a signal stopped the run.
        weights: The folder of the published weights of a finished run.
    """

    step: int
    finished: bool
    weights: Path | None


def train(settings: Settings, output: Path, listener: Listener, *, fresh: bool = False) -> Outcome:
    """Train until all steps are done, or until SIGINT or SIGTERM, and leave a state to go on from.

    Args:
        settings: What to train, and how.
        output: The run's folder. A run that stands there goes on, unless ``fresh``: then it is deleted.
        listener: Told of every step.
        fresh: Begin anew.

    Raises:
        SettingsError: The run that stands there has other settings, or there is no such device.
        InvalidInput: Fonts are missing.
        StateError: The state that stands there cannot be read.
        TrainingError: The loss is not finite any more.
        OSError: The folder cannot be written.
    """
    device = find_device(settings)
    with _processor(settings.threads), _Interruption() as interruption:
        output.mkdir(parents=True, exist_ok=True)
        if fresh:
            _clear(output)
        found = state.load(output)
        if found is not None:
            state.check(cast(dict[str, object], found["settings"]), settings, cast(int, found["step"]))
        run = _Run(settings, output, device, found)
        try:
            listener.begin(run.trainer.step, settings.total_steps)
            run.go_on(listener, interruption)
        finally:
            run.log.close()
        finished = run.trainer.step == settings.total_steps
        weights = publish.publish(output, output / "weights") if finished else None
        return Outcome(run.trainer.step, finished, weights)


def find_device(settings: Settings) -> torch.device:
    """The device that the settings ask for.

    Raises:
        SettingsError: There is none.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device: cuda is not available on this machine; accepted here are auto and cpu.")
    return torch.device("cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu")


class _Run:
    """A run in the middle."""

    def __init__(self, settings: Settings, output: Path, device: torch.device, found: dict[str, object] | None) -> None:
        self.settings, self.output, self.device = settings, output, device
        self.fonts = fonts.find(settings.fonts.train)
        self.trainer = Trainer(settings, device)
        if found is not None:
            self.trainer.restore(found)
        self.validation = Validation(settings, self.fonts, device)
        self.log = log.Log(output, self.trainer.step)
        self._before = cast(float, found["seconds"]) if found else 0.0
        self._begin = time.monotonic()

    def go_on(self, listener: Listener, interruption: _Interruption) -> None:
        """Do the steps that are left."""
        meter = _Meter()
        for batch in meter.timed(batches.load(self.settings, self.fonts, self.trainer.step)):
            meter.add(self.trainer.advance(batch), batch)
            step = self.trainer.step
            last = step == self.settings.total_steps
            stopping = interruption.wanted  # asked once: a signal that comes later waits for the next step
            record = None
            if step % self.settings.log_every == 0 or last:
                record = self._log(meter)
            if step % self.settings.sample_every == 0 or last:
                record = self._validate()
                meter.pause()
            if step % self.settings.checkpoint_every == 0 or last or stopping:
                self._save()
                meter.pause()
            listener.progress(step, record, self._seconds_left(meter.pixels_per_second))
            if stopping:
                return

    @property
    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._begin

    def _log(self, meter: _Meter) -> log.Record:
        values = {
            "step": self.trainer.step,
            "stage": batches.stage_at(self.settings, self.trainer.step - 1)[0],
            "lr": self.settings.optimiser.lr * rate(self.settings, self.trainer.step - 1),
            **meter.take(),
            "skipped": self.trainer.skipped,
            "seconds": self._seconds,
        }
        return self.log.add("train", values)

    def _validate(self) -> log.Record:
        step = self.trainer.step
        sheet = self.output / "samples" / f"step-{step:06d}.png"
        figures = self.validation.measure(self.trainer.average.network, sheet)
        return self.log.add("validation", {"step": step, **figures, "seconds": self._seconds})

    def _save(self) -> None:
        content = {
            **self.trainer.state(),
            "settings": self.settings.model_dump(mode="json"),
            "seconds": self._seconds,
            "device": _describe(self.device, self.settings.threads),
        }
        state.save(self.output, content)
        log.draw(self.log.records, self.settings, self.output / log.CURVE)

    def _seconds_left(self, pixels_per_second: float | None) -> float | None:
        if not pixels_per_second:
            return None
        pixels, done = 0.0, self.trainer.step
        for stage in self.settings.stages:
            left = max(0, stage.steps - done)
            done = max(0, done - stage.steps)
            weights = sum(shape.weight for shape in stage.shapes)
            pixels += left * sum(s.height * s.width * s.batch * s.weight for s in stage.shapes) / weights
        return pixels / pixels_per_second


@dataclass
class _Meter:
    """Means and speed since the last line of the log."""

    pixels_per_second: float | None = None
    _sums: dict[str, Tensor] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _samples: int = 0
    _pixels: int = 0
    _seconds: float = 0.0
    _waited: float = 0.0
    _since: float = field(default_factory=time.monotonic)

    def timed(self, source: object) -> Iterator[batches.Batch]:
        """The same batches, the time that it takes to get them being counted."""
        iterator = iter(cast("Iterator[batches.Batch]", source))
        self.pause()
        while True:
            begin = time.monotonic()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._waited += time.monotonic() - begin
            yield batch

    def add(self, found: dict[str, Tensor], batch: batches.Batch) -> None:
        """Count a step."""
        for name, value in found.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1
        self._samples += len(batch.mask)
        self._pixels += batch.mask.numel()
        now = time.monotonic()
        self._seconds += now - self._since
        self._since = now

    def pause(self) -> None:
        """Leave out the time since the last step."""
        self._since = time.monotonic()

    def take(self) -> dict[str, float]:
        """The means, and begin anew."""
        seconds = max(self._seconds, 1e-9)
        self.pixels_per_second = self._pixels / seconds
        values = {name: value.item() / self._counts[name] for name, value in self._sums.items()}
        values |= {"samples_per_second": self._samples / seconds, "waiting": self._waited / seconds}
        self._sums, self._counts = {}, {}
        self._samples = self._pixels = 0
        self._seconds = self._waited = 0.0
        return values


class _Interruption:
    """SIGINT and SIGTERM as a wish to stop; a second one acts as ever."""

    def __init__(self) -> None:
        self.wanted = False
        self._earlier: dict[signal.Signals, object] = {}

    def __enter__(self) -> _Interruption:
        if threading.current_thread() is threading.main_thread():  # signals can be handled there alone
            for number in (signal.SIGINT, signal.SIGTERM):
                self._earlier[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, *_: object) -> None:
        self.wanted = True
        self._restore()

    def _restore(self) -> None:
        while self._earlier:
            number, handler = self._earlier.popitem()
            signal.signal(number, cast("signal.Handlers", handler))


@contextmanager
def _processor(threads: int) -> Iterator[None]:
    """So many threads, and no denormal numbers, which take a hundred times longer; as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


def _describe(device: torch.device, threads: int) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {threads} threads"


def _clear(output: Path) -> None:
    for name in _FILES:
        (output / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(output / name, ignore_errors=True)
