import io
import struct
import threading
import tracemalloc
import warnings
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from atelier.errors import InvalidInput
from atelier.media import Picture, codecs, decode_mask, decode_picture, encode_picture, parse_format

from .files import SIGNATURE, assemble, chunk, chunks, header, noise, png, save, smooth

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PILLOW_FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def refusal(data: bytes, **options) -> str:
    with pytest.raises(InvalidInput) as caught:
        decode_picture(data, **options)
    message = str(caught.value)
    assert message.startswith(options.get("name", "IMAGE")) and message.endswith(".") and "/" not in message
    return message


# Plain files


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_comes_back_pixel_by_pixel(channels):
    pixels = noise(13, 17, channels)
    picture = decode_picture(save(pixels[..., 0] if channels == 1 else pixels, "PNG"))
    assert (picture.format, picture.height, picture.width, picture.icc_profile) == ("png", 13, 17, None)
    assert picture.pixels.dtype == np.uint8 and picture.pixels.flags.c_contiguous
    assert np.array_equal(picture.pixels, pixels)


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (4, 5), (8, 8), (33, 21)])
def test_png_files_of_opencv_and_interlaced_ones_are_read(size, interlace):
    pixels = noise(*size, 3)
    if not interlace:
        data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    else:
        rows = b""
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        for row, column, row_step, column_step in passes:
            part = pixels[row::row_step, column::column_step]
            rows += b"".join(b"\0" + line.tobytes() for line in part) if part.size else b""
        data = png(size[1], size[0], 8, 2, rows, interlace=1)
        assert "damaged" in refusal(png(size[1], size[0], 8, 2, rows[:-1], interlace=1))
    assert np.array_equal(decode_picture(data).pixels, pixels)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_what_pillow_decodes(mode, channels, progressive):
    data = save(Image.fromarray(smooth(40, 30)).convert(mode), "JPEG", progressive=progressive)
    picture = decode_picture(data)
    assert (picture.format, picture.pixels.shape) == ("jpeg", (40, 30, channels))
    assert np.array_equal(picture.pixels.squeeze(), np.asarray(opened(data)))


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}])
@pytest.mark.parametrize("channels", [3, 4])
def test_webp_is_what_pillow_decodes(channels, options):
    data = save(noise(21, 34, channels), "WEBP", **options)
    picture = decode_picture(data)
    assert (picture.format, picture.pixels.shape) == ("webp", (21, 34, channels))
    assert np.array_equal(picture.pixels, np.asarray(opened(data)))


def test_the_first_picture_of_a_multi_picture_jpeg_is_taken():
    first, second = Image.fromarray(smooth(16, 24)), Image.fromarray(smooth(8, 8))
    data = save(first, "MPO", save_all=True, append_images=[second])
    assert opened(data).format == "MPO"
    picture = decode_picture(data)
    assert (picture.format, picture.width, picture.height) == ("jpeg", 24, 16)


