"""Settings of matting: the names, defaults and ranges of upstream's command line, and what it lacked."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

WITHOUT_EFFECT = ("num_interp_frames", "mode")
"""Accepted, as upstream accepts them; nothing in upstream's program reads them."""


class MattingSettings(BaseSettings):
    """What a request, the environment (``ATELIER_MATTE_…``) and ``config.pbtxt`` may set."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_MATTE_", extra="forbid", frozen=True)

    num_frames_per_batch: int = Field(32, ge=1, le=512, description="frames of a window; memory grows with it")
    decode_chunk_size: int = Field(
        16, ge=1, le=512, description="frames of a call of the decoder, which sees no further: it changes the result"
    )
    denoise_steps: int = Field(1, ge=1, le=3, description="calls of the network for each window")
    max_resolution: int = Field(1024, ge=32, le=8192, description="pixels of the longer side at most, for the network")
    size: int = Field(720, ge=32, le=8192, description="pixels of the shorter side, for the network")
    num_interp_frames: int = Field(16, ge=0, description="accepted; without effect, as upstream")
    num_overlap_frames: int = Field(6, ge=0, le=511, description="frames that windows share (overlapping)")
    max_frames: int | None = Field(None, ge=1, description="so many frames from the start; all without it")
    mode: Literal["matte"] = Field("matte", description="accepted; without effect, as upstream")
    noise_type: Literal["zeros", "gaussian"] = Field("zeros", description="what the denoising starts from")
    seed: int | None = Field(None, ge=0, lt=2**63, description="of the noise (gaussian); drawn and reported without it")
    output_image_seq_only: bool = Field(False, description="pictures alone, no video files")
    ensemble_size: int = Field(1, ge=1, le=8, description="copies whose highest alpha counts; upstream's demo had 3")
    windows: Literal["overlapping", "disjoint"] = Field(
        "overlapping",
        description="overlapping: windows share frames, latents are cross-faded; disjoint: as upstream's demo ran",
    )
    first_frame: int = Field(
        0,
        ge=0,
        description="number of the first frame that is given out, as if all before it had been: to go on after a break",
    )
    max_window_pixels: int = Field(
        2**26,
        ge=1024,
        description="pixels of a window's frames together, as the network sees them; memory grows with it",
    )

    max_held_pixels: int = Field(
        2**30,
        ge=1024,
        description="pixels of the video's own frames that wait for their alpha together, 3 bytes each",
    )

    @property
    def overlap(self) -> int:
        """Frames that windows share; half a short window at most where the request named no number."""
        if self.windows == "disjoint":
            return 0
        if "num_overlap_frames" in self.model_fields_set:
            return self.num_overlap_frames
        return min(self.num_overlap_frames, self.num_frames_per_batch // 2)

    @property
    def base(self) -> int:
        """Where work for ``first_frame`` begins: at what the decoder, or the network, sees together with it."""
        if self.windows == "overlapping" and self.ensemble_size > 1:  # copies of the whole clip are cut into chunks
            return 0
        unit = self.num_frames_per_batch if self.windows == "disjoint" else self.decode_chunk_size
        return self.first_frame // unit * unit

    @model_validator(mode="after")
    def _check_overlap(self) -> MattingSettings:
        if self.overlap >= self.num_frames_per_batch:
            raise ValueError(
                f"num_overlap_frames ({self.num_overlap_frames}) must be less than num_frames_per_batch "
                f"({self.num_frames_per_batch}); windows disjoint needs no overlap"
            )
        return self


def remarks(settings: MattingSettings) -> list[str]:
    """Sentences about settings that were given and change nothing, or are not what applies.

    Args:
        settings: what applies.
    """
    given = settings.model_fields_set
    shorter = settings.windows == "overlapping" and settings.overlap < settings.num_overlap_frames
    sentences = [f"{name} has no effect on the result, here as upstream." for name in WITHOUT_EFFECT if name in given]
    if "num_overlap_frames" in given and settings.windows == "disjoint" and settings.num_overlap_frames:
        sentences.append("num_overlap_frames has no effect where windows are disjoint.")
    if "seed" in given and settings.seed is not None and settings.noise_type == "zeros":
        sentences.append("seed has no effect where noise_type is zeros.")
    if shorter:
        sentences.append(f"Windows share {settings.overlap} frames: half of num_frames_per_batch, which is short.")
    return sentences
