"""Videos in and out, with real files made here by PyAV: every frame, its time, its alpha, its sound."""

import io
import zipfile
from fractions import Fraction

import av
import numpy as np
import pytest

from atelier.errors import InvalidInput
from atelier.media import Picture, encode_picture
from atelier.media.video import CODECS, Facts, VideoWriter, open_video
from atelier.media.video.codecs import find_codec
from tests.golden.gvm.cases import FOLDER, frames


def picture(number, height=48, width=64):
    """Smooth, so that lossy codecs keep it, and with its number written in it as a grey."""
    rows, columns = np.mgrid[:height, :width]
    planes = (rows * 3 + number, columns * 2 + 40, (rows + columns) + 2 * number)
    return np.stack([plane % 200 + 20 for plane in planes], -1).astype(np.uint8)


def write(
    file,
    count=6,
    *,
    encoder="libx264",
    pixels="yuv444p",
    rate=Fraction(25),
    size=(48, 64),
    times=None,
    prepare=None,
    sound=None,
):
    """A clip by PyAV alone."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream(encoder, rate=rate, options={"crf": "0"} if encoder == "libx264" else {})
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if prepare:
            prepare(stream)
        audio = container.add_stream(sound, rate=48000, layout="mono") if sound else None
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio:
            samples = int(48000 * count / rate)
            tone = (np.sin(np.arange(samples) / 30)[None] * 8000).astype(np.float32) / 32768
            for start in range(0, samples, 1024):
                part = av.AudioFrame.from_ndarray(tone[:, start : start + 1024], format="fltp", layout="mono")
                part.sample_rate, part.pts = 48000, start
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))
    return file


def read(source, **options):
    with open_video(source, **options) as reader:
        found = list(reader)
    return reader.facts, np.stack([frame.pixels for frame in found]), [frame.time for frame in found]


@pytest.mark.parametrize("name", ["clip12.mkv", "clip21.mkv", "clip8.mp4", "clip6.gif", "big5.mkv"])
def test_the_golden_clips_are_read_to_the_last_frame(name):
    facts, found, _ = read(FOLDER / "videos" / name)
    expected = frames(name)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (facts.height, facts.width) == expected.shape[1:3]


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(30), Fraction(24000, 1001), Fraction(25)])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_no_frame_is_lost_at_any_rate(tmp_path, rate, suffix):
    facts, found, times = read(write(tmp_path / f"한글 영상.{suffix}", 10, rate=rate))
    assert len(found) == 10
    assert abs(facts.rate - rate) < Fraction(1, 100)
    np.testing.assert_allclose([float(time) for time in times], [float(n / rate) for n in range(10)], atol=1.1e-3)
    assert max(np.abs(found[n].astype(int) - picture(n)).max() for n in range(10)) <= 4


@pytest.mark.parametrize("name", ["clip12.mkv", "clip6.gif", "clip.webm", "clip.avi"])
def test_frames_are_counted_where_the_file_does_not_say(tmp_path, name):
    file = FOLDER / "videos" / name
    if name.startswith("clip."):
        encoder = {"clip.webm": "libvpx-vp9", "clip.avi": "libx264"}[name]
        file = write(tmp_path / name, 15, encoder=encoder, pixels="yuv420p")
    with open_video(file) as reader:
        assert reader.facts.frames is None
        counted = reader.count_packets()
        assert counted == len(list(reader))


def test_bytes_are_read_like_files(tmp_path):
    file = write(tmp_path / "clip.mp4")
    np.testing.assert_array_equal(read(file.read_bytes())[1], read(file)[1])


def test_a_variable_rate_is_kept_from_end_to_end(tmp_path):
    times = [0, 40, 80, 280, 290, 1000]
    facts, found, seen = read(write(tmp_path / "variable.mkv", times=times))
    assert [round(time * 1000) for time in seen] == times
    for codec in CODECS.values():
        out = tmp_path / f"out{codec.suffix}"
        with VideoWriter(str(out), codec, facts) as writer:
            for pixels, time in zip(found, seen, strict=True):
                writer.write(pixels, time)
        again = read(out)[2]
        np.testing.assert_allclose([float(time) for time in again], [t / 1000 for t in times], atol=1.1e-3)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_honoured(tmp_path, degrees):
    file = write(tmp_path / "turned.mp4", prepare=lambda stream: stream.set_display_rotation(degrees))
    facts, found, _ = read(file)
    assert facts.rotation == degrees
    expected = np.rot90(picture(0), degrees // 90)
    assert found[0].shape == expected.shape == (facts.height, facts.width, 3)
    assert np.abs(found[0].astype(int) - expected).max() <= 4


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(2), (48, 128)), (Fraction(1, 2), (96, 64))])
def test_pixels_become_square(tmp_path, aspect, size):
    def prepare(stream):
        stream.codec_context.sample_aspect_ratio = aspect

    facts, found, _ = read(write(tmp_path / "wide.mkv", prepare=prepare))
    assert facts.pixel_aspect == aspect
    assert found.shape[1:3] == size == (facts.height, facts.width)


@pytest.fixture(scope="module")
def cutouts():
    """Pictures with an alpha that is smooth, and has both ends."""
    columns = np.mgrid[:48, :64][1]
    alphas = [np.clip((columns - 10 - n) * 8, 0, 255).astype(np.uint8) for n in range(5)]
    return [np.dstack([picture(n), alphas[n]]) for n in range(5)]


FACTS = Facts(64, 48, Fraction(30000, 1001), Fraction(1, 30000), 5, "test")


def decode_alpha(file, codec):
    """RGBA as an independent reader sees it; VP9's own decoder drops alpha, libvpx's does not."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        if codec.name != "vp9":
            return [frame.to_ndarray(format="rgba") for frame in container.decode(stream)]
        assert {key.lower(): value for key, value in stream.metadata.items()}["alpha_mode"] == "1"
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        decoder.extradata = stream.codec_context.extradata
        packets = [packet for packet in container.demux(stream) if packet.size]
        decoded = [frame for packet in packets for frame in decoder.decode(packet)] + list(decoder.decode(None))
        return [frame.to_ndarray(format="rgba") for frame in decoded]


