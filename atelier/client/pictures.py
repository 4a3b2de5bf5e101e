"""What callers hold as a picture, as the encoded file that the server takes; and the answer back."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.client.errors import InvalidRequest
from atelier.errors import InvalidInput
from atelier.media import Picture, encode_picture


def to_file(source: Any, name: str) -> bytes:
    """The encoded file of a picture, in the caller's own words.

    Args:
        source: a path, the bytes of a file, a PIL image, or an array [H, W] or [H, W, 1 to 4] of uint8, or of bool
            for a mask. Paths and bytes are sent as they are; the server decodes them.
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
    if isinstance(source, np.ndarray):
        return _encode_array(source, name)
    if hasattr(source, "save") and hasattr(source, "mode"):  # a PIL image, without importing PIL's class
        buffer = io.BytesIO()
        source.save(buffer, format="PNG", compress_level=1, icc_profile=source.info.get("icc_profile"))
        return buffer.getvalue()
    kind = type(source).__name__
    raise InvalidRequest(f"{name} is a {kind}; accepted: a path, bytes, a PIL image or an array.")


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
