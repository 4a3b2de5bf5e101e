"""Matting of clips: frames in, alpha out, as a stream; the networks are any three functions of arrays."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from atelier.errors import InvalidInput
from atelier.matting.geometry import Geometry, plan_geometry, prepare, restore, threshold
from atelier.matting.sampling import Sampler
from atelier.matting.settings import MattingSettings
from atelier.matting.windows import CrossFade, first_window, windows
from atelier.timing import timed

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

ENCODED = 8
"""Frames of a call of the encoder, which looks at each alone: more would cost memory and change nothing."""


class Networks(Protocol):
    """What the pipeline calls.

    Attributes:
        sampler: the times of the denoising.
    """

    sampler: Sampler

    def encode(self, frames: Array) -> Array:
        """float32 [N, 3, H, W] in -1..1 to scaled latents [N, 4, H / 8, W / 8]."""
        ...

    def predict(self, sample: Array, timestep: float) -> Array:
        """float32 [B, F, 8, h, w] to [B, F, 4, h, w]."""
        ...

    def decode(self, latents: Array) -> Array:
        """Scaled latents [N, 4, h, w] of neighbouring frames to their alpha [N, 8 h, 8 w] in 0..1."""
        ...


@dataclass
class Run:
    """What is known of a run while it goes on.

    Attributes:
        geometry: the clip's sizes; None before the first frame.
        windows: that were denoised.
        frames: that came out.
        seed: of the noise; None where there is none.
        seconds: seconds per step.
    """

    geometry: Geometry | None = None
    windows: int = 0
    frames: int = 0
    seed: int | None = None
    seconds: MutableMapping[str, float] = field(default_factory=dict)


class MattingPipeline:
    """GVM, ready to run.

    Args:
        networks: what computes.
        warnings: what the caller asked for and did not get when they were loaded.
    """

    def __init__(self, networks: Networks, warnings: Sequence[str] = ()) -> None:
        self.networks = networks
        self.warnings = tuple(warnings)

    @classmethod
    def from_pretrained(
        cls,
        model_base: str | Path,
        unet_base: str | Path | None = None,
        lora_base: str | Path | None = None,
        pretrain_type: str | None = "dav",
        *,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> MattingPipeline:
        """Load a checkpoint from local folders; needs PyTorch and diffusers.

        Args:
            model_base: the folder with ``vae/``, ``scheduler/`` and, unless ``unet_base`` names another, ``unet/``.
            unet_base: a folder with ``unet/`` in it, or that folder itself.
            lora_base: a folder with an adapter, or the adapter's file; merged.
            pretrain_type: ``svd`` or ``dav``; must be what the weights are. None: whichever they are.
            device: PyTorch's name of it.
            precision: ``fp32`` or ``fp16``.

        Raises:
            CheckpointError: something is missing, unreadable, contradicts itself or is not supported.
        """
        from atelier.matting.checkpoint import load
        from atelier.matting.eager import EagerNetworks

        checkpoint = load(model_base, unet_base, lora_base, pretrain_type)
        return cls(EagerNetworks(checkpoint, device, precision), checkpoint.warnings)

    def __call__(
        self,
        frames: Frame,
        settings: MattingSettings | None = None,
        *,
        noise: Sequence[Array] | None = None,
        thresholds: bool = True,
    ) -> Array:
        """The alpha of a clip that is in memory.

        Args:
            frames: uint8 [T, H, W, 3] RGB.
            settings: what applies; the defaults without it.
            noise: for ``gaussian``: float32 [ensemble, n, 4, h, w] for each window, in place of drawn noise.
            thresholds: whether the last step is taken: from 240/255 up to 1, from 25/255 down to 0.

        Returns:
            float32 [T, H, W] in 0..1.

        Raises:
            InvalidInput: the frames are none, or of a type or size that is not accepted; noise of another shape.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise InvalidInput(f"frames is {frames.dtype} {list(frames.shape)}; uint8 [T, H, W, 3] is accepted.")
        parts = [alpha for _, alpha in self.stream(iter(frames), settings, noise=noise, thresholds=thresholds)]
        return np.concatenate(parts)

    def stream(
        self,
        frames: Iterable[Frame],
        settings: MattingSettings | None = None,
        *,
        noise: Sequence[Array] | None = None,
        thresholds: bool = True,
        run: Run | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[list[Frame], Array]]:
        """The alpha of a clip, as it comes. Held are a window, what waits for the decoder, and no more.

        With ``ensemble_size`` above 1 and windows that overlap, the whole clip is held, and refused where that is more
        than ``max_held_pixels``: upstream's copies stand behind each other when they are decoded.

        Args:
            frames: uint8 [H, W, 3] RGB each, of one size.
            settings: as for a call.
            noise: as for a call.
            thresholds: as for a call.
            run: filled in on the way.
            check: raises when nobody waits for the result any more; called between all calls of networks.

        Yields:
            Frames, and their alpha float32 [n, H, W] in 0..1.

        Raises:
            InvalidInput: there are no frames, their sizes differ or are not accepted; noise of another shape.
        """
        work = _Work(self.networks, settings or MattingSettings.model_validate({}), noise, run or Run(), check)
        for shown, alpha in work.run(iter(frames)):
            yield shown, threshold(alpha) if thresholds else alpha