@pytest.mark.parametrize(("name", "largest", "mean"), [("prores4444", 1, 0.5), ("vp9", 4, 0.3), ("ffv1", 0, 0)])
def test_alpha_comes_back(tmp_path, cutouts, name, largest, mean):
    codec = CODECS[name]
    file = tmp_path / f"cutout{codec.suffix}"
    with VideoWriter(str(file), codec, FACTS, alpha=True) as writer:
        for number, pixels in enumerate(cutouts):
            writer.write(pixels, number / FACTS.rate)
    found = decode_alpha(file, codec)
    assert len(found) == len(cutouts)
    difference = np.abs(np.stack(found)[..., 3].astype(int) - np.stack(cutouts)[..., 3])
    assert difference.max() <= largest
    assert difference.mean() <= mean
    if codec.lossless:
        np.testing.assert_array_equal(found, cutouts)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("size", [(48, 64), (47, 65), (3, 5)])
def test_every_codec_keeps_odd_sizes_and_all_frames(tmp_path, name, size):
    codec, file = CODECS[name], tmp_path / f"clip{CODECS[name].suffix}"
    facts = Facts(size[1], size[0], Fraction(30000, 1001), Fraction(1, 30000), None, "test")
    with VideoWriter(str(file), codec, facts) as writer:
        for number in range(7):
            writer.write(picture(number, *size), number / facts.rate)
    again, found, times = read(file)
    assert found.shape == (7, *size, 3)
    assert abs(again.rate - facts.rate) < Fraction(1, 10)
    np.testing.assert_allclose([float(time) for time in times], [n * 1001 / 30000 for n in range(7)], atol=1.1e-3)


