"""Pictures of any mode, upright, as RGB or RGBA: what networks are shown, where the file itself need not come back."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from atelier.errors import InvalidInput

FORMATS = ("PNG", "JPEG", "WEBP")
_SIXTEEN_BITS = 257  # 65535 / 255


def read_picture(
    data: bytes, *, name: str = "IMAGE", max_pixels: int, alpha: bool = False
) -> tuple[Image.Image, list[str]]:
    """A picture as RGB, its EXIF orientation applied; its colour profile stays in its ``info``.

    Args:
        data: the file; PNG, JPEG or WebP.
        name: what errors call it.
        max_pixels: at most, told by its header.
        alpha: keep transparency: a picture that has some is given as RGBA.

    Returns:
        The picture, and what of it was left out.

    Raises:
        InvalidInput: it is none of these, damaged, or too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            if opened.width * opened.height > max_pixels:
                raise InvalidInput(f"{name} is {opened.width}x{opened.height}; {max_pixels} pixels are the most.")
            opened.load()
            warnings = []
            if getattr(opened, "n_frames", 1) > 1:
                warnings.append(f"{name} is animated: its first frame was used.")
            upright = ImageOps.exif_transpose(opened)
            if alpha and upright.has_transparency_data:
                return upright.convert("RGBA"), warnings
            if upright.has_transparency_data:
                warnings.append(f"The transparency of {name} was left out.")
            return _rgb(upright), warnings
    except UnidentifiedImageError:
        raise InvalidInput(f"{name} is no picture that can be read; accepted: PNG, JPEG, WebP.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{name} is damaged or cut off: {str(error)[:100]}.") from None


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        # Pillow's own conversion cuts 16 bits off at 255.
        grey = np.asarray(picture, dtype=np.float64) / _SIXTEEN_BITS
        picture = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    return picture.convert("RGB")