# Expansion of palettes, keys and few bits


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_is_scaled_and_its_key_becomes_alpha(depth):
    largest = 2**depth - 1
    values = np.arange(16).reshape(2, 8) % (largest + 1)
    bits = ((values[..., None] >> np.arange(depth)[::-1]) & 1).astype(np.uint8).reshape(2, -1)
    rows = b"".join(b"\0" + line.tobytes() for line in np.packbits(bits, axis=1))
    grey = values * (255 // largest)
    plain = decode_picture(png(8, 2, depth, 0, rows))
    assert plain.is_grey and plain.alpha is None and np.array_equal(plain.pixels[..., 0], grey)
    keyed = decode_picture(png(8, 2, depth, 0, rows, (b"tRNS", b"\0\1")))
    assert keyed.pixels.shape == (2, 8, 2) and np.array_equal(keyed.pixels[..., 0], grey)
    assert np.array_equal(keyed.alpha, np.where(values == 1, 0, 255))


def test_a_colour_key_makes_that_colour_alone_transparent():
    pixels = np.array([[[1, 2, 3], [1, 2, 4], [9, 2, 3]]], np.uint8)
    picture = decode_picture(png(3, 1, 8, 2, b"\0" + pixels.tobytes(), (b"tRNS", struct.pack(">3H", 1, 2, 3))))
    assert np.array_equal(picture.rgb, pixels) and picture.alpha.tolist() == [[0, 255, 255]]
    grey = decode_picture(png(3, 1, 8, 0, b"\0\5\6\7", (b"tRNS", b"\0\6")))
    assert grey.pixels[..., 0].tolist() == [[5, 6, 7]] and grey.alpha.tolist() == [[255, 0, 255]]
    assert "damaged" in refusal(png(3, 1, 8, 0, b"\0\5\6\7", (b"tRNS", b"\6")))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparency", [None, b"\x00", b"\x80\xff\x11"])
def test_a_palette_is_expanded(bits, transparency):
    colours = noise(1, 2**bits, 3)[0]
    indices = noise(7, 9, 1)[..., 0] & (2**bits - 1)
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    data = save(image, "PNG", bits=bits, **({} if transparency is None else {"transparency": transparency}))
    picture = decode_picture(data)
    assert np.array_equal(picture.rgb, colours[indices])
    if transparency is None:
        assert picture.pixels.shape[2] == 3
    else:
        opacity = np.full(256, 255)
        count = min(len(transparency), 2**bits)
        opacity[:count] = np.frombuffer(transparency, np.uint8)[:count]
        assert np.array_equal(picture.alpha, opacity[indices])


def test_a_picture_without_pixels_is_refused():
    assert "damaged" in refusal(png(0, 3, 8, 2, b"\0\0\0"))
    assert "damaged" in refusal(png(3, 0, 8, 2, b"\0\0\0"))


def test_a_truecolour_picture_may_suggest_a_palette():
    assert decode_picture(png(1, 1, 8, 2, b"\0\1\2\3", (b"PLTE", b"\0" * 2000))).pixels.tolist() == [[[1, 2, 3]]]


def test_a_palette_picture_without_its_palette_is_refused():
    assert "damaged" in refusal(png(2, 1, 8, 3, b"\0\0\1"))


# Orientation, profile, alpha


def with_exif(pixels: np.ndarray, file_format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(pixels, PILLOW_FORMATS[file_format], exif=exif, **({"lossless": True} if file_format == "webp" else {}))


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied(file_format, orientation):
    data = with_exif(smooth(24, 40), file_format, orientation)
    expected = np.asarray(ImageOps.exif_transpose(opened(data)))
    picture = decode_picture(data)
    assert picture.pixels.shape == ((40, 24, 3) if orientation >= 5 else (24, 40, 3))
    assert picture.pixels.flags.c_contiguous and np.array_equal(picture.pixels, expected)
    assert np.array_equal(decode_mask(data), np.asarray(ImageOps.exif_transpose(opened(data)).convert("L")))


def test_orientation_turns_palette_alpha_and_bilevel_pictures_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(noise(3, 5, 1)[..., 0] % 4)
    image.putpalette(noise(1, 4, 3).tobytes())
    data = save(image, "PNG", transparency=b"\x00\x40\x80\xff", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(opened(data)).convert("RGBA"))
    assert np.array_equal(decode_picture(data).pixels, expected)
    bilevel = save(Image.fromarray(noise(3, 11, 1)[..., 0] > 127), "PNG", exif=exif)
    assert opened(bilevel).mode == "1"
    expected = np.asarray(ImageOps.exif_transpose(opened(bilevel)).convert("L"))
    assert np.array_equal(decode_picture(bilevel).pixels[..., 0], expected)


@pytest.mark.parametrize("exif", [b"", b"junk", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + b"\xee" * 40])
def test_damaged_exif_counts_as_none(exif):
    pixels = noise(4, 6, 3)
    data = png(6, 4, 8, 2, b"".join(b"\0" + row.tobytes() for row in pixels), (b"eXIf", exif))
    with warnings.catch_warnings(record=True):
        assert np.array_equal(decode_picture(data).pixels, pixels)


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_the_colour_profile_is_kept(file_format):
    picture = decode_picture(save(smooth(8, 9), PILLOW_FORMATS[file_format], icc_profile=ICC))
    assert picture.icc_profile == ICC
    for target in ("png", "jpeg", "webp"):
        assert decode_picture(encode_picture(picture, target)).icc_profile == ICC
        assert opened(encode_picture(picture, target)).info["icc_profile"] == ICC


def test_a_profile_of_two_megabytes_is_kept():
    profile = bytes(16) + b"RGB " + np.random.default_rng(0).bytes(2_000_000)
    picture = Picture(noise(4, 4, 3), profile, "png")
    for target in ("png", "jpeg", "webp"):
        assert decode_picture(encode_picture(picture, target)).icc_profile == profile


def test_what_is_decoded_is_complete_across_strips_and_not_writeable(monkeypatch):
    monkeypatch.setattr(codecs, "_STRIP_PIXELS", 100)
    for channels in (1, 2, 3, 4):
        pixels = noise(37, 23, channels)
        picture = decode_picture(save(pixels.squeeze(), "PNG"))
        assert np.array_equal(picture.pixels, pixels)
        assert not picture.pixels.flags.writeable


# What is refused


def test_sixteen_bits_a_sample_are_refused():
    for colour_type, samples in ((0, 1), (2, 3), (4, 2), (6, 4)):
        rows = (b"\0" + bytes(2 * samples * 3)) * 2
        assert "16 bits" in refusal(png(3, 2, 16, colour_type, rows))
    assert "16 bits" in refusal(cv2.imencode(".png", np.full((3, 3, 3), 40_000, np.uint16))[1].tobytes())


def test_animations_are_refused():
    frames = [Image.fromarray(noise(6, 6, 3, seed)) for seed in range(3)]
    apng = save(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert opened(apng).n_frames == 3
    assert "animated PNG" in refusal(apng)
    webp = save(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    assert opened(webp).n_frames == 3
    assert "animated WebP" in refusal(webp)


def test_cmyk_and_ycck_jpegs_are_refused():
    data = save(Image.fromarray(smooth(16, 16)).convert("CMYK"), "JPEG")
    assert "CMYK" in refusal(data)
    adobe = data.index(b"Adobe")
    assert "CMYK" in refusal(data[: adobe + 11] + b"\2" + data[adobe + 12 :])


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "TIFF", "PPM", "ICO", "PDF"])
def test_other_formats_are_refused(file_format):
    assert refusal(save(smooth(16, 16), file_format)) == "IMAGE is not a PNG, JPEG or WebP picture."


@pytest.mark.parametrize("data", [b"\0", b"\x89PNG", b"RIFF\0\0\0\0WAVEfmt ", b"\xff\xd8", "그림".encode(), b"<svg/>"])
def test_what_is_no_picture_is_refused(data):
    assert refusal(data) == "IMAGE is not a PNG, JPEG or WebP picture."


def test_no_data_and_the_tensors_name_are_said():
    assert refusal(b"") == "IMAGE is empty; a PNG, JPEG or WebP picture is accepted."
    assert refusal(b"", name="REFERENCE").startswith("REFERENCE is empty")
    with pytest.raises(InvalidInput, match=r"^MASK is not a PNG"):
        decode_mask(b"junk")


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 80, "icc_profile": ICC}),
    ],
)
def test_a_file_cut_off_anywhere_is_refused(file_format, options):
    data = save(noise(12, 14, 3), file_format, **options)
    assert decode_picture(data).height == 12
    for length in range(1, len(data)):
        refusal(data[:length])


