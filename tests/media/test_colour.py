"""What a file says of its colours: profiles and PNG's own chunks, through every format."""

import io
import struct
import zlib

import pytest
from PIL import Image, ImageCms

from atelier.media import Picture, decode_picture, encode_picture, encoding_losses

from .files import chunks, noise, png

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_ICC = ICC[:16] + b"GRAY" + ICC[20:]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("profile", [ICC, GREY_ICC, b"short", ICC[:16] + b"CMYK" + ICC[20:]])
@pytest.mark.parametrize("target", ["png", "jpeg", "webp"])
def test_a_profile_is_written_only_with_pixels_of_its_colour_space(channels, profile, target):
    if target == "jpeg" and channels in (2, 4):
        return
    picture = Picture(noise(5, 6, channels), profile, "png")
    grey = channels <= 2 and target != "webp"
    fits = profile[16:20] == (b"GRAY" if grey else b"RGB ")
    data = encode_picture(picture, target)
    assert Image.open(io.BytesIO(data)).info.get("icc_profile") == (profile if fits else None)
    assert [("colour profile was left out" in loss) for loss in encoding_losses(picture, target)] == [True] * (not fits)


CHUNKS = {b"cICP": b"\1\r\0\1", b"sRGB": b"\0", b"gAMA": struct.pack(">I", 100_000), b"cHRM": bytes(range(32))}


@pytest.mark.parametrize("kinds", [(b"sRGB",), (b"gAMA",), (b"gAMA", b"cHRM"), tuple(CHUNKS)])
def test_a_png_keeps_what_it_says_of_its_colours(kinds):
    rows = b"".join(b"\0" + row.tobytes() for row in noise(4, 6, 3))
    picture = decode_picture(png(6, 4, 8, 2, rows, *((kind, CHUNKS[kind]) for kind in kinds)))
    written = dict(chunks(encode_picture(picture.with_rgb(noise(4, 6, 3, seed=1)), "png")))
    assert {kind: written.get(kind) for kind in CHUNKS} == {k: CHUNKS[k] if k in kinds else None for k in CHUNKS}
    assert encoding_losses(picture, "png") == []
    # sRGB is what a file without any of this is taken for.
    lost = kinds != (b"sRGB",)
    for target in ("jpeg", "webp"):
        assert len(encoding_losses(picture, target)) == lost


def test_a_profile_overrides_the_chunks_and_goes_everywhere():
    rows = b"".join(b"\0" + row.tobytes() for row in noise(4, 6, 3))
    profile = (b"iCCP", b"p\0\0" + zlib.compress(ICC))
    picture = decode_picture(png(6, 4, 8, 2, rows, profile, (b"gAMA", CHUNKS[b"gAMA"])))
    assert [encoding_losses(picture, target) for target in ("png", "jpeg", "webp")] == [[], [], []]


def test_colour_chunks_of_a_wrong_length_are_dropped():
    rows = b"".join(b"\0" + row.tobytes() for row in noise(4, 6, 3))
    picture = decode_picture(png(6, 4, 8, 2, rows, *((kind, body + b"x") for kind, body in CHUNKS.items())))
    assert picture.png_colour == ()
