"""What PNG and WebP files say before a pixel is decoded, read straight from their bytes.

Pillow reads JPEG headers well enough. Of PNG it cuts 16-bit samples to 8 without a word, takes a file with missing rows
for a whole one, and refuses pictures for the sake of their comments; of WebP it allocates the canvas before anyone can
look at its size.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from atelier.errors import InvalidInput

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

MAX_PROFILE_BYTES: Final = 255 * 65519
"""Most bytes of an ICC profile: what the segments of a JPEG can hold (ICC.1:2022, B.4), 16.7 MB."""

# Colour type to number of samples a pixel, and the bit depths that go with it (PNG, third edition, 11.2.1).
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_DEPTHS = {0: (1, 2, 4, 8), 2: (8,), 3: (1, 2, 4, 8), 4: (8,), 6: (8,)}

# Adam7 (PNG, third edition, 8.1): first row, first column, row step, column step of each pass.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))

# How a PNG says what its numbers mean as colours, beside iCCP, and each chunk's length (PNG, third edition, 11.3.2).
_PNG_COLOUR = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}

# Deflate expands a byte to 1032 at most, so that a piece never inflates to more than 17 MB at once.
_INFLATE_PIECE = 16384


class DamagedError(Exception):
    """The file breaks its own format's rules; ``decode_picture`` says so in a sentence."""


@dataclass(frozen=True)
class PngHeader:
    """The IHDR chunk: size in pixels and the layout of a pixel."""

    width: int
    height: int
    bit_depth: int
    colour_type: int
    interlaced: bool

    @property
    def inflated_bytes(self) -> int:
        """Length of the whole picture's rows, each with its filter byte, before compression."""
        passes = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for first_row, first_column, row_step, column_step in passes:
            rows = -(-max(self.height - first_row, 0) // row_step)
            columns = -(-max(self.width - first_column, 0) // column_step)
            bits = columns * _PNG_SAMPLES[self.colour_type] * self.bit_depth
            total += rows * (1 + -(-bits // 8)) if columns else 0
        return total


@dataclass(frozen=True)
class PngParts:
    """The contents of a PNG file that matter to a picture.

    Attributes:
        pixels: a PNG file of the header, the palette and the pixels alone.
        transparency: the tRNS chunk, None where there is none.
        icc_profile: the profile of the iCCP chunk, None where there is none or it cannot be unpacked.
        exif: the eXIf chunk, empty where there is none.
        colour: kind and body of the chunks cICP, sRGB, gAMA and cHRM that there are and that have their proper length.
    """

    pixels: bytes
    transparency: bytes | None
    icc_profile: bytes | None
    exif: bytes
    colour: tuple[tuple[bytes, bytes], ...]


def read_png_header(data: bytes, name: str) -> PngHeader:
    """Read the IHDR chunk of a PNG file.

    Raises:
        InvalidInput: the picture has 16 bits a sample.
        DamagedError: there is no proper header.
    """
    kind, body, _ = next(_png_chunks(data))
    if kind != b"IHDR" or len(body) != 13:
        raise DamagedError
    bit_depth, colour_type, compression, filtering, interlace = body[8:]
    if bit_depth == 16:
        raise InvalidInput(f"{name} is a PNG of 16 bits a sample; at most 8 bits a sample are accepted.")
    if bit_depth not in _PNG_DEPTHS.get(colour_type, ()) or compression or filtering or interlace > 1:
        raise DamagedError
    return PngHeader(
        int.from_bytes(body[:4]), int.from_bytes(body[4:8]), bit_depth, colour_type, interlaced=bool(interlace)
    )


def read_png(data: bytes, header: PngHeader, name: str) -> PngParts:
    """Check a PNG file from its first byte to its end chunk, and take it apart.

    Comments are left out unread, so that a compressed one cannot grow.

    Raises:
        InvalidInput: the picture is animated, or its colour profile is too large.
        DamagedError: a checksum is wrong, or the end, the palette or some of the pixels are missing.
    """
    compressed, compressed_chunks = [], []
    first_of: dict[bytes, tuple[bytes, bytes]] = {}
    for kind, body, whole in _png_chunks(data):
        if kind == b"IDAT":
            compressed.append(body)
            compressed_chunks.append(whole)
        else:
            first_of.setdefault(kind, (body, whole))
    if b"acTL" in first_of:
        raise InvalidInput(f"{name} is an animated PNG; only still pictures are accepted.")
    leading = [b"IHDR", b"PLTE"] if header.colour_type == 3 else [b"IHDR"]
    if not first_of.keys() >= set(leading) or not _inflates_to(compressed, header.inflated_bytes):
        raise DamagedError
    # First chunks alone: a second IHDR would be obeyed by Pillow, after the size was checked.
    kept = [PNG_SIGNATURE, *(first_of[kind][1] for kind in leading), *compressed_chunks, first_of[b"IEND"][1]]
    single = {kind: body for kind, (body, _) in first_of.items()}
    return PngParts(
        pixels=b"".join(kept),
        transparency=single.get(b"tRNS"),
        icc_profile=_png_profile(single[b"iCCP"], name) if b"iCCP" in single else None,
        exif=single.get(b"eXIf", b""),
        colour=tuple((kind, single[kind]) for kind, size in _PNG_COLOUR.items() if len(single.get(kind, b"")) == size),
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, body and whole of each chunk up to the end chunk, or to where the file ends without one."""
    start = len(PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        end = start + 12 + length
        if end > len(data) or zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise DamagedError
        yield kind, data[start + 8 : end - 4], data[start:end]
        start = end


def _inflates_to(compressed: list[bytes], length: int) -> bool:
    """Whether the zlib stream in these pieces holds at least ``length`` bytes."""
    inflater = zlib.decompressobj()
    inflated = 0
    for body in compressed:
        for start in range(0, len(body), _INFLATE_PIECE):
            if inflated >= length:
                return True
            inflated += len(inflater.decompress(body[start : start + _INFLATE_PIECE]))
    return inflated >= length


def _png_profile(body: bytes, name: str) -> bytes | None:
    """The ICC profile of an iCCP chunk; None where it cannot be unpacked, as browsers and Pillow do."""
    _, _, compressed = body.partition(b"\0")
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(compressed[1:], MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return None
    check_profile(profile, name)
    return profile if inflater.eof else None


def check_profile(profile: bytes | None, name: str) -> None:
    """Refuse a colour profile that no JPEG could hold.

    Raises:
        InvalidInput: the profile has more than ``MAX_PROFILE_BYTES`` bytes.
    """
    if profile is not None and len(profile) > MAX_PROFILE_BYTES:
        limit = MAX_PROFILE_BYTES / 1e6
        raise InvalidInput(f"{name} holds a colour profile of more than {limit:.1f} MB; at most that is accepted.")


def read_webp_size(data: bytes, name: str) -> tuple[int, int]:
    """Read width and height in pixels of a WebP file (RFC 9649, sections 2.5 to 2.7).

    Raises:
        InvalidInput: the picture is animated.
        DamagedError: there is no proper header.
    """
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X" and len(body) == 10:
        if body[0] & 0x02:
            raise InvalidInput(f"{name} is an animated WebP; only still pictures are accepted.")
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) == 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise DamagedError