def test_a_png_with_missing_rows_is_refused_though_all_its_chunks_are_whole():
    rows = [b"\0" + row.tobytes() for row in noise(10, 10, 3)]
    assert decode_picture(png(10, 10, 8, 2, b"".join(rows))).height == 10
    for count in (0, 5, 9):
        assert "cut off" in refusal(png(10, 10, 8, 2, b"".join(rows[:count])))
    assert "cut off" in refusal(png(10, 10, 8, 2, b"".join(rows)[:-1]))


def test_a_changed_byte_of_a_png_is_noticed():
    data = save(noise(6, 6, 3), "PNG")
    for position in range(8, len(data)):
        refusal(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])


# Limits


def test_the_size_is_checked_before_anything_is_decoded():
    claims = SIGNATURE + header(20_000, 20_000, 8, 6) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    tracemalloc.start()
    try:
        assert refusal(claims) == "IMAGE has 20000x20000 pixels (400.0 MP); at most 50.0 MP are accepted."
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    # Within the limit the same file is what it is: cut off.
    assert "cut off" in refusal(claims, max_pixels=500_000_000)


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_the_limit_counts_width_times_height(file_format):
    data = save(smooth(40, 50), PILLOW_FORMATS[file_format])
    assert decode_picture(data, max_pixels=2000).width == 50
    assert "50x40 pixels" in refusal(data, max_pixels=1999)
    with pytest.raises(InvalidInput, match="50x40 pixels"):
        decode_mask(data, max_pixels=1999)


