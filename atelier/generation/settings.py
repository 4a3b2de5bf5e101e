"""What a request for a video may set. Names are those of Wan's ``generate.py``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from atelier.generation.sampling import Grid, Solver
from atelier.generation.sizes import STRIDE, nearest_frame_nums

OFFICIAL_NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，"
    "杂乱的背景，三条腿，背景人很多，倒着走"
)
"""Wan's own: what is over-exposed, still, blurred, subtitled, deformed, …"""

Format = Literal["mp4", "webm", "frames"]


class GenerationSettings(BaseSettings):
    """Settings of one video."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_GENERATE_", extra="forbid", frozen=True)

    frame_num: int = Field(121, description="frames: 4n + 1, at least 1")
    size: str = Field("1280*704", description="WIDTH*HEIGHT, pixels; with a picture its area")
    sample_steps: int = Field(50, ge=1, le=1000, description="denoising steps")
    guidance_scale: float = Field(
        7.5, ge=0, le=100, allow_inf_nan=False, description="weight of the prompt; up to 1 the negative one is not used"
    )
    shift: float = Field(5.0, gt=0, le=100, allow_inf_nan=False, description="of the noise levels towards noise")
    solver: Solver = Field("unipc", description="unipc or dpm++")
    grid: Grid = Field("official", description="noise levels: the official code's, or diffusers'")
    seed: int | None = Field(None, ge=0, lt=2**63, description="of the noise; drawn and reported without it")
    negative_prompt: str = Field(OFFICIAL_NEGATIVE_PROMPT, description="what is not wanted; Wan's own without it")
    fps: int = Field(24, ge=1, le=120, description="frames a second of the file; the network knows 24")
    format: Format = Field("mp4", description="mp4 (H.264), webm (VP9) or frames (a zip of PNG)")
    crf: int = Field(18, ge=0, le=51, description="quality of mp4 and webm: less is better, 0 is (nearly) lossless")

    @field_validator("frame_num")
    @classmethod
    def _whole_latents(cls, value: int) -> int:
        if value < 1 or value % STRIDE != 1:
            near = " and ".join(str(number) for number in nearest_frame_nums(value))
            raise ValueError(f"4n + 1, at least 1; the nearest are {near}")
        return value
