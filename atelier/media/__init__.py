"""Pictures in and out, and the geometry of working on parts of them. Plain arrays; nothing here knows a model.

Arrays are [H, W, ...]; sizes and positions are whole pixels; of a mask, every value other than 0 is hole.
"""

from atelier.media.blending import feather, paste
from atelier.media.boxes import Box
from atelier.media.codecs import (
    DEFAULT_MAX_PIXELS,
    FORMATS,
    Picture,
    decode_mask,
    decode_picture,
    encode_picture,
    encoding_losses,
    parse_format,
)
from atelier.media.padding import pad_to_modulus, pad_to_size
from atelier.media.regions import Region, connected_regions
from atelier.media.tiling import cut, window_around

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "FORMATS",
    "Box",
    "Picture",
    "Region",
    "connected_regions",
    "cut",
    "decode_mask",
    "decode_picture",
    "encode_picture",
    "encoding_losses",
    "feather",
    "pad_to_modulus",
    "pad_to_size",
    "parse_format",
    "paste",
    "window_around",
]