@pytest.mark.parametrize("kind", [b"VP8 ", b"VP8L", b"VP8X"])
def test_webp_headers_of_all_three_kinds_are_read(kind):
    options = {b"VP8 ": {}, b"VP8L": {"lossless": True}, b"VP8X": {"icc_profile": ICC}}[kind]
    data = save(smooth(300, 700), "WEBP", **options)
    assert data[12:16] == kind
    assert "700x300 pixels" in refusal(data, max_pixels=1000)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_pillows_own_limit_is_not_in_the_way(file_format, monkeypatch):
    data = save(smooth(40, 50), file_format)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError):
        opened(data)
    assert decode_picture(data).width == 50
    assert Image.MAX_IMAGE_PIXELS == 100


def test_pillows_limit_on_webp_is_said_as_a_limit(monkeypatch):
    data = save(smooth(400, 500), "WEBP")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    assert refusal(data) == "IMAGE has 500x400 pixels (0.2 MP); at most 0.1 MP are accepted."


def test_a_second_header_cannot_change_the_size_after_the_check():
    rows = b"\0" * 11
    data = png(10, 1, 8, 0, rows, (b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)))
    assert decode_picture(data).pixels.shape == (1, 10, 1)


def test_compressed_comments_and_profiles_cannot_grow():
    bomb = zlib.compress(bytes(200_000_000), 9)
    comments = [(b"iTXt", b"k\0\1\0\0\0" + bomb), (b"zTXt", b"k\0\0" + bomb)] * 3
    commented = png(2, 1, 8, 0, b"\0\7\7", *comments)
    profiled = png(2, 1, 8, 0, b"\0\7\7", (b"iCCP", b"p\0\0" + bomb))
    too_many_rows = png(2, 1, 8, 0, bytes(200_000_000))
    tracemalloc.start()
    try:
        assert decode_picture(commented).pixels.tolist() == [[[7], [7]]]
        assert decode_picture(too_many_rows).width == 2
        assert "colour profile of more than 16.7 MB" in refusal(profiled)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_a_profile_that_no_jpeg_could_hold_is_refused():
    assert "colour profile" in refusal(save(smooth(4, 4), "WEBP", icc_profile=bytes(17_000_000)))


def test_a_profile_that_cannot_be_unpacked_counts_as_none():
    for body in (b"", b"name only", b"p\0\0junk", b"p\0\0" + zlib.compress(ICC)[:-9]):
        assert decode_picture(png(2, 1, 8, 0, b"\0\7\7", (b"iCCP", body))).icc_profile is None


# Masks


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_a_mask_is_pillows_conversion_to_grey(mode):
    image = Image.fromarray(noise(20, 30, 4)).convert(mode)
    data = save(image, "PNG")
    assert opened(data).mode == mode
    mask = decode_mask(data)
    assert mask.dtype == np.uint8 and mask.shape == (20, 30) and mask.flags.c_contiguous
    assert np.array_equal(mask, np.asarray(opened(data).convert("L")))


# Pictures


