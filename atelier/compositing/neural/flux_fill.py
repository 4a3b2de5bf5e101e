"""FLUX.1-Fill: what is under the mask is painted anew, after a prompt and, with Redux, a picture of the object."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from torch import Tensor

from atelier.compositing.jobs import Pixels, SynthesisJob
from atelier.compositing.neural import diptych, offloading, prompts, watching
from atelier.compositing.neural.flux_folders import FILL, REDUX, check_fill, check_redux, open_checkpoint
from atelier.compositing.neural.flux_loading import OnStage, assemble, describe, load_networks
from atelier.compositing.neural.holding import Holding
from atelier.compositing.neural.pictures import resize, resize_mask, to_tensor, working_size
from atelier.compositing.neural.redux import Redux
from atelier.compositing.neural.watching import Watch
from atelier.compositing.settings import SynthesizerSettings
from atelier.errors import InvalidInput

T5_TOKENS = 512
"""Tokens of a prompt that T5 reads; what is shorter is filled up."""

# What is cut off a prompt is told in the report; diffusers would write the user's words into the server's log.
logging.getLogger(diffusers.FluxFillPipeline.__module__).addFilter(
    lambda record: "your input was truncated" not in str(record.msg)
)


@dataclass
class Made:
    """A painted crop.

    Attributes:
        pixels: RGB [h, w, 3] at the working size.
        prompt: that the network read.
        facts: of the work.
        warnings: sentences.
    """

    pixels: Pixels
    prompt: str
    facts: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


class FluxFill:
    """The pipeline, with Redux where it is asked for. One picture at a time.

    Args:
        folders: ``checkpoint``, and ``redux`` where identity is.
        settings: of the synthesizer.
        holding: how the networks are held.
        on_stage: told what is loaded.

    Attributes:
        facts: of the checkpoints, for the report.

    Raises:
        CheckpointError: a folder cannot be used.
        InvalidInput: Redux is asked for and not there.
    """

    def __init__(
        self, folders: Mapping[str, Path], settings: SynthesizerSettings, holding: Holding, on_stage: OnStage
    ) -> None:
        self._settings, self._holding = settings, holding
        opened = open_checkpoint(folders["checkpoint"], FILL, ("transformer",) if holding.gguf else ())
        check_fill(opened)
        redux = None
        if settings.identity == "redux":
            if "redux" not in folders:
                raise InvalidInput("identity redux needs the weights of FLUX.1-Redux; accepted without: diptych, none.")
            redux = open_checkpoint(folders["redux"], REDUX)
            check_redux(redux, opened)
        networks = load_networks(opened, holding, on_stage)
        self._pipe = assemble(diffusers.FluxFillPipeline, opened, networks, holding)
        self.facts = {"flux.1-fill": describe(opened, networks, holding)}
        offloading.place(self._pipe, holding)
        self._redux = Redux(redux, holding, on_stage) if redux else None
        if self._redux:
            self.facts["flux.1-redux"] = self._redux.facts
        self._prompts = prompts.PromptCache(self._encode)

    def __call__(self, job: SynthesisJob, seed: int, watch: Watch) -> Made:
        """Paint the crop of a job's placement.

        Args:
            job: what is asked for.
            seed: of the noise.
            watch: told what happens.

        Raises:
            InvalidInput: the network's numbers are not finite.
            Exception: whatever ``job.check`` raises; the next picture is right all the same.
        """
        crop, beside = job.placement.crop, self._settings.identity == "diptych"
        longer = diptych.side(self._settings.resolution) if beside else self._settings.resolution
        width, height = working_size(crop.width, crop.height, longer)
        picture = resize(job.placement.pre_composite[crop.slices], width, height)
        mask = resize_mask(job.placement.fill_mask[crop.slices], width, height)
        text = prompts.wanted(job)
        finish: Callable[[Pixels], Pixels] = diptych.right if beside else _whole
        if beside:
            picture, mask = diptych.join(job.object, picture, mask)
            text = diptych.prompt(text)
        try:
            with watch.stage("encoding"):
                embeddings = self._embeddings(text, job)
            latents = self._denoise(job, picture, mask, embeddings, seed, watch, finish)
            with watch.stage("decoding"):
                watching.check_finite(latents)
                pixels = finish(self._decode(latents, mask.shape))
        finally:
            offloading.free(self._pipe, self._holding)
        facts = {
            "identity": self._settings.identity,
            "size": [width, height],
            "image_tokens": (mask.shape[0] // 16) * (mask.shape[1] // 16),
            "text_tokens": embeddings[0].shape[1],
        }
        return Made(np.ascontiguousarray(pixels), text, facts, self._warnings(text))

    def _encode(self, text: str) -> tuple[Tensor, ...]:
        tokens, pooled, _ = self._pipe.encode_prompt(text, max_sequence_length=T5_TOKENS)
        return tokens, pooled

    def _embeddings(self, text: str, job: SynthesisJob) -> tuple[Tensor, Tensor]:
        """T5's tokens, Redux's behind them, and CLIP's one vector: as `FluxPriorReduxPipeline` puts them together."""
        device, dtype = self._holding.device, self._holding.dtype
        tokens, pooled = (tensor.to(device, dtype) for tensor in self._prompts(text))
        if self._redux:
            job.check()
            tokens = torch.cat([tokens, self._redux(job.object).to(device, dtype)], dim=1)
        return tokens, pooled

    def _denoise(
        self,
        job: SynthesisJob,
        picture: Pixels,
        mask: Pixels,
        embeddings: tuple[Tensor, Tensor],
        seed: int,
        watch: Watch,
        finish: Callable[[Pixels], Pixels],
    ) -> Tensor:
        def shown(latents: Tensor) -> Pixels:
            vae = self._pipe.vae
            if self._holding.offload == "model":
                vae.to(self._holding.device)  # it stays there until the picture is done; it is small
            small = watching.small_picture(vae, self._spatial(latents, mask.shape), self._pipe.vae_scale_factor)
            return finish(small)

        height, width = mask.shape
        tokens, pooled = embeddings
        with watch.stage("denoising", watch.steps):
            answer = self._pipe(
                prompt_embeds=tokens,
                pooled_prompt_embeds=pooled,
                image=to_tensor(picture),
                mask_image=torch.from_numpy(mask.copy())[None, None].float() / 255,
                height=height,
                width=width,
                strength=job.strength,
                num_inference_steps=job.steps,
                guidance_scale=job.guidance_scale,
                # On the host: the same seed gives the same noise on every device.
                generator=torch.Generator("cpu").manual_seed(seed),
                output_type="latent",
                callback_on_step_end=watch.between(shown),
            )
        latents: Tensor = answer.images
        return latents

    def _spatial(self, latents: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Latents as the decoder takes them, [1, 16, h, w], of the pipeline's packed ones."""
        pipe = self._pipe
        unpacked = pipe._unpack_latents(latents, *shape, pipe.vae_scale_factor)
        spatial: Tensor = unpacked / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor
        return spatial

    @torch.no_grad()
    def _decode(self, latents: Tensor, shape: tuple[int, ...]) -> Pixels:
        return watching.to_pixels(self._pipe.vae.decode(self._spatial(latents, shape), return_dict=False)[0])

    def _warnings(self, text: str) -> list[str]:
        pipe = self._pipe
        found = prompts.overlong(pipe.tokenizer, text, pipe.tokenizer_max_length, "CLIP")
        found += prompts.overlong(pipe.tokenizer_2, text, T5_TOKENS, "T5")
        found += prompts.unknown(pipe.tokenizer_2, text, "T5")
        if self._holding.offload == "group" and self._holding.device == "cpu":
            found.append("offload group brings nothing on a CPU.")
        return found


def _whole(picture: Pixels) -> Pixels:
    return picture