@pytest.mark.parametrize(
    ("codec", "sound", "kept"), [("h264", "aac", True), ("vp9", "aac", False), ("ffv1", "aac", True)]
)
def test_sound_is_kept_where_the_file_can_hold_it(tmp_path, codec, sound, kept):
    source = write(tmp_path / "speaking.mp4", 25, sound=sound)
    with av.open(str(source)) as container:
        stream = container.streams.audio[0]
        before = [bytes(packet) for packet in container.demux(stream) if packet.size]
    out = tmp_path / f"out{CODECS[codec].suffix}"
    with open_video(source) as reader:
        assert reader.facts.audio == sound
        with VideoWriter(str(out), CODECS[codec], reader.facts, audio=reader.audio()) as writer:
            for frame in reader:
                writer.write(frame.pixels, frame.time)
        assert writer.audio == (sound if kept else None)
    with av.open(str(out)) as container:
        assert bool(container.streams.audio) == kept
        if kept:
            stream = container.streams.audio[0]
            after = [bytes(packet) for packet in container.demux(stream) if packet.size]
            assert after == before[: len(after)]
            assert len(before) - len(after) <= 2  # what lies behind the last picture


def test_pictures_in_a_folder_or_a_zip_are_a_video_in_the_order_of_their_numbers(tmp_path):
    folder = tmp_path / "사진"
    folder.mkdir()
    names = [f"shot.{number}.png" for number in (10, 9, 1, 2)]
    for name in names:
        number = int(name.split(".")[1])
        (folder / name).write_bytes(encode_picture(Picture(picture(number), None, "png"), "png"))
    (folder / "notes.txt").write_text("no picture")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.write(folder / name, name)
    for source in (folder, packed.getvalue()):
        facts, found, times = read(source, rate=Fraction(12))
        np.testing.assert_array_equal(found, [picture(n) for n in (1, 2, 9, 10)])
        assert (facts.rate, facts.frames) == (12, 4)
        assert times == [Fraction(n, 12) for n in range(4)]


def truncated(folder):
    return write(folder / "clip.mp4", 30).read_bytes()[:3000]


def cut_fast_start(folder):
    """The index stands first, so that the file opens, and frames are missing."""
    file = folder / "fast.mp4"
    with av.open(str(file), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number in range(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode(None))
    data = file.read_bytes()
    return data[: len(data) * 2 // 3]


def sound_alone(folder):
    file = folder / "sound.m4a"
    with av.open(str(file), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.read_bytes()


def empty_zip(folder):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("notes.txt", "no picture")
    return packed.getvalue()


def playlist(folder):
    """What FFmpeg would follow to any file of the server."""
    return b"ffconcat version 1.0\nfile /etc/passwd\n"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (truncated, "cut short"),
        (cut_fast_start, "cut short|cannot be decoded"),
        (sound_alone, "no video stream"),
        (empty_zip, "no pictures"),
        (playlist, "no video that can be read"),
        (lambda folder: b"", "no video that can be read"),
        (lambda folder: b"no video" * 100, "no video that can be read"),
    ],
)
def test_what_is_no_video_is_refused_in_one_sentence(tmp_path, make, words):
    with pytest.raises(InvalidInput, match=words) as error:
        read(make(tmp_path))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="VIDEO is not there"):
        open_video(tmp_path / "nowhere.mp4")


def test_frames_that_are_too_large_are_refused_before_one_is_decoded(tmp_path):
    file = write(tmp_path / "clip.mkv", 1)
    with pytest.raises(InvalidInput, match="64x48; 3000 pixels are the most"):
        open_video(file, max_pixels=3000)


def test_transparency_is_refused_of_a_codec_without_it():
    with pytest.raises(InvalidInput, match="h264 holds no transparency; prores4444, vp9, ffv1 and png do"):
        find_codec("h264", alpha=True)
    with pytest.raises(InvalidInput, match="no codec 'divx'"):
        find_codec("divx", alpha=False)
