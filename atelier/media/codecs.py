"""Encoded pictures in and out: PNG, JPEG and WebP."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile, PngInfo
from PIL.WebPImagePlugin import WebPImageFile

from atelier.errors import InvalidInput
from atelier.media.containers import (
    PNG_SIGNATURE,
    PngHeader,
    check_profile,
    read_png,
    read_png_header,
    read_webp_size,
)

DEFAULT_MAX_PIXELS: Final = 50_000_000
"""Most pixels, width times height, that a picture may have where the caller says nothing else."""

FORMATS: Final = ("png", "jpeg", "webp")
"""The formats that are read and written."""

# Longest side in pixels: of WebP by its header's 14 bits, of JPEG by libjpeg (the header alone would allow 65535).
_MAX_SIDES = {"webp": 16383, "jpeg": 65500}

# Measured on a photo and on a page with text and screentone, 6 MP each.
# PNG: against level 6, Pillow's own, level 1 takes 0.45 of the time and 1.15 of the bytes on the photo, 0.6 of the time
# and 0.9 of the bytes on the page. OpenCV's level 1 takes 0.7 and 0.9 of that time for the same bytes, but it knows
# neither colour profiles nor grey with alpha.
# WebP, lossless: against method 4, quality 75, method 0 takes 0.2 of the time and 1.15 of the bytes on the photo, 0.4
# of the time and 1.15 of the bytes on the page: about PNG's time at level 1, with 0.96 and 0.3 of its bytes.
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 1},
    # Without subsampling=0 (4:4:4) thin coloured lines bleed.
    "jpeg": {"quality": 95, "subsampling": 0},
    # exact: colours under alpha 0 are kept.
    "webp": {"lossless": True, "exact": True, "method": 0, "quality": 75},
}

# Rows are taken from Pillow's image so many pixels at a time: at once it makes two more copies of the whole.
_STRIP_PIXELS = 1 << 20

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture, upright.

    Attributes:
        pixels: uint8 [H, W, C], C-contiguous; C is 1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGBA, alpha not
            premultiplied. To be read only: what ``decode_picture`` gives is not writeable.
        icc_profile: the colour profile of the pixels, None where the file named none.
        format: what it was decoded from: "png", "jpeg" or "webp".
        png_colour: kind and body of a PNG's chunks cICP, sRGB, gAMA and cHRM, which say what its colours are.

    Raises:
        ValueError: ``pixels`` is not uint8 [H, W, 1 to 4] with pixels.
    """

    pixels: NDArray[np.uint8]
    icc_profile: bytes | None
    format: str
    png_colour: tuple[tuple[bytes, bytes], ...] = ()

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or pixels.size == 0:
            raise ValueError(f"uint8 pixels [H, W, 1 to 4] are needed, got {pixels.dtype} {pixels.shape}")
        object.__setattr__(self, "pixels", np.ascontiguousarray(pixels))

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Number of columns."""
        return int(self.pixels.shape[1])

    @property
    def is_grey(self) -> bool:
        """Whether there is one value a pixel, beside alpha."""
        return bool(self.pixels.shape[2] <= 2)

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The colours, uint8 [H, W, 3], C-contiguous; grey is repeated. Costs a copy unless the picture is RGB."""
        if self.is_grey:
            return np.repeat(self.pixels[..., :1], 3, axis=2)
        return np.ascontiguousarray(self.pixels[..., :3])

    @property
    def alpha(self) -> NDArray[np.uint8] | None:
        """The opacity, uint8 [H, W], 0 transparent to 255 opaque; None where the picture has none."""
        return self.pixels[..., -1] if self.pixels.shape[2] in (2, 4) else None

    def with_rgb(self, rgb: NDArray[np.uint8]) -> Picture:
        """The picture with other colours; alpha and profile stay, and grey stays grey.

        Grey is the luma of ITU-R BT.601 as Pillow rounds it, which is exactly v where red, green and blue are all v.

        Args:
            rgb: uint8 [H, W, 3], of the picture's height and width.

        Raises:
            ValueError: ``rgb`` has another shape or type.
        """
        if rgb.dtype != np.uint8 or rgb.shape != (self.height, self.width, 3):
            raise ValueError(f"uint8 {(self.height, self.width, 3)} is needed, got {rgb.dtype} {rgb.shape}")
        colours = _luma(rgb)[..., None] if self.is_grey else rgb
        alpha = self.alpha
        pixels = colours if alpha is None else np.concatenate([colours, alpha[..., None]], axis=2)
        return replace(self, pixels=pixels)


