"""What callers hold as a picture, as the encoded file that the server takes; and the answer back."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from atelier.client.errors import InvalidRequest
from atelier.errors import InvalidInput
from atelier.media import Picture, encode_picture

MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Modes of PIL images that are sent; the server takes 8 bits a channel."""


def to_file(source: Any, name: str) -> bytes:
    """The encoded file of a picture, in the caller's own words.

    Args:
        source: a path, the bytes of a file, a PIL image, or an array [H, W] or [H, W, 1 to 4] of uint8, or of bool
            for a mask. Paths and bytes are sent as they are; the server decodes them, and turns them upright as their
            EXIF data says, which is done here for a PIL image.
        name: what it is for, in errors.

    Raises:
        InvalidRequest: no such file, or nothing that could be a picture.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        try:
            return Path(source).read_bytes()
        except OSError as error:
            raise InvalidRequest(f"{name}: {source} cannot be read ({error.strerror}).") from None
        except (ValueError, TypeError) as error:  # a name with a zero byte, or one in bytes
            raise InvalidRequest(f"{name}: {source!r} is no path ({error}).") from None
    if isinstance(source, np.ndarray):
        return _encode_array(source, name)
    if isinstance(source, Image.Image):
        return _encode_image(source, name)
    kind = type(source).__name__
    raise InvalidRequest(f"{name} is a {kind}; accepted: a path, bytes, a PIL image or an array.")


def _encode_image(image: Image.Image, name: str) -> bytes:
    if image.mode not in MODES or 0 in image.size:
        raise InvalidRequest(
            f"{name} is a PIL image of mode {image.mode}, {image.width}x{image.height} pixels; accepted: the modes "
            f"{', '.join(MODES)} (see Image.convert), with pixels."
        )
    buffer = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image) if _is_turned(image) else image
        upright.save(buffer, format="PNG", compress_level=1, icc_profile=image.info.get("icc_profile"))
    except MemoryError:
        raise
    # It is decoded only now, and a damaged or closed file makes Pillow raise whatever its parsers run into.
    except Exception as error:
        raise InvalidRequest(f"{name} is a PIL image that cannot be written as a PNG ({error}).") from None
    return buffer.getvalue()


def _is_turned(image: Image.Image) -> bool:
    """Whether EXIF data says so; damaged data counts as none, as on the server."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except MemoryError:
        raise
    except Exception:
        return False


def _encode_array(array: NDArray[Any], name: str) -> bytes:
    pixels = array[..., np.newaxis] if array.ndim == 2 else array
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or 0 in pixels.shape:
        raise InvalidRequest(
            f"{name} is an array of {array.dtype} {list(array.shape)}; accepted: uint8 (or bool for a mask) "
            "[H, W] or [H, W, 1 to 4]."
        )
    try:
        return encode_picture(Picture(np.ascontiguousarray(pixels), None, "png"), "png")
    except InvalidInput as error:
        raise InvalidRequest(f"{name}: {error}") from None
