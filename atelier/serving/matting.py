"""GVM behind Triton: the pipeline over three served networks, or over PyTorch in the model's own process.

Importable only inside Triton's Python backend.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from atelier.errors import InvalidInput
from atelier.matting.files import Part
from atelier.matting.job import DEFAULT_OUTPUTS, Event, JobSettings, MatteJob, Progress
from atelier.matting.pipeline import MattingPipeline
from atelier.matting.sampling import Sampler
from atelier.serving.calls import call
from atelier.serving.options import has_gpu
from atelier.serving.repository import latest_version
from atelier.serving.request import Request
from atelier.serving.settings import Settled

NOT_OF_A_REQUEST = ("max_pixels", "max_window_pixels", "max_held_pixels")
REQUEST_SETTINGS = {name.upper(): name for name in JobSettings.model_fields if name not in NOT_OF_A_REQUEST}
"""Optional inputs, tensor name to field."""


class MatteSettings(JobSettings):
    """What ``config.pbtxt`` and the environment may set beside what a request may."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_MATTE_", extra="forbid", frozen=True)

    runtime: Literal["triton", "pytorch"] = Field(
        "triton", description="triton: the models gvm_unet, gvm_vae_encoder, gvm_vae_decoder; pytorch: in this process"
    )
    network_timeout: float = Field(
        600.0, gt=0, description="seconds that a call may wait in a network's queue (triton)"
    )
    model_base: str = Field("", description="folder with vae, scheduler and unet (pytorch)")
    unet_base: str = Field("", description="folder with unet, where it lies elsewhere (pytorch)")
    lora_base: str = Field("", description="folder or file of a LoRA (pytorch)")
    pretrain_type: Literal["", "svd", "dav"] = Field(
        "", description="what the weights must be; empty: either (pytorch)"
    )
    device: str = Field("cuda", description="where the networks are (pytorch)")
    precision: Literal["fp32", "fp16"] = Field("fp16", description="of weights and computing (pytorch)")
    gpu: str = Field(
        "auto",
        pattern=r"^(auto|none|cuda(:\d+)?)$",
        description="GPU that the three networks are on, which no other big model computes on meanwhile; auto: the "
        "first, where there is one (triton)",
    )
    max_archive: int = Field(
        64 * 2**20, ge=1024, description="bytes of the result files together (matte_sync); matte has no such limit"
    )

    @property
    def busy(self) -> str:
        """The device that is held while a clip is worked on."""
        if self.runtime == "pytorch":
            return self.device
        if self.gpu == "auto":
            return "cuda" if has_gpu() else "cpu"
        return self.gpu


class ServedNetworks:
    """The three networks as models of this server.

    Args:
        timeout: seconds that a call may wait in a network's queue.
        sampler: the times of the denoising.
    """

    def __init__(self, timeout: float, sampler: Sampler) -> None:
        self._timeout, self.sampler = timeout, sampler

    def encode(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `atelier.matting.pipeline.Networks`."""
        return self._call("gvm_vae_encoder", {"FRAMES": frames}, "LATENTS")

    def predict(self, sample: NDArray[np.float32], timestep: float) -> NDArray[np.float32]:
        """See `atelier.matting.pipeline.Networks`."""
        inputs = {"SAMPLE": sample, "TIMESTEP": np.array([timestep], np.float32)}
        return self._call("gvm_unet", inputs, "PREDICTED")

    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `atelier.matting.pipeline.Networks`."""
        return self._call("gvm_vae_decoder", {"LATENTS": latents}, "ALPHA")

    def _call(self, model: str, inputs: Mapping[str, NDArray[Any]], output: str) -> NDArray[np.float32]:
        (answer,) = call(model, inputs, [output], timeout=self._timeout)
        return answer


def load_pipeline(settings: MatteSettings, repository: str) -> MattingPipeline:
    """The pipeline that a model's settings describe.

    Args:
        settings: of the model.
        repository: the model's folder.

    Raises:
        InvalidInput: the checkpoint of ``runtime`` pytorch cannot be used.
    """
    if settings.runtime == "triton":
        sampler, warnings = _exported(Path(repository).parent / "gvm_unet")
        return MattingPipeline(ServedNetworks(settings.network_timeout, sampler), warnings)
    if not settings.model_base:
        raise InvalidInput("runtime is pytorch, which needs model_base: the folder of the checkpoint.")
    return MattingPipeline.from_pretrained(
        settings.model_base,
        settings.unet_base or None,
        settings.lora_base or None,
        settings.pretrain_type or None,
        device=settings.device,
        precision=settings.precision,
    )


def _exported(folder: Path) -> tuple[Sampler, list[str]]:
    """What the exporter wrote beside the network that is served: its sampler, and what there was to warn of.

    The public checkpoint's sampler where nothing is written.
    """
    version = latest_version(folder)
    for file in sorted((folder / str(version)).glob("model.*.json")):
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            sampler = Sampler(int(facts["sampler"]["num_train_timesteps"]), float(facts["sampler"]["shift"]))
            return sampler, [str(warning) for warning in facts.get("warnings", [])]
        except (OSError, ValueError, KeyError, TypeError):  # another program's file
            continue
    logging.getLogger(__name__).warning(
        "Nothing says how gvm_unet was trained: its sampler is taken for the public one's."
    )
    return Sampler(), []


def read_job(request: Request, settings: Settled[MatteSettings]) -> MatteJob:
    """A request's tensors as a job.

    Raises:
        InvalidInput: one of them is not what it should be.
    """
    return MatteJob(
        request.data("VIDEO"),
        settings.values,
        outputs=request.texts("OUTPUTS") or DEFAULT_OUTPUTS,
        background=request.optional("BACKGROUND"),
        sources=settings.sources,
        check=request.raise_if_cancelled,
        seconds=request.seconds,
    )


def tensors_of_event(event: Event) -> dict[str, Any]:
    """One response of `matte`: ``PROGRESS``, ``CHUNK`` (a JSON header, then bytes) or ``REPORT``."""
    if isinstance(event, Progress):
        return {"PROGRESS": json.dumps(vars(event))}
    if isinstance(event, Part):
        header = json.dumps({"name": event.name, "offset": event.offset, "size": len(event.data)})
        chunk = np.empty((1, 2), dtype=np.object_)
        chunk[0] = header.encode("utf-8"), event.data
        return {"CHUNK": chunk}
    return {"REPORT": json.dumps(event)}
