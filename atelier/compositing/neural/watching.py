"""What happens between two steps of denoising: cancellation, progress, previews, times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from atelier.compositing.jobs import Pixels, SynthesisJob, SynthesisProgress
from atelier.errors import InvalidInput

PREVIEW = 256
"""Pixels of a preview's longer side at most."""

_NOT_FINITE = (
    "The network answered values that are not finite: GUIDANCE_SCALE drives it out of its numbers. Nearer to its "
    "default it works."
)


def steps_done(steps: int, strength: float) -> int:
    """Steps that are done of those asked for: diffusers leaves out those that strength makes needless."""
    return steps - int(max(steps - min(steps * strength, steps), 0))


class Watch:
    """One picture's progress.

    Args:
        job: whose `check` stops the work and whose `on_progress` is told.

    Attributes:
        steps: of denoising that are done.
        seconds: by stage.
    """

    def __init__(self, job: SynthesisJob) -> None:
        self._job, self._began = job, perf_counter()
        self.steps = steps_done(job.steps, job.strength)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, of: int = 1) -> Iterator[None]:
        """Say that a stage begins, and after it that it is over; take its time."""
        began = perf_counter()
        self._say(name, 0, of)
        yield
        self.seconds[name] = perf_counter() - began
        if name != "denoising":  # whose last step has been told
            self._say(name, of, of)

    def between(self, shown: Callable[[Tensor], Pixels]) -> Callable[..., dict[str, Any]]:
        """Diffusers' ``callback_on_step_end``.

        Args:
            shown: from latents as the pipeline has them to a small picture.
        """
        before: Tensor | None = None

        def after_step(pipe: Any, index: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            nonlocal before
            preview, every, latents = None, self._job.preview_every, tensors["latents"]
            if every:
                if (index + 1) % every == 0:
                    preview = shown(expected(latents, before, pipe.scheduler))
                before = latents
            self._say("denoising", index + 1, self.steps, preview)
            return tensors

        return after_step

    def _say(self, stage: str, step: int, of: int, preview: Pixels | None = None) -> None:
        self._job.on_progress(SynthesisProgress(stage, step, of, perf_counter() - self._began, preview))
        self._job.check()


def expected(latents: Tensor, before: Tensor | None, scheduler: Any) -> Tensor:
    """What the latents are on their way to, so that a preview is no picture of noise.

    An Euler step goes along the velocity v from noise level s to t: x_t = x_s + (t - s) v. From there the data is at
    x_t - t v (Esser et al. 2024, arXiv 2403.03206).

    Args:
        latents: after a step.
        before: after the one before it; None: the latents are what there is to see.
        scheduler: of the pipeline, after the step.
    """
    if before is None:
        return latents
    place = scheduler.step_index
    level, earlier = (float(scheduler.sigmas[number]) for number in (place, place - 1))
    velocity = (latents.float() - before.float()) / (level - earlier)
    return (latents.float() - level * velocity).to(latents.dtype)


def check_finite(latents: Tensor) -> None:
    """Refuse to make a picture of what is none.

    Raises:
        InvalidInput: there are values that are not finite.
    """
    if not bool(torch.isfinite(latents).all()):
        raise InvalidInput(_NOT_FINITE)


def small_picture(vae: Any, latents: Tensor, factor: int) -> Pixels:
    """A preview from latents that were shrunk before they are decoded, which is quicker and enough to be seen.

    Args:
        vae: with a decoder, on the latents' device or with hooks that bring its layers there. The decoder is called
            by itself: `vae.decode` would send the transformer to the host where whole networks are offloaded.
        latents: [1, C, h, w] as the decoder takes them.
        factor: pixels of a latent.
    """
    most = max(1, PREVIEW // factor)
    scale = min(1.0, most / max(latents.shape[-2:]))
    size = [max(1, int(length * scale)) for length in latents.shape[-2:]]
    shrunk = functional.interpolate(latents.float(), size, mode="area").to(latents.dtype)
    with torch.no_grad():
        if vae.post_quant_conv is not None:
            shrunk = vae.post_quant_conv(shrunk)
        return to_pixels(vae.decoder(shrunk))


def to_pixels(decoded: Tensor) -> Pixels:
    """RGB uint8 [H, W, 3] of what a VAE decoded: [1, 3, H, W] in -1..1."""
    scaled = (decoded[0].float().clamp(-1, 1) + 1) * 127.5
    pixels: Pixels = scaled.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return pixels