def test_rgb_and_alpha_of_the_four_kinds():
    for channels in (1, 2, 3, 4):
        pixels = noise(5, 6, channels)
        picture = Picture(pixels, None, "png")
        assert picture.is_grey is (channels <= 2)
        assert picture.rgb.shape == (5, 6, 3) and picture.rgb.flags.c_contiguous
        assert np.array_equal(picture.rgb, np.repeat(pixels[..., :1], 3, 2) if channels <= 2 else pixels[..., :3])
        assert picture.alpha is None if channels in (1, 3) else np.array_equal(picture.alpha, pixels[..., -1])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_with_rgb_keeps_kind_alpha_and_profile(channels):
    picture = Picture(noise(5, 6, channels), b"profile", "webp")
    rgb = noise(5, 6, 3, seed=1)
    changed = picture.with_rgb(rgb)
    assert changed.pixels.shape == picture.pixels.shape and changed.pixels.flags.c_contiguous
    assert (changed.icc_profile, changed.format) == (b"profile", "webp")
    assert changed.alpha is None if channels in (1, 3) else np.array_equal(changed.alpha, picture.alpha)
    if channels >= 3:
        assert np.array_equal(changed.rgb, rgb)
    else:
        # ITU-R BT.601, written out.
        luma = (rgb * np.array([0.299, 0.587, 0.114])).sum(axis=2)
        assert np.abs(changed.pixels[..., 0] - luma).max() <= 0.51


def test_grey_colours_come_back_exactly():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    picture = Picture(np.zeros((16, 16, 1), np.uint8), None, "png")
    assert np.array_equal(picture.with_rgb(np.repeat(values, 3, axis=2)).pixels, values)


def test_pixels_of_another_shape_or_type_are_refused():
    for pixels in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 3)), noise(0, 4, 3)):
        with pytest.raises(ValueError, match="uint8"):
            Picture(pixels, None, "png")
    for rgb in (noise(4, 5, 3), noise(4, 4, 1), np.zeros((4, 4, 3))):
        with pytest.raises(ValueError, match="uint8"):
            Picture(noise(4, 4, 3), None, "png").with_rgb(rgb)


# Encoding


@given(
    shape=st.tuples(st.integers(1, 24), st.integers(1, 24), st.integers(1, 4)),
    seed=st.integers(0, 99),
    file_format=st.sampled_from(["png", "webp"]),
)
def test_png_and_webp_are_lossless(shape, seed, file_format):
    picture = Picture(noise(*shape, seed), ICC, "png")
    if picture.alpha is not None:
        picture.pixels[::2, :, -1] = 0  # colours under transparent pixels count too
    back = decode_picture(encode_picture(picture, file_format))
    written_grey = picture.is_grey and file_format == "png"
    assert (back.format, back.icc_profile) == (file_format, None if written_grey else ICC)
    assert np.array_equal(back.rgb, picture.rgb)
    if picture.alpha is not None:
        assert np.array_equal(back.alpha, picture.alpha)
    if file_format == "png":
        assert np.array_equal(back.pixels, picture.pixels)


def test_jpeg_is_fine_and_of_full_colour_resolution():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)
    data = encode_picture(Picture(stripes, None, "png"), "jpeg")
    assert opened(data).layer == [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)]
    assert np.abs(decode_picture(data).pixels.astype(int) - stripes).mean() < 5
    grey = decode_picture(encode_picture(Picture(noise(9, 9, 1), None, "png"), "jpg"))
    assert grey.is_grey


def test_the_pictures_own_format_is_the_default():
    for file_format in ("png", "jpeg", "webp"):
        data = encode_picture(Picture(noise(4, 4, 3), None, file_format))
        assert opened(data).format == PILLOW_FORMATS[file_format]


def test_jpeg_refuses_alpha():
    for channels in (2, 4):
        with pytest.raises(InvalidInput, match=r"alpha.*ask for png or webp\.$"):
            encode_picture(Picture(noise(4, 4, channels), None, "png"), "jpeg")


@pytest.mark.parametrize(("file_format", "longest"), [("webp", 16383), ("jpeg", 65500)])
def test_sides_beyond_the_format_are_refused(file_format, longest):
    data = encode_picture(Picture(noise(1, longest, 1), None, "png"), file_format)
    assert decode_picture(data).width == longest
    for shape in ((1, longest + 1, 1), (longest + 1, 1, 1)):
        with pytest.raises(InvalidInput, match=f"at most {longest} pixels a side"):
            encode_picture(Picture(noise(*shape), None, "png"), file_format)


