"""Settings of the four stages. Those that a request may set have the names of its tensors, in small letters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Mode = Literal["auto", "neural", "classical"]
"""How a stage works; ``auto`` is neural where its weights and packages are there, and the answer says which it was."""

Quantisation = Literal["none", "bnb-int8", "nf4", "torchao-int8", "quanto-int8", "gguf"]
"""How a network's weights are held: ``none`` in bfloat16 on a GPU and in float32 on a CPU."""

Residence = Literal["always", "request"]
"""``always``: weights stay loaded between requests. ``request``: they are unloaded after use, for small cards."""

_SEED = "of what is drawn at random; drawn and reported without it"


class StageSettings(BaseSettings):
    """What all stages share."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    mode: Mode = Field("auto", description="auto, neural or classical")
    max_pixels: int = Field(50_000_000, ge=1, description="of a picture, width times height")


class NeuralSettings(StageSettings):
    """What the stages with networks share."""

    device: str = Field("auto", description="PyTorch's name: cpu, cuda, cuda:N; auto: a GPU where there is one")
    residence: Residence = Field("always", description="always, or request: weights are unloaded after use")


class AnalyzerSettings(NeuralSettings):
    """Of the background analyzer."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_BACKGROUND_ANALYZER_", extra="forbid", frozen=True)

    checkpoint: str = Field("weights/qwen2-vl-7b-instruct", description="folder of Qwen2-VL; relative to the checkout")
    quantisation: Literal["none", "bnb-int8", "nf4", "torchao-int8"] = Field(
        "nf4", description="of the language model on a GPU; on a CPU it is what is asked for, and none for nf4"
    )
    language: str = Field("en", pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="of ANALYSIS: en, ko, …")
    seed: int | None = Field(None, ge=0, lt=2**63, description=_SEED)
    temperature: float = Field(0.0, ge=0, le=2, allow_inf_nan=False, description="of sampling; 0: greedy, no seed")
    max_new_tokens: int = Field(512, ge=16, le=4096, description="tokens of the answer at most")
    image_tokens: int = Field(1280, ge=16, le=16384, description="tokens that a picture becomes at most, 28 x 28 each")


class ExtractorSettings(NeuralSettings):
    """Of the object extractor."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_OBJECT_EXTRACTOR_", extra="forbid", frozen=True)

    sam2: str = Field("weights/sam2.1-hiera-large", description="folder of SAM 2; relative to the checkout")
    birefnet: str = Field("weights/birefnet", description="folder of BiRefNet (MIT); relative to the checkout")
    rmbg: str = Field("weights/rmbg-2.0", description="folder of RMBG-2.0 (CC BY-NC 4.0); relative to the checkout")
    background_remover: Literal["birefnet", "rmbg-2.0"] = Field(
        "birefnet", description="network of the alpha; rmbg-2.0 is for non-commercial use alone"
    )


class PlacementSettings(StageSettings):
    """Of the mask generator, which has no networks: its mode changes nothing."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_MASK_GENERATOR_", extra="forbid", frozen=True)

    dilation: float = Field(0.04, ge=0, le=0.5, description="of the fill mask, as a share of the object's longer side")
    shadow: float = Field(0.25, ge=0, le=1, description="room for a shadow, as a share of the object's height")
    crop: float = Field(2.0, ge=1, le=8, description="the crop's side, as a multiple of the fill mask's longer side")
    feather: int = Field(8, ge=0, le=64, description="pixels inside the user's mask over which the object fades in")


class SynthesizerSettings(NeuralSettings):
    """Of the object synthesizer."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_OBJECT_SYNTHESIZER_", extra="forbid", frozen=True)

    checkpoint: str = Field("weights/flux.1-fill-dev", description="folder of FLUX.1-Fill; relative to the checkout")
    redux: str = Field("weights/flux.1-redux-dev", description="folder of FLUX.1-Redux; relative to the checkout")
    klein: str = Field("weights/flux.2-klein-4b", description="folder of FLUX.2 klein; relative to the checkout")
    network: Literal["flux.1-fill", "flux.2-klein"] = Field(
        "flux.1-fill", description="flux.1-fill (non-commercial) or flux.2-klein (4B, Apache-2.0)"
    )
    identity: Literal["redux", "diptych", "none"] = Field(
        "redux", description="how FLUX.1-Fill is shown the object: Redux, a diptych of both pictures, not at all"
    )
    seed: int | None = Field(None, ge=0, lt=2**63, description=_SEED)
    steps: int = Field(28, ge=1, le=200, description="denoising steps")
    guidance_scale: float = Field(30.0, ge=0, le=100, allow_inf_nan=False, description="weight of the prompt")
    strength: float = Field(
        1.0, gt=0, le=1, allow_inf_nan=False, description="1: all of the fill mask is new; less keeps more of the paste"
    )
    resolution: int = Field(
        1024, ge=64, le=2048, multiple_of=16, description="side at which the crop is worked on, pixels"
    )
    feather: int = Field(
        16, ge=0, le=256, description="pixels inside the fill mask over which new ones fade in, at most; crop / 30"
    )
    blend: Literal["alpha", "poisson"] = Field(
        "alpha", description="of the classical way; poisson may smear the object"
    )
    quantisation: Quantisation = Field(
        "none", description="of transformer and T5; the preset says it where there is one"
    )
    offload: Literal["none", "model", "group", "sequential"] = Field("none", description="what waits on the host")
    preset: Literal["", "l4", "a100-40", "h100"] = Field(
        "", description="quantisation and offload for a card; those that are given beside it win"
    )
    clip: str = Field("", description="folder of CLIP for clip_similarity of the report; empty: not measured")
    dino: str = Field("", description="folder of DINO or DINOv2 for dino_similarity; empty: not measured")
    vae_tiling: bool = Field(False, description="the VAE works tile by tile above 1024 pixels a side")
    gguf: str = Field("", description="file of the transformer for quantisation gguf; relative to the checkout")
