"""Wan2.2 TI2V-5B, loaded once: text to video, or picture and text to video, from one set of weights."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np
import torch
from diffusers import FirstBlockCacheConfig, WanImageToVideoPipeline, WanPipeline
from numpy.typing import NDArray
from PIL import Image

from atelier.errors import InvalidInput
from atelier.generation import memory
from atelier.generation.adapters import AdapterStore
from atelier.generation.checkpoint import Components, load_components
from atelier.generation.loading import LoadOptions, prepare
from atelier.generation.lora import LoraReport
from atelier.generation.output import write_video
from atelier.generation.picture import read_picture
from atelier.generation.sampling import make_scheduler
from atelier.generation.settings import GenerationSettings
from atelier.generation.sizes import STRIDE, fill, fit_area, read_size
from atelier.generation.text import Encoded, TextEncoder, clean

Stage = Literal["queued", "encoding", "denoising", "decoding", "encoding_video"]


@dataclass(frozen=True)
class Progress:
    """How far a video is.

    Attributes:
        stage: what is being done.
        step: of it, done.
        of: steps of it.
        seconds: since the work began.
        left: seconds that this stage still takes at this rate; None where nothing tells.
        position: in the queue, 0 the one that is worked on.
    """

    stage: Stage
    step: int
    of: int
    seconds: float
    left: float | None
    position: int = 0


@dataclass(frozen=True)
class GenerationJob:
    """A video that is asked for.

    Attributes:
        prompt: what is to be seen.
        settings: that apply.
        image: a file; the video begins with it. None: text alone.
        loras: adapters' names with their scales.
        sources: where each setting comes from, by name; what is not named was asked for.
        check: called before every step; raises to stop the work.
        on_progress: called as the work goes on.
        seconds: filled with seconds by stage.
    """

    prompt: str
    settings: GenerationSettings
    image: bytes | None = None
    loras: Sequence[tuple[str, float]] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[], None] = lambda: None
    on_progress: Callable[[Progress], None] = lambda _: None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Generated:
    """A video.

    Attributes:
        video: the file.
        metadata: everything that is needed to make it again, and what it took.
    """

    video: bytes
    metadata: dict[str, Any]


class GenerationPipeline:
    """The networks, and what goes on between them. One video at a time.

    Args:
        components: the checkpoint.
        options: how it is held and run.
        loras: the folder of adapters.

    Attributes:
        adapters: of the transformer.
        loaded: memory after each stage of loading.
    """

    def __init__(self, components: Components, options: LoadOptions, loras: Path) -> None:
        self.options, self.digest = options, components.digest
        self.loaded: dict[str, memory.Memory] = {}
        self._transformer: Any = components.transformer
        self._vae: Any = components.vae
        self._text = TextEncoder(
            components.tokenizer,
            components.text_encoder,
            length=options.text_length,
            kept=options.prompt_cache,
            device="cpu" if options.t5_cpu else options.device,
            parked="cpu" if options.offload_model else None,
        )
        scheduler = make_scheduler("unipc", 5.0, "official")
        parts = {"tokenizer": None, "text_encoder": None, "vae": self._vae, "scheduler": scheduler}
        common = {"transformer": self._transformer, "expand_timesteps": True, "boundary_ratio": None}
        self._text_to_video: Any = WanPipeline(**parts, **common)
        # Made by hand: from_pipe would turn bfloat16 into float32, and leave expand_timesteps out.
        self._picture_to_video: Any = WanImageToVideoPipeline(**parts, **common)
        for pipe in (self._text_to_video, self._picture_to_video):
            pipe.set_progress_bar_config(disable=True)
        self._free = prepare(self._text_to_video, options)
        self.adapters = AdapterStore(loras, self._transformer, limit=options.lora_memory)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, options: LoadOptions | None = None, *, loras: str | Path = "weights/loras"
    ) -> GenerationPipeline:
        """Load a checkpoint.

        Args:
            folder: in diffusers' layout or in Wan's own.
            options: how it is held and run; float32 on the CPU if None.
            loras: the folder of adapters.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            InvalidInput: an option is not possible on this machine.
        """
        options = options or LoadOptions()
        options.check()
        stages: dict[str, memory.Memory] = {}

        def loaded(stage: str) -> None:
            stages[stage] = memory.measure(options.device)

        components = load_components(
            Path(folder), dtype=options.dtype, vae_dtype=options.vae_dtype, device="cpu", on_stage=loaded
        )
        pipeline = cls(components, options, Path(loras))
        loaded("ready")
        pipeline.loaded = stages
        return pipeline

    def __call__(self, job: GenerationJob) -> Generated:
        """Make a video.

        Args:
            job: what is asked for.

        Raises:
            InvalidInput: something of it cannot be used.
            Exception: whatever ``job.check`` raises; the pipeline is ready for the next job.
        """
        run = _Run(job)
        settings = job.settings
        if not clean(job.prompt):
            raise InvalidInput("PROMPT is empty.")
        width, height, picture = self._size(job, run)
        memory.reset_peak(self.options.device)
        seed = secrets.randbelow(2**63) if settings.seed is None else settings.seed
        run.say("encoding", 0, 1)
        reports, warnings = self.adapters.use(job.loras)
        run.warnings += warnings
        guided = settings.guidance_scale > 1
        prompt = self._encode(job.prompt, "PROMPT", run)
        negative = self._encode(settings.negative_prompt, "NEGATIVE_PROMPT", run) if guided else None
        run.say("encoding", 1, 1)
        if not guided and "negative_prompt" in job.sources and job.sources["negative_prompt"] == "request":
            run.warnings.append("NEGATIVE_PROMPT has no effect: GUIDANCE_SCALE is not above 1.")
        with self._clean_up(), self._cached(bool(job.loras), run):
            latents = self._denoise(run, prompt, negative, width, height, picture, seed)
            frames = self._decode(run, latents)
        video = write_video(
            frames,
            settings.fps,
            settings.format,
            settings.crf,
            on_frame=lambda count: run.step("encoding_video", count, len(frames)),
        )
        run.finish()
        return Generated(video, self._metadata(run, seed, width, height, frames, prompt, reports))

    def latents(self, job: GenerationJob) -> NDArray[np.float32]:
        """The latents of a video, before the VAE: float32 [48, T, h, w]."""
        run = _Run(job)
        width, height, picture = self._size(job, run)
        run.warnings += self.adapters.use(job.loras)[1]
        guided = job.settings.guidance_scale > 1
        prompt = self._encode(job.prompt, "PROMPT", run)
        negative = self._encode(job.settings.negative_prompt, "NEGATIVE_PROMPT", run) if guided else None
        with self._clean_up(), self._cached(bool(job.loras), run):
            found = self._denoise(run, prompt, negative, width, height, picture, job.settings.seed or 0)
        result: NDArray[np.float32] = found[0].float().cpu().numpy()
        return result

    def _size(self, job: GenerationJob, run: _Run) -> tuple[int, int, Image.Image | None]:
        """Width and height, and the picture cut to them."""
        width, height = read_size(job.settings.size)
        if job.image is None:
            return width, height, None
        picture, warnings = read_picture(job.image, max_pixels=self.options.max_pixels)
        run.warnings += warnings
        width, height = fit_area(picture.width, picture.height, width * height)
        return width, height, fill(picture, width, height)

    def _encode(self, text: str, name: str, run: _Run) -> Encoded:
        run.job.check()
        encoded = self._text(text)
        if encoded.used < encoded.tokens:
            run.warnings.append(f"{name} has {encoded.tokens} tokens; the first {encoded.used} were used.")
        return encoded

    def _denoise(
        self,
        run: _Run,
        prompt: Encoded,
        negative: Encoded | None,
        width: int,
        height: int,
        picture: Image.Image | None,
        seed: int,
    ) -> torch.Tensor:
        settings = run.job.settings
        pipe = self._text_to_video if picture is None else self._picture_to_video
        pipe.scheduler = make_scheduler(settings.solver, settings.shift, settings.grid)
        run.step("denoising", 0, settings.sample_steps)

        def after_step(_: Any, index: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            run.step("denoising", index + 1, settings.sample_steps)
            return tensors

        device, dtype = self.options.device, self._transformer.dtype
        answer = pipe(
            **({} if picture is None else {"image": picture}),
            prompt_embeds=prompt.embeddings.to(device, dtype),
            negative_prompt_embeds=None if negative is None else negative.embeddings.to(device, dtype),
            height=height,
            width=width,
            num_frames=settings.frame_num,
            num_inference_steps=settings.sample_steps,
            guidance_scale=settings.guidance_scale,
            # On the host: the same seed gives the same noise on every device.
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="latent",
            callback_on_step_end=after_step,
            callback_on_step_end_tensor_inputs=["latents"],
        )
        latents: torch.Tensor = answer.frames
        return latents

    @torch.no_grad()
    def _decode(self, run: _Run, latents: torch.Tensor) -> NDArray[np.uint8]:
        """Frames, uint8 [T, H, W, 3]; one latent frame after another, each a step."""
        vae, frames = self._vae, latents.shape[2]
        shape = 1, vae.config.z_dim, 1, 1, 1
        latents = latents.to(self.options.device, vae.dtype)
        mean = torch.tensor(vae.config.latents_mean).view(shape).to(latents)
        deviation = torch.tensor(vae.config.latents_std).view(shape).to(latents)
        done = 0

        def before_frame(*_: Any) -> None:
            nonlocal done
            run.step("decoding", min(done, frames), frames)
            done += 1

        hook = vae.decoder.register_forward_pre_hook(before_frame)
        try:
            found = vae.decode(latents * deviation + mean, return_dict=False)[0]
        finally:
            hook.remove()
            vae.clear_cache()
        run.step("decoding", frames, frames)
        pixels = (found[0].float().clamp(-1, 1) + 1) * 127.5
        result: NDArray[np.uint8] = pixels.round().to(torch.uint8).permute(1, 2, 3, 0).cpu().numpy()
        return result

    @contextmanager
    def _clean_up(self) -> Iterator[None]:
        """Whatever happens: offloaded networks go back, and no cache keeps what the next video would stumble over."""
        try:
            yield
        finally:
            for pipe in (self._text_to_video, self._picture_to_video):
                pipe.maybe_free_model_hooks()
            self._free()

    @contextmanager
    def _cached(self, adapted: bool, run: _Run) -> Iterator[None]:
        """The first-block cache, where it is set; not with adapters, whose effect it could hide."""
        threshold = self.options.first_block_cache
        if threshold and adapted:
            run.warnings.append("The first-block cache was left off: adapters are in use.")
        if not threshold or adapted:
            yield
            return
        self._transformer.enable_cache(FirstBlockCacheConfig(threshold=threshold))
        try:
            yield
        finally:
            self._transformer.disable_cache()

    def _metadata(
        self,
        run: _Run,
        seed: int,
        width: int,
        height: int,
        frames: NDArray[np.uint8],
        prompt: Encoded,
        reports: Sequence[LoraReport],
    ) -> dict[str, Any]:
        job = run.job
        values = job.settings.model_dump(include=set(GenerationSettings.model_fields)) | {"seed": seed}
        sources = {name: job.sources.get(name, "request") for name in values}
        if job.settings.seed is None:
            sources["seed"] = "drawn"
        return {
            "prompt": job.prompt,
            "prompt_tokens": prompt.tokens,
            "mode": "text" if job.image is None else "image",
            "settings": {name: {"value": value, "source": sources[name]} for name, value in values.items()},
            "seed": seed,
            "width": width,
            "height": height,
            "frames": len(frames),
            "latent_frames": (job.settings.frame_num - 1) // STRIDE + 1,
            "duration": round(len(frames) / job.settings.fps, 3),
            "model": self.digest,
            "options": self.options.describe(),
            "adapters": [report.as_dict() for report in reports],
            "adapters_there": self.adapters.names(),
            "seconds": {name: round(value, 3) for name, value in job.seconds.items()},
            "memory": memory.measure(self.options.device).as_dict(),
            "warnings": run.warnings,
        }


class _Run:
    """What is known of one job while it is worked on."""

    def __init__(self, job: GenerationJob) -> None:
        self.job = job
        self.warnings: list[str] = []
        self._began = self._stage_began = monotonic()
        self._stage: Stage | None = None

    def step(self, stage: Stage, step: int, of: int) -> None:
        """A step is done: see whether the work is still wanted, and say so."""
        self.job.check()
        self.say(stage, step, of)

    def say(self, stage: Stage, step: int, of: int) -> None:
        """Report progress, and keep the time of stages."""
        now = monotonic()
        if stage != self._stage:
            self.finish()
            self._stage, self._stage_began = stage, now
        taken = now - self._stage_began
        left = round(taken / step * (of - step), 1) if step else None
        self.job.on_progress(Progress(stage, step, of, round(now - self._began, 3), left))

    def finish(self) -> None:
        """The stage is over."""
        if self._stage is not None:
            seconds = monotonic() - self._stage_began
            self.job.seconds[self._stage] = self.job.seconds.get(self._stage, 0.0) + seconds
            self._stage = None
