"""Settings of inpainting whole pictures."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from atelier.errors import InvalidInput
from atelier.media import DEFAULT_MAX_PIXELS, parse_format


def _numbers(value: Any) -> Any:
    """``"256,512"``, as the environment and ``config.pbtxt`` write a list."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _format(value: Any) -> str:
    """``parse_format`` with no more than what is accepted, because ``settle`` says the rest of the sentence."""
    try:
        return parse_format(str(value))
    except InvalidInput:
        raise ValueError("png, jpeg or webp") from None


class InpaintSettings(BaseSettings):
    """What a request, the environment (``ATELIER_INPAINT_…``) and ``config.pbtxt`` may set."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_INPAINT_", extra="forbid", frozen=True)

    strategy: Literal["regions", "page"] = Field(
        "regions", description="regions: canonical tiles around the mask's parts; page: the whole picture at once"
    )
    margin: int = Field(
        64,
        ge=0,
        le=1024,
        description="pixels of context around a part, as far as picture and largest tile reach (regions)",
    )
    feather: int = Field(0, ge=0, le=64, description="pixels over which the paste fades in, inside the hole")
    fill_flat: bool = Field(True, description="fill a part whose surroundings are flat without the network (regions)")
    flat_deviation: float = Field(
        2.0, ge=0, le=64, description="levels of 0 to 255 by which flat surroundings may differ from their median"
    )
    format: Annotated[str, BeforeValidator(_format)] = Field(
        "png", description="png, jpeg or webp; png and webp are lossless"
    )
    tile_sizes: Annotated[tuple[int, ...], NoDecode, BeforeValidator(_numbers)] = Field(
        (256, 512, 768, 1024), description="sides of the canonical tiles, pixels, multiples of 8"
    )
    max_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1, description="pixels of the largest picture that is decoded")
    max_page_pixels: int = Field(
        2048 * 2048, ge=256, description="pixels of the largest picture that strategy page takes; memory grows with it"
    )
    max_network_pixels: int = Field(
        128_000_000, ge=1, description="pixels of one picture's tiles together (regions); time grows with it"
    )
    network: str = Field("lama", description="name of the model that inpaints tiles")
    network_timeout: float = Field(
        60.0, gt=0, description="seconds that a tile may wait in the network's queue, whose own limit is the most"
    )
    max_batch: int = Field(8, ge=1, description="tiles a call to the network; its max_batch_size at most")

    @field_validator("tile_sizes")
    @classmethod
    def _check_tiles(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if not sizes or any(size < 16 or size % 8 for size in sizes):
            raise ValueError("multiples of 8, 16 at least, separated by commas")
        return tuple(sorted(set(sizes)))
