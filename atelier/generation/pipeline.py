"""Wan2.2 TI2V-5B, loaded once: text to video, or picture and text to video, from one set of weights."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FirstBlockCacheConfig, WanImageToVideoPipeline, WanPipeline
from numpy.typing import NDArray

from atelier import memory
from atelier.errors import InvalidInput
from atelier.generation.adapters import AdapterStore
from atelier.generation.checkpoint import Components, load_components
from atelier.generation.jobs import Generated, GenerationJob, Run, Runs
from atelier.generation.loading import LoadOptions, prepare
from atelier.generation.lora import LoraReport
from atelier.generation.output import write_video
from atelier.generation.sampling import make_scheduler
from atelier.generation.settings import GenerationSettings
from atelier.generation.sizes import STRIDE, fill, fit_area, read_size
from atelier.generation.text import Encoded, TextEncoder, clean
from atelier.media.pictures import read_picture

_NOT_FINITE = (
    "The network answered values that are not finite: GUIDANCE_SCALE, SHIFT or an adapter's scale drives it out of its "
    "numbers. Nearer to their defaults they work."
)


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
        text_to_video: Any = WanPipeline
        picture_to_video: Any = WanImageToVideoPipeline
        self._text_to_video = text_to_video(**parts, **common)
        # Made by hand: from_pipe would turn bfloat16 into float32, and leave expand_timesteps out.
        self._picture_to_video = picture_to_video(**parts, **common)
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
        options = options or LoadOptions.model_validate({})
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
        (made,) = self.together([job])
        if isinstance(made, Exception):
            raise made
        return made

    def check(self, job: GenerationJob) -> None:
        """See, before a job waits for its turn, whether its prompt, picture and adapters' names can be used.

        May be called while another thread makes a video.

        Raises:
            InvalidInput: one cannot.
        """
        self._size(Run(job))
        self.adapters.check(job.loras)

    def together(self, jobs: Sequence[GenerationJob]) -> list[Generated | Exception]:
        """Make videos of one kind (`GenerationJob.kind`) in one go; a single one may be of any kind.

        Args:
            jobs: at least one.

        Returns:
            For each job its video, or why there is none.
        """
        runs, made = Runs(jobs), dict[int, Generated]()
        try:
            reports = self._prepare(runs)
            with self._clean_up(), self._cached(runs):
                working = runs.living
                latents = self._denoise(runs)
                own = {id(run): latents[number : number + 1] for number, run in enumerate(working)}
                frames: dict[int, NDArray[np.uint8]] = {}
                runs.each(lambda run: frames.update({id(run): self._decode(run, own[id(run)])}))
            runs.each(lambda run: made.update({id(run): self._finish(run, frames[id(run)], reports)}))
        except Exception as error:
            for run in runs.living:
                run.failure = error
        return [run.failure or made[id(run)] for run in runs.all]

    def latents(self, job: GenerationJob) -> NDArray[np.float32]:
        """The latents of a video, before the VAE: float32 [48, T, h, w]."""
        runs = Runs([job])
        self._prepare(runs)
        with self._clean_up(), self._cached(runs):
            found = self._denoise(runs)
        result: NDArray[np.float32] = found[0].float().cpu().numpy()
        return result

    def _prepare(self, runs: Runs) -> list[LoraReport]:
        """Everything before the first step: sizes, adapters, prompts."""
        memory.reset_peak(self.options.device)
        runs.each(self._size)
        runs.each(lambda run: run.say("encoding", 0, 1))
        reports, warnings = self.adapters.use(runs.all[0].job.loras)
        for run in runs.all:
            run.warnings += warnings
        runs.each(self._read_prompts)
        runs.each(lambda run: run.say("encoding", 1, 1))
        return reports

    def _size(self, run: Run) -> None:
        """Width and height, and the picture cut to them."""
        job = run.job
        if not clean(job.prompt):
            raise InvalidInput("PROMPT is empty.")
        run.seed = secrets.randbelow(2**63) if job.settings.seed is None else job.settings.seed
        run.width, run.height = read_size(job.settings.size)
        if job.image is None:
            return
        picture, warnings = read_picture(job.image, max_pixels=self.options.max_pixels)
        run.warnings += warnings
        run.width, run.height = fit_area(picture.width, picture.height, run.width * run.height)
        run.picture = fill(picture, run.width, run.height)

    def _read_prompts(self, run: Run) -> None:
        job = run.job
        run.prompt = self._encode(job.prompt, "PROMPT", run)
        if job.settings.guidance_scale > 1:
            run.negative = self._encode(job.settings.negative_prompt, "NEGATIVE_PROMPT", run)
        elif job.sources.get("negative_prompt") == "request":
            run.warnings.append("NEGATIVE_PROMPT has no effect: GUIDANCE_SCALE is not above 1.")

    def _encode(self, text: str, name: str, run: Run) -> Encoded:
        run.job.check()
        encoded = self._text(text, name)
        if encoded.used < encoded.tokens:
            run.warnings.append(f"{name} has {encoded.tokens} tokens; the first {encoded.used} were used.")
        return encoded

    def _denoise(self, runs: Runs) -> torch.Tensor:
        """Latents of all jobs that have not failed, [N, C, T, h, w]."""
        working = runs.living
        lead, settings = working[0], working[0].job.settings
        pipe = self._text_to_video if lead.picture is None else self._picture_to_video
        pipe.scheduler = make_scheduler(settings.solver, settings.shift, settings.grid)
        runs.step("denoising", 0, settings.sample_steps)

        def after_step(_: Any, index: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            runs.step("denoising", index + 1, settings.sample_steps)
            return tensors

        answer = pipe(
            **({} if lead.picture is None else {"image": lead.picture}),
            prompt_embeds=self._embeddings([run.prompt for run in working]),
            negative_prompt_embeds=self._embeddings([run.negative for run in working]),
            height=lead.height,
            width=lead.width,
            num_frames=settings.frame_num,
            num_inference_steps=settings.sample_steps,
            guidance_scale=settings.guidance_scale,
            # On the host: the same seed gives the same noise on every device.
            generator=[torch.Generator("cpu").manual_seed(run.seed) for run in working],
            output_type="latent",
            callback_on_step_end=after_step,
            callback_on_step_end_tensor_inputs=["latents"],
        )
        latents: torch.Tensor = answer.frames
        return latents

    def _embeddings(self, encoded: Sequence[Encoded | None]) -> torch.Tensor | None:
        known = [entry.embeddings for entry in encoded if entry is not None]
        return torch.cat(known).to(self.options.device, self._transformer.dtype) if known else None

    @torch.no_grad()
    def _decode(self, run: Run, latents: torch.Tensor) -> NDArray[np.uint8]:
        """Frames, uint8 [T, H, W, 3]; one latent frame after another, each a step."""
        if not bool(torch.isfinite(latents).all()):
            raise InvalidInput(_NOT_FINITE)
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
    def _cached(self, runs: Runs) -> Iterator[None]:
        """The first-block cache, where it is set; not with adapters, whose effect it could hide."""
        threshold, adapted = self.options.first_block_cache, bool(runs.all[0].job.loras)
        if threshold and adapted:
            for run in runs.all:
                run.warnings.append("The first-block cache was left off: adapters are in use.")
        if not threshold or adapted:
            yield
            return
        config: Any = FirstBlockCacheConfig
        self._transformer.enable_cache(config(threshold=threshold))
        try:
            yield
        finally:
            self._transformer.disable_cache()

    def _finish(self, run: Run, frames: NDArray[np.uint8], reports: Sequence[LoraReport]) -> Generated:
        settings = run.job.settings
        video = write_video(
            frames,
            settings.fps,
            settings.format,
            settings.crf,
            on_frame=lambda count: run.step("encoding_video", count, len(frames)),
        )
        run.finish()
        return Generated(video, self._metadata(run, len(frames), reports))

    def _metadata(self, run: Run, frames: int, reports: Sequence[LoraReport]) -> dict[str, Any]:
        job = run.job
        values = job.settings.model_dump(include=set(GenerationSettings.model_fields)) | {"seed": run.seed}
        sources = {name: job.sources.get(name, "request") for name in values}
        if job.settings.seed is None:
            sources["seed"] = "drawn"
        return {
            "prompt": job.prompt,
            "prompt_tokens": run.prompt.tokens if run.prompt else 0,
            "mode": "text" if job.image is None else "image",
            "settings": {name: {"value": value, "source": sources[name]} for name, value in values.items()},
            "seed": run.seed,
            "width": run.width,
            "height": run.height,
            "frames": frames,
            "latent_frames": (job.settings.frame_num - 1) // STRIDE + 1,
            "duration": round(frames / job.settings.fps, 3),
            "model": self.digest,
            "options": self.options.describe(),
            "adapters": [report.as_dict() for report in reports],
            "adapters_there": self.adapters.names(),
            "seconds": {name: round(value, 3) for name, value in job.seconds.items()},
            "memory": memory.measure(self.options.device).as_dict(),
            "warnings": run.warnings,
        }