class _Work:
    """One clip under way."""

    def __init__(
        self,
        networks: Networks,
        settings: MattingSettings,
        noise: Sequence[Array] | None,
        run: Run,
        check: Callable[[], None],
    ) -> None:
        self._networks, self._settings, self._noise = networks, settings, noise
        self._run, self._check = run, check
        self._steps = networks.sampler.steps(settings.denoise_steps, settings.noise_type)
        overlap = settings.overlap
        self._window, self._start_frame = first_window(settings.base, settings.num_frames_per_batch, overlap)
        if settings.noise_type == "gaussian" and noise is None:
            run.seed = secrets.randbelow(2**63) if settings.seed is None else settings.seed

    def run(self, source: Iterator[Frame]) -> Iterator[tuple[list[Frame], Array]]:
        source = islice(source, self._start_frame, self._settings.max_frames)
        first = next(source, None)
        if first is None:
            where = f" at frame {self._start_frame} and behind it" if self._start_frame else ""
            raise InvalidInput(f"There are no frames{where}.")
        settings, held = self._settings, deque[Frame]()
        geometry = plan_geometry((first.shape[0], first.shape[1]), settings.size, settings.max_resolution)
        self._run.geometry = geometry
        self._check_size(geometry)

        def remembered() -> Iterator[Frame]:
            for number, frame in enumerate(chain([first], source), self._start_frame):
                if frame.shape != first.shape:
                    raise InvalidInput(
                        f"Frame {number} is {frame.shape[1]}x{frame.shape[0]} and the first "
                        f"{first.shape[1]}x{first.shape[0]}; they must be equal."
                    )
                if number >= settings.base:
                    held.append(frame)
                self._check_held(held)
                yield frame

        unwanted = settings.first_frame - settings.base
        for alpha in self._alphas(self._encoded(remembered(), geometry)):
            shown = [held.popleft() for _ in alpha][unwanted:]
            if shown:
                with timed(self._run.seconds, "resize"):
                    restored = restore(alpha[unwanted:], geometry)
                self._run.frames += len(shown)
                yield shown, restored
            unwanted = max(0, unwanted - len(alpha))
        if not self._run.frames:
            raise InvalidInput(f"There are no frames at frame {settings.first_frame} and behind it.")

    def _check_size(self, geometry: Geometry) -> None:
        height, width = geometry.padded
        settings, most = self._settings, self._settings.max_frames or 2**31
        copies = settings.ensemble_size if settings.noise_type == "gaussian" else 1
        window, chunk = min(settings.num_frames_per_batch, most) * copies, min(settings.decode_chunk_size, most)
        for words, frames, name in (
            ("A window", window, "num_frames_per_batch"),
            ("A chunk", chunk, "decode_chunk_size"),
        ):
            if (pixels := frames * height * width) > settings.max_window_pixels:
                raise InvalidInput(
                    f"{words} of {frames} frames of {width}x{height} has {pixels} pixels; "
                    f"{settings.max_window_pixels} are the most: lower {name} or max_resolution."
                )

    def _check_held(self, held: Sequence[Frame]) -> None:
        """Frames wait for their alpha: a window and a chunk, or all where copies of the clip are cut together."""
        height, width = held[-1].shape[:2] if held else (0, 0)
        if len(held) * height * width > self._settings.max_held_pixels:
            raise InvalidInput(
                f"{len(held)} frames of {width}x{height} would be held at once; "
                f"{self._settings.max_held_pixels} pixels are the most: lower num_frames_per_batch and "
                "decode_chunk_size, or, where ensemble_size is above 1, ask for windows disjoint or fewer max_frames."
            )

    def _encoded(self, frames: Iterator[Frame], geometry: Geometry) -> Iterator[Array]:
        """Latents of the frames, each [4, h, w]."""
        while piece := list(islice(frames, ENCODED)):
            self._check()
            with timed(self._run.seconds, "resize"):
                prepared = prepare(piece, geometry)
            with timed(self._run.seconds, "encode"):
                latents = self._networks.encode(prepared)
            yield from latents

    def _alphas(self, pictures: Iterator[Array]) -> Iterator[Array]:
        """Alpha of the frames at the size that the network sees, [n, H, W] at a time."""
        settings = self._settings
        if settings.windows == "disjoint":
            for window in windows(pictures, settings.num_frames_per_batch, 0):
                yield self._decode(self._denoise(np.stack(window)))
            return
        fade, waiting = CrossFade(settings.overlap), list[Array]()
        chunk = settings.decode_chunk_size if settings.ensemble_size == 1 else 0
        unwanted = settings.base - self._start_frame
        for window in windows(pictures, settings.num_frames_per_batch, settings.overlap):
            final = fade.push(self._denoise(np.stack(window)))
            waiting.append(final[:, unwanted:])
            unwanted = max(0, unwanted - final.shape[1])
            while chunk and sum(part.shape[1] for part in waiting) >= chunk:
                ready = np.concatenate(waiting, axis=1)
                waiting = [ready[:, chunk:]]
                yield self._decode(ready[:, :chunk])
        if (last := fade.end()) is not None:
            waiting.append(last[:, unwanted:])
        rest = np.concatenate(waiting, axis=1)
        for start in range(0, rest.shape[1], chunk or rest.shape[1] or 1):
            yield self._decode(rest[:, start : start + chunk] if chunk else rest)

    def _denoise(self, pictures: Array) -> Array:
        """Latents of one window: [copies, F, 4, h, w]; copies that cannot differ are one."""
        sample = self._start(pictures.shape)
        conditions = np.broadcast_to(pictures, sample.shape)
        for step in self._steps:
            self._check()
            with timed(self._run.seconds, "denoise"):
                output = self._networks.predict(np.concatenate([sample, conditions], axis=2), step.timestep)
            sample = output if step.size is None else sample + np.float32(step.size) * output
        self._run.windows += 1
        self._window += 1
        return sample

    def _start(self, shape: tuple[int, ...]) -> Array:
        settings = self._settings
        if settings.noise_type == "zeros":
            return np.zeros((1, *shape), np.float32)
        wanted = settings.ensemble_size, *shape
        if self._noise is None:
            # A generator a window: work that is gone on with draws what it would have drawn.
            generator = np.random.default_rng([self._run.seed or 0, self._window])
            return generator.standard_normal(wanted, np.float32)
        given = self._noise[self._window] if self._window < len(self._noise) else None
        if given is None or given.shape != wanted:
            found = "missing" if given is None else list(given.shape)
            raise InvalidInput(f"noise of window {self._window} is {found}; {list(wanted)} is needed.")
        return np.asarray(given, np.float32)

    def _decode(self, latents: Array) -> Array:
        """[copies, n, 4, h, w] to the highest alpha of all copies, [n, H, W].

        Copies stand behind each other and are cut into chunks together, as upstream does it: where the chunk does not
        divide the frames, a chunk holds the end of one copy and the start of the next, and the copies differ.
        """
        settings = self._settings
        frames, chunk = latents.shape[1], settings.decode_chunk_size
        copies = settings.ensemble_size if frames % chunk or len(latents) > 1 else 1
        flat = np.broadcast_to(latents, (copies, *latents.shape[1:])).reshape(copies * frames, *latents.shape[2:])
        parts = []
        for start in range(0, len(flat), chunk):
            self._check()
            with timed(self._run.seconds, "decode"):
                parts.append(self._networks.decode(np.ascontiguousarray(flat[start : start + chunk])))
        decoded = np.concatenate(parts)
        highest: Array = decoded.reshape(copies, frames, *decoded.shape[1:]).max(axis=0)
        return highest


def describe(run: Run) -> dict[str, Any]:
    """A run for a report: sizes as [height, width], pixels."""
    facts: dict[str, Any] = {"frames": run.frames, "windows": run.windows, "seed": run.seed}
    if run.geometry is not None:
        facts |= {
            "size": list(run.geometry.source),
            "resized": list(run.geometry.resized),
            "padded": list(run.geometry.padded),
        }
    return facts | {"seconds": {step: round(value, 6) for step, value in run.seconds.items()}}