def decode_picture(data: bytes, *, name: str = "IMAGE", max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Decode a PNG, JPEG or WebP picture, told by its content.

    The EXIF orientation is applied; damaged EXIF data counts as none. Palettes, colour keys and 1 to 4 bits a sample
    are expanded without loss. Every PNG checksum is checked; of JPEG and WebP, which have none, damage that still
    decodes goes unseen.

    Args:
        data: the whole file.
        name: what the messages call the picture: its tensor's name.
        max_pixels: most pixels, width times height; read from the header before anything is decoded. Of WebP, Pillow
            decodes no more than twice ``PIL.Image.MAX_IMAGE_PIXELS`` (179 MP unless set).

    Raises:
        InvalidInput: the data is empty, of another format, damaged or cut off, larger than ``max_pixels``, animated,
            of 16 bits a sample or CMYK, or holds a colour profile of more than 16.7 MB.
    """
    if not data:
        raise InvalidInput(f"{name} is empty; a PNG, JPEG or WebP picture is accepted.")
    if data.startswith(PNG_SIGNATURE):
        label, decode = "PNG", _decode_png
    elif data.startswith(b"\xff\xd8\xff"):
        label, decode = "JPEG", _decode_jpeg
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        label, decode = "WebP", _decode_webp
    else:
        raise InvalidInput(f"{name} is not a PNG, JPEG or WebP picture.")
    try:
        picture = decode(data, name, max_pixels)
    except (InvalidInput, MemoryError):
        raise
    # Pillow answers junk with whatever exception its parsers happen to run into.
    except Exception as error:
        raise InvalidInput(
            f"{name} is a {label} that is damaged, cut off or of an uncommon kind; a whole PNG, JPEG or WebP picture "
            "is accepted."
        ) from error
    check_profile(picture.icc_profile, name)
    return picture


def decode_mask(data: bytes, *, name: str = "MASK", max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode a picture as a mask, as upstream LaMa does: ``Image.convert("L")``, so that alpha is ignored.

    Args:
        data: the whole file.
        name: what the messages call the mask: its tensor's name.
        max_pixels: most pixels, width times height.

    Returns:
        uint8 [H, W]: the value itself of a grey picture, the luma (ITU-R BT.601) of another one.

    Raises:
        InvalidInput: as ``decode_picture``.
    """
    picture = decode_picture(data, name=name, max_pixels=max_pixels)
    return np.ascontiguousarray(picture.pixels[..., 0]) if picture.is_grey else _luma(picture.rgb)


def parse_format(text: str) -> str:
    """Name one of ``FORMATS`` from a caller's text, in any case; "jpg" is "jpeg".

    Raises:
        InvalidInput: it is none of them.
    """
    lowered = text.lower()
    if lowered == "jpg":
        return "jpeg"
    if lowered not in FORMATS:
        raise InvalidInput(f"The picture format {text[:40]!r} is not known; png, jpeg (or jpg) and webp are accepted.")
    return lowered


def encode_picture(picture: Picture, format: str | None = None) -> bytes:
    """Encode a picture with its alpha and what it says about its colours, as far as the format can hold that.

    A colour profile is written where it fits the pixels, a PNG's own chunks into PNG; ``encoding_losses`` tells what is
    left out. PNG and WebP are lossless; JPEG has quality 95 and full colour resolution (4:4:4). WebP has no grey: a
    grey picture is written as RGB.

    Args:
        picture: what to encode.
        format: one of ``FORMATS`` as ``parse_format`` reads them; None for the picture's own.

    Raises:
        InvalidInput: the format is not known, cannot hold alpha (JPEG), or cannot hold a picture of this size.
    """
    file_format = parse_format(picture.format if format is None else format)
    if file_format == "jpeg" and picture.alpha is not None:
        raise InvalidInput("The picture has an alpha channel, which JPEG cannot hold; ask for png or webp.")
    longest = _MAX_SIDES.get(file_format)
    if longest is not None and max(picture.height, picture.width) > longest:
        raise InvalidInput(
            f"The picture has {picture.width}x{picture.height} pixels; {file_format} holds at most {longest} pixels a "
            "side, png more."
        )
    pixels = picture.pixels[..., 0] if picture.pixels.shape[2] == 1 else picture.pixels
    file = io.BytesIO()
    options = _SAVE_OPTIONS[file_format]
    if file_format == "png" and picture.png_colour:
        options = {**options, "pnginfo": _png_info(picture.png_colour)}
    profile = picture.icc_profile if _profile_fits(picture, file_format) else None
    Image.fromarray(pixels).save(file, file_format.upper(), icc_profile=profile, **options)
    return file.getvalue()


def encoding_losses(picture: Picture, format: str) -> list[str]:
    """What ``encode_picture`` leaves out of what the picture says about its colours, a sentence each.

    Args:
        picture: what is encoded.
        format: one of ``FORMATS``.
    """
    losses = []
    keeps_profile = _profile_fits(picture, format)
    if picture.icc_profile is not None and not keeps_profile:
        written = "grey" if _written_grey(picture, format) else "RGB"
        losses.append(
            f"The colour profile was left out: it is not for {written} pixels, which the {format} result has; "
            "colours may look different."
        )
    kinds = [kind for kind, _ in picture.png_colour]
    # A profile overrides the chunks, and sRGB is what a picture without any is taken for.
    overridden = keeps_profile and b"cICP" not in kinds
    harmless = b"sRGB" in kinds and b"cICP" not in kinds
    if kinds and format != "png" and not overridden and not harmless:
        names = ", ".join(kind.decode() for kind in kinds)
        losses.append(f"{format} cannot hold the PNG's colour information ({names}): colours may look different.")
    return losses


def _written_grey(picture: Picture, file_format: str) -> bool:
    return picture.is_grey and file_format != "webp"


def _profile_fits(picture: Picture, file_format: str) -> bool:
    """Whether there is a profile, and it is for such pixels as are written (ICC.1:2022, 7.2.6)."""
    space = b"GRAY" if _written_grey(picture, file_format) else b"RGB "
    return picture.icc_profile is not None and picture.icc_profile[16:20] == space


def _png_info(chunks: tuple[tuple[bytes, bytes], ...]) -> PngInfo:
    info = PngInfo()
    for kind, body in chunks:
        info.add(kind, body)
    return info


def _decode_png(data: bytes, name: str, max_pixels: int) -> Picture:
    """The picture in a PNG file."""
    header = read_png_header(data, name)
    _check_size(header.width, header.height, name, max_pixels)
    parts = read_png(data, header, name)
    # The plugins' classes instead of Image.open, which would apply Pillow's own limit of pixels.
    image = _upright(PngImageFile(io.BytesIO(parts.pixels)), parts.exif)
    pixels = _channels(image)
    if parts.transparency is not None and header.colour_type in (0, 2, 3):
        samples = np.asarray(image)[..., None] if header.colour_type == 3 else pixels
        alpha = _png_alpha(samples, parts.transparency, header)
        pixels = np.concatenate([pixels, alpha[..., None]], axis=2)
    return Picture(pixels, parts.icc_profile or None, "png", parts.colour)


def _png_alpha(samples: NDArray[np.uint8], transparency: bytes, header: PngHeader) -> NDArray[np.uint8]:
    """Alpha [H, W] by a tRNS chunk (PNG, third edition, 11.3.1.1) of palette indices [H, W, 1] or colours [H, W, C].

    Pillow is not asked: it compares the key of 2-bit and 4-bit grey with samples that it has already scaled to 8 bits.
    """
    if header.colour_type == 3:
        opacity = np.full(256, 255, np.uint8)
        opacity[: len(transparency)] = np.frombuffer(transparency[:256], np.uint8)
        return opacity[samples[..., 0]]
    largest = (1 << header.bit_depth) - 1
    key = np.frombuffer(transparency, ">u2", samples.shape[2]) & largest
    return np.where((samples == key * (255 // largest)).all(axis=2), 0, 255).astype(np.uint8)


def _decode_jpeg(data: bytes, name: str, max_pixels: int) -> Picture:
    """The picture in a JPEG file."""
    # Reads the header alone. Of a multi-picture file, as telephones write them, this is the first and main one.
    image = JpegImageFile(io.BytesIO(data))
    _check_size(image.width, image.height, name, max_pixels)
    if image.mode == "CMYK":
        raise InvalidInput(f"{name} is a CMYK or YCCK JPEG; grey and RGB (YCbCr) JPEGs are accepted.")
    pixels = _channels(_upright(image, image.info.get("exif", b"")))
    return Picture(pixels, image.info.get("icc_profile") or None, "jpeg")


def _decode_webp(data: bytes, name: str, max_pixels: int) -> Picture:
    """The picture in a WebP file."""
    pillow_limit = Image.MAX_IMAGE_PIXELS
    accepted = max_pixels if pillow_limit is None else min(max_pixels, 2 * pillow_limit)
    _check_size(*read_webp_size(data, name), name, accepted)
    image = WebPImageFile(io.BytesIO(data))
    pixels = _channels(_upright(image, image.info.get("exif", b"")))
    return Picture(pixels, image.info.get("icc_profile") or None, "webp")


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    """Refuse a picture of more than ``max_pixels``."""
    if width * height > max_pixels:
        raise InvalidInput(
            f"{name} has {width}x{height} pixels ({width * height / 1e6:.1f} MP); "
            f"at most {max_pixels / 1e6:.1f} MP are accepted."
        )


def _upright(image: Image.Image, exif: bytes) -> Image.Image:
    """The decoded image, turned as its EXIF data says."""
    image.load()
    transpose = _orientation(exif)
    return image if transpose is None else image.transpose(transpose)


def _orientation(exif: bytes) -> Image.Transpose | None:
    """What turns a picture with this EXIF data upright; None where it is, or where the data is damaged."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        return _TRANSPOSE.get(tags.get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    # A picture with damaged EXIF data is still a picture.
    except Exception:
        return None


def _channels(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels [H, W, C] of an image of any mode that the three formats decode to; alpha of palettes left out."""
    expanded = image.convert({"1": "L", "P": "RGB"}[image.mode]) if image.mode in ("1", "P") else image
    pixels = np.empty((image.height, image.width, len(expanded.getbands())), np.uint8)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = pixels[top : top + rows]
        strip[...] = np.asarray(expanded.crop((0, top, image.width, top + len(strip)))).reshape(strip.shape)
    pixels.flags.writeable = False
    return pixels


def _luma(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma [H, W] of colours [H, W, 3], by Pillow itself so that it rounds alike."""
    return np.asarray(Image.fromarray(rgb).convert("L"))
