"""How the networks are held and run: precision, offloading, quantisation, caches, compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from atelier.errors import InvalidInput
from atelier.generation import quantising
from atelier.generation.quantising import Quantisation


class LoadOptions(BaseSettings):
    """How a checkpoint is held and run. Nothing here changes what is asked of a video."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_GENERATE_", extra="forbid", frozen=True)

    device: str = Field("cpu", description="PyTorch's name: cpu, cuda, cuda:N; auto: a GPU where there is one")
    convert_model_dtype: bool = Field(
        False,
        description="text encoder and transformer in bfloat16, else in float32; what Wan keeps in float32 stays so",
    )
    vae_precision: Literal["fp32", "bf16"] = Field("fp32", description="of the VAE; Wan's own is fp32")
    offload_model: bool = Field(
        False, description="networks wait on the host and are on the GPU only while they compute"
    )
    t5_cpu: bool = Field(False, description="the text encoder computes on the CPU")
    group_offload: bool = Field(False, description="the transformer's blocks are brought to the GPU one by one")
    vae_tiling: bool = Field(False, description="the VAE works tile by tile: less memory, pixels change at the seams")
    fp8_storage: bool = Field(False, description="the transformer's weights are stored in 8 bits, computed in bf16")
    quantisation: Quantisation = Field(
        "", description="int8 or fp8 (torchao), nf4 (bitsandbytes): of the transformer's blocks; empty: none"
    )
    first_block_cache: float = Field(0.0, ge=0, le=1, description="threshold of the first-block cache; 0: off")
    compile: bool = Field(False, description="compile the transformer's blocks")
    attention: str = Field("", description="diffusers' name of an attention back end; empty: PyTorch's own")
    text_length: int = Field(512, ge=8, le=512, description="tokens that the network gets of a prompt")
    prompt_cache: int = Field(32, ge=0, description="prompts whose embeddings are kept")
    lora_memory: int = Field(2 * 2**30, ge=0, description="bytes of adapters that are kept attached")
    max_pixels: int = Field(50_000_000, ge=1, description="of a picture")

    @field_validator("device")
    @classmethod
    def _what_there_is(cls, value: str) -> str:
        return value if value != "auto" else "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def dtype(self) -> torch.dtype:
        """Of text encoder and transformer."""
        return torch.bfloat16 if self.convert_model_dtype else torch.float32

    @property
    def vae_dtype(self) -> torch.dtype:
        """Of the VAE."""
        return torch.bfloat16 if self.vae_precision == "bf16" else torch.float32

    def check(self) -> None:
        """See whether this machine can do it.

        Raises:
            InvalidInput: it cannot, or options exclude each other.
        """
        try:
            kind = torch.device(self.device).type
        except RuntimeError:
            raise InvalidInput(f"device is {self.device!r:.40}; accepted: cpu, cuda, cuda:N.") from None
        if kind == "cuda" and not torch.cuda.is_available():
            raise InvalidInput(f"device is {self.device}, and PyTorch finds no GPU here.")
        if kind != "cuda":
            for name in ("offload_model", "group_offload", "fp8_storage", "quantisation"):
                if getattr(self, name):
                    raise InvalidInput(f"{name} needs a GPU; device is {self.device}.")
        if self.offload_model and self.group_offload:
            raise InvalidInput("offload_model and group_offload exclude each other.")
        quantising.check(self.quantisation)
        if self.quantisation and (self.fp8_storage or self.group_offload):
            raise InvalidInput("quantisation goes with neither fp8_storage nor group_offload.")
        if self.quantisation and not self.convert_model_dtype:
            raise InvalidInput("quantisation needs convert_model_dtype: what is not quantised is in bfloat16.")
        if self.first_block_cache and self.compile:
            raise InvalidInput("first_block_cache and compile exclude each other: the cache decides while it runs.")

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        return self.model_dump(exclude={"max_pixels", "lora_memory", "prompt_cache"})


def prepare(pipe: Any, options: LoadOptions) -> Callable[[], None]:
    """Bring the networks to where they belong.

    Args:
        pipe: diffusers' pipeline with ``transformer`` and ``vae``.
        options: how.

    Returns:
        What is to be called after every video.

    Raises:
        InvalidInput: an attention back end is not there.
    """
    transformer, vae, device = pipe.transformer, pipe.vae, torch.device(options.device)
    if options.attention:
        try:
            transformer.set_attention_backend(options.attention)
        except (ValueError, RuntimeError, ImportError) as error:
            raise InvalidInput(f"attention is {options.attention!r:.40}: {str(error).splitlines()[0][:200]}") from None
    quantising.quantise(transformer, options.quantisation, device)
    if options.fp8_storage:
        transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=options.dtype)
    if options.vae_tiling:
        vae.enable_tiling()
    if options.compile:
        transformer.compile_repeated_blocks()
    if options.group_offload:
        transformer.enable_group_offload(device, offload_type="block_level", num_blocks_per_group=1, use_stream=True)
        vae.to(device)
    elif options.offload_model:
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.to(device)
    return torch.cuda.empty_cache if options.offload_model else lambda: None