def test_format_names():
    known = {"png": "png", "PNG": "png", "Jpg": "jpeg", "JPEG": "jpeg", "WebP": "webp"}
    assert {text: parse_format(text) for text in known} == known
    for text in ("", "gif", "png ", "tiff", "x" * 1000):
        with pytest.raises(InvalidInput, match=r"png, jpeg \(or jpg\) and webp are accepted") as caught:
            parse_format(text)
        assert len(str(caught.value)) < 150


# Junk

VALID = [
    save(noise(9, 11, 3), "PNG", icc_profile=ICC),
    with_exif(noise(9, 11, 4), "png", 6),
    png(8, 2, 4, 3, b"\0\x12\x34\x56\x78" * 2, (b"PLTE", bytes(range(48))), (b"tRNS", b"\1\2\3")),
    with_exif(smooth(24, 18), "jpeg", 8),
    save(smooth(24, 18), "JPEG", progressive=True, icc_profile=ICC),
    with_exif(noise(9, 11, 4), "webp", 3),
    save(smooth(24, 18), "WEBP", icc_profile=ICC),
]


def decode_or_refuse(data: bytes) -> None:
    """Decode under a small limit; every answer but a picture and ``InvalidInput`` fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture = decode_picture(data, max_pixels=100_000)
        except InvalidInput as error:
            assert str(error).startswith("IMAGE ")
        else:
            assert picture.height * picture.width <= 100_000


@settings(max_examples=300)
@given(
    st.sampled_from([b"", SIGNATURE, b"\xff\xd8\xff", b"RIFF\xff\0\0\0WEBPVP8X", b"RIFF\xff\0\0\0WEBPVP8 "]),
    st.binary(),
)
def test_random_bytes_are_refused_or_a_picture(start, rest):
    decode_or_refuse(start + rest)


@settings(max_examples=600)
@given(st.sampled_from(VALID), st.data())
def test_mutated_files_are_refused_or_a_picture(data, draws):
    mutated = bytearray(data)
    for _ in range(draws.draw(st.integers(1, 6))):
        position = draws.draw(st.integers(0, len(mutated)))
        length = draws.draw(st.sampled_from([0, 1, 1, 1, 2, 4, 30]))
        mutated[position : position + length] = draws.draw(st.binary(max_size=4))
    decode_or_refuse(bytes(mutated[: draws.draw(st.sampled_from([None, None, len(data) // 2]))]))


@settings(max_examples=600)
@given(st.sampled_from(VALID[:3]), st.data())
def test_mutated_png_chunks_with_right_checksums_are_refused_or_a_picture(data, draws):
    parts = chunks(data)
    for _ in range(draws.draw(st.integers(1, 3))):
        index = draws.draw(st.integers(0, len(parts) - 1))
        kind, body = parts[index]
        action = draws.draw(st.sampled_from(["change", "change", "drop", "repeat", "swap", "rename"]))
        if action == "change":
            changed = bytearray(body)
            position = draws.draw(st.integers(0, len(changed)))
            changed[position : position + 1] = draws.draw(st.binary(max_size=3))
            parts[index] = (kind, bytes(changed))
        elif action == "drop" and len(parts) > 1:
            parts.pop(index)
        elif action == "repeat":
            parts.insert(index, parts[index])
        elif action == "swap":
            other = draws.draw(st.integers(0, len(parts) - 1))
            parts[index], parts[other] = parts[other], parts[index]
        else:
            kinds = [b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"iTXt", b"\xff\0ab"]
            parts[index] = (draws.draw(st.sampled_from(kinds)), body)
    decode_or_refuse(assemble(parts))


def test_decoding_in_threads_gives_what_one_thread_gives():
    expected = [decode_picture(data).pixels for data in VALID]
    wrong = []

    def work() -> None:
        for _ in range(20):
            wrong.extend(
                index
                for index, data in enumerate(VALID)
                if not np.array_equal(decode_picture(data).pixels, expected[index])
            )

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
