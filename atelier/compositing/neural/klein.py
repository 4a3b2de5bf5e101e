"""FLUX.2 klein: the mask is painted after a prompt and, if wished, a picture of the object. Apache-2.0 (4B)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from atelier.compositing.jobs import Pixels, SynthesisJob
from atelier.compositing.neural import offloading, prompts, watching
from atelier.compositing.neural.flux_fill import Made
from atelier.compositing.neural.flux_folders import KLEIN, check_klein, open_checkpoint
from atelier.compositing.neural.flux_loading import OnStage, assemble, describe, load_networks
from atelier.compositing.neural.holding import Holding
from atelier.compositing.neural.pictures import on_white, resize, resize_mask, to_tensor, working_size
from atelier.compositing.neural.watching import Watch
from atelier.compositing.settings import SynthesizerSettings

TOKENS = 512
"""Tokens of a prompt that are read, its chat's frame among them."""

PIXELS = 1024 * 1024
"""The pipeline shrinks larger pictures, scene and reference alike, to sizes of its own."""

_HIGH_GUIDANCE = 10.0


class Klein:
    """The pipeline. One picture at a time.

    Args:
        folders: ``klein``.
        settings: of the synthesizer; ``identity`` none leaves the picture of the object out.
        holding: how the networks are held.
        on_stage: told what is loaded.

    Attributes:
        facts: of the checkpoint, for the report.

    Raises:
        CheckpointError: the folder cannot be used.
    """

    def __init__(
        self, folders: Mapping[str, Path], settings: SynthesizerSettings, holding: Holding, on_stage: OnStage
    ) -> None:
        self._settings, self._holding = settings, holding
        opened = open_checkpoint(folders["klein"], KLEIN)
        check_klein(opened)
        networks = load_networks(opened, holding, on_stage)
        self._pipe = assemble(diffusers.Flux2KleinInpaintPipeline, opened, networks, holding)
        self.facts: dict[str, dict[str, Any]] = {"flux.2-klein": describe(opened, networks, holding)}
        offloading.place(self._pipe, holding)
        self._prompts = prompts.PromptCache(self._encode)

    def __call__(self, job: SynthesisJob, seed: int, watch: Watch) -> Made:
        """Paint the crop of a job's placement; as for `FluxFill`."""
        crop = job.placement.crop
        width, height = working_size(crop.width, crop.height, self._settings.resolution, PIXELS)
        picture = resize(job.placement.pre_composite[crop.slices], width, height)
        mask = resize_mask(job.placement.fill_mask[crop.slices], width, height)
        reference = None if self._settings.identity == "none" else self._reference(job.object)
        text = prompts.wanted(job)
        try:
            with watch.stage("encoding"):
                embeddings = self._embeddings(text, job)
            latents = self._denoise(job, picture, mask, reference, embeddings, seed, watch)
            with watch.stage("decoding"), torch.no_grad():
                watching.check_finite(latents)
                pixels = watching.to_pixels(self._pipe.vae.decode(latents, return_dict=False)[0])
        finally:
            offloading.free(self._pipe, self._holding)
        facts = {
            "identity": "none" if reference is None else "reference",
            "size": [width, height],
            "image_tokens": (width // 16) * (height // 16),
            "text_tokens": TOKENS,
            "distilled": bool(self._pipe.config.is_distilled),
        }
        return Made(pixels, text, facts, self._warnings(text, job))

    def _reference(self, picture: Pixels) -> Pixels:
        """The object on white, of a size that the pipeline neither shrinks nor cuts."""
        width, height = working_size(picture.shape[1], picture.shape[0], self._settings.resolution, PIXELS)
        return on_white(picture, width, height)

    def _encode(self, text: str) -> tuple[Tensor, ...]:
        return (self._pipe.encode_prompt(text, max_sequence_length=TOKENS)[0],)

    def _guided(self, job: SynthesisJob) -> bool:
        return job.guidance_scale > 1 and not self._pipe.config.is_distilled

    def _embeddings(self, text: str, job: SynthesisJob) -> dict[str, Tensor]:
        device, dtype = self._holding.device, self._holding.dtype
        found = {"prompt_embeds": self._prompts(text)[0].to(device, dtype)}
        if self._guided(job):
            job.check()
            found["negative_prompt_embeds"] = self._prompts("")[0].to(device, dtype)
        return found

    def _denoise(
        self,
        job: SynthesisJob,
        picture: Pixels,
        mask: Pixels,
        reference: Pixels | None,
        embeddings: dict[str, Tensor],
        seed: int,
        watch: Watch,
    ) -> Tensor:
        def shown(latents: Tensor) -> Pixels:
            vae = self._pipe.vae
            if self._holding.offload == "model":
                vae.to(self._holding.device)  # it stays there until the picture is done; it is small
            return watching.small_picture(vae, self._spatial(latents, mask.shape), self._pipe.vae_scale_factor)

        with watch.stage("denoising", watch.steps):
            answer = self._pipe(
                image=to_tensor(picture),
                mask_image=torch.from_numpy(mask.copy())[None, None].float() / 255,
                image_reference=None if reference is None else to_tensor(reference),
                height=mask.shape[0],
                width=mask.shape[1],
                strength=job.strength,
                num_inference_steps=job.steps,
                guidance_scale=job.guidance_scale if self._guided(job) else 1.0,
                generator=torch.Generator("cpu").manual_seed(seed),
                output_type="latent",
                callback_on_step_end=watch.between(shown),
                max_sequence_length=TOKENS,
                **embeddings,
            )
        latents: Tensor = answer.images
        return latents

    def _spatial(self, latents: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Latents as the decoder takes them, [1, 32, h, w], of the pipeline's: tokens of 2 x 2 of them, normalised."""
        pipe, height, width = self._pipe, shape[0] // 16, shape[1] // 16
        tokens = latents.permute(0, 2, 1).reshape(1, latents.shape[2], height, width)
        norm = pipe.vae.bn
        variance = norm.running_var.to(tokens).view(1, -1, 1, 1) + pipe.vae.config.batch_norm_eps
        data = tokens * variance.sqrt() + norm.running_mean.to(tokens).view(1, -1, 1, 1)
        spatial: Tensor = pipe._unpatchify_latents(data)
        return spatial

    def _warnings(self, text: str, job: SynthesisJob) -> list[str]:
        pipe = self._pipe
        framed = pipe.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        found = prompts.overlong(pipe.tokenizer, framed, TOKENS, "Qwen3")
        if pipe.config.is_distilled:
            if job.guidance_scale > 1:
                found.append("guidance_scale has no effect: this FLUX.2 klein is distilled, and made for 4 steps.")
        elif job.guidance_scale > _HIGH_GUIDANCE:
            found.append(
                f"guidance_scale is {job.guidance_scale:g}, which is of FLUX.1-Fill's kind; FLUX.2 klein's is about 4."
            )
        return found
