"""Whole jobs over the golden networks: files, parts, reports, refusals."""

import io
import zipfile
from fractions import Fraction

import av
import numpy as np
import pytest

from atelier.errors import InvalidInput
from atelier.matting.archive import pack
from atelier.matting.files import Part
from atelier.matting.job import JobSettings, MatteJob, Progress, run_job
from atelier.media import Picture, decode_picture, encode_picture
from atelier.media.video import open_video
from tests.golden.gvm.cases import FOLDER, frames

SMALL = {"size": 96, "max_resolution": 128, "num_frames_per_batch": 8, "num_overlap_frames": 2}
CLIP = FOLDER / "videos" / "clip12.mkv"


@pytest.fixture(scope="module")
def pipeline(pipelines):
    return pipelines("a01_readme")


def done(pipeline, video=CLIP, outputs=("alpha", "green"), background=None, **settings):
    """All files of a job, put together from their parts, with its progress and its report."""
    job = MatteJob(video, JobSettings(**SMALL, **settings), outputs, background)
    files, progress, report = {}, [], None
    for event in run_job(job, pipeline):
        if isinstance(event, Part):
            file = files.setdefault(event.name, bytearray())
            file.extend(bytes(max(0, event.offset + len(event.data) - len(file))))
            file[event.offset : event.offset + len(event.data)] = event.data
        elif isinstance(event, Progress):
            progress.append(event)
        else:
            assert report is None
            report = event
    return {name: bytes(data) for name, data in files.items()}, progress, report


def pixels(data):
    return np.stack([frame.pixels for frame in open_video(data)])


def test_every_output_is_what_its_name_says(pipeline):
    outputs = ("alpha", "green", "foreground", "composite", "rgba", "images")
    files, progress, report = done(pipeline, outputs=outputs, background=b"#0000ff", codec="ffv1")
    assert set(files) == {f"{n}.mkv" for n in outputs[:5]} | {f"images/{n:05d}.png" for n in range(12)}
    alpha = np.rint(pipeline(frames("clip12.mkv"), JobSettings(**SMALL)) * 255).astype(np.uint8)
    np.testing.assert_array_equal(pixels(files["alpha.mkv"])[..., 0], alpha)
    np.testing.assert_array_equal(decode_picture(files["images/00007.png"], name="x").pixels[..., 0], alpha[7])
    clip, share = frames("clip12.mkv"), alpha[..., None] / 255
    for name, colour in (("green", (0, 255, 0)), ("composite", (0, 0, 255))):
        expected = clip * share + np.array(colour) * (1 - share)
        assert np.abs(pixels(files[f"{name}.mkv"]) - expected).max() <= 1.5
    with av.open(io.BytesIO(files["rgba.mkv"])) as container:
        cut = np.stack([frame.to_ndarray(format="rgba") for frame in container.decode(video=0)])
    np.testing.assert_array_equal(cut, np.concatenate([clip, alpha[..., None]], axis=-1))
    assert (progress[-1].done, progress[-1].left) == (12, 0)
    assert {entry.of for entry in progress} == {12}
    assert [entry.done for entry in progress] == sorted(entry.done for entry in progress)
    assert report["frames"] == 12
    assert report["files"]["green"]["bytes"] == len(files["green.mkv"])
    assert report["settings"]["codec"]["value"] == "ffv1"
    assert report["background"] == "colour"


def test_every_file_is_whole_for_every_codec(pipeline):
    for codec, suffix in (("h264", "mp4"), ("prores4444", "mov"), ("vp9", "webm"), ("ffv1", "mkv")):
        files, _, _ = done(pipeline, codec=codec)
        assert set(files) == {f"alpha.{suffix}", f"green.{suffix}"}
        for data in files.values():
            with open_video(data) as reader:
                assert sum(1 for _ in reader) == 12
                assert reader.facts.rate == 25
    files, _, _ = done(pipeline, codec="png", outputs=("rgba",))
    assert set(files) == {f"rgba/{n:05d}.png" for n in range(12)}


def test_estimated_colours_take_the_old_background_out(pipeline):
    plain, _, _ = done(pipeline, codec="ffv1", outputs=("green",))
    estimated, _, _ = done(pipeline, codec="ffv1", outputs=("green",), estimate_foreground=True)
    assert not np.array_equal(pixels(plain["green.mkv"]), pixels(estimated["green.mkv"]))


def test_pictures_alone(pipeline):
    files, _, _ = done(pipeline, output_image_seq_only=True)
    assert set(files) == {f"images/{n:05d}.png" for n in range(12)}


def test_a_background_may_be_a_picture_or_a_video_of_any_size(pipeline):
    picture = encode_picture(Picture(np.full((30, 300, 3), (9, 8, 7), np.uint8), None, "png"), "png")
    for background, kind in ((picture, "picture"), ((FOLDER / "videos" / "big5.mkv").read_bytes(), "video")):
        files, _, report = done(pipeline, outputs=("composite",), background=background, codec="ffv1", max_frames=8)
        assert report["background"] == kind
        assert pixels(files["composite.mkv"]).shape == (8, 96, 128, 3)


def test_pictures_in_a_zip_are_matted_like_a_video(pipeline):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, frame in enumerate(frames("clip12.mkv")):
            archive.writestr(f"샷.{number}.png", encode_picture(Picture(frame, None, "png"), "png"))
    files, progress, report = done(pipeline, packed.getvalue(), image_rate=12.5, codec="ffv1")
    expected, _, _ = done(pipeline, codec="ffv1")
    np.testing.assert_array_equal(pixels(files["alpha.mkv"]), pixels(expected["alpha.mkv"]))
    assert Fraction(report["rate"]) == Fraction(25, 2)
    assert (progress[-1].of, progress[-1].left) == (12, 0)


def test_the_report_says_what_was_changed_and_where_settings_came_from(pipeline):
    job = MatteJob(CLIP, JobSettings(**SMALL, seed=3), sources={"seed": "request", "codec": "default"})
    report = list(run_job(job, pipeline))[-1]
    assert report["settings"]["codec"] == {"value": "h264", "source": "default"}
    assert report["warnings"] == ["seed has no effect where noise_type is zeros."]
    assert report["padded"] == [96, 128]


def test_an_archive_holds_all_files_and_has_a_limit(pipeline):
    job = MatteJob(CLIP, JobSettings(**SMALL))
    result = pack(job, pipeline, 10**7)
    with zipfile.ZipFile(io.BytesIO(result.data)) as archive:
        assert sorted(archive.namelist()) == ["alpha.mp4", "green.mp4"]
        assert pixels(archive.read("alpha.mp4")).shape == (12, 96, 128, 3)
    with pytest.raises(InvalidInput, match="larger than 1000 bytes"):
        pack(job, pipeline, 1000)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"outputs": ("depth",)}, "OUTPUTS holds 'depth'"),
        ({"outputs": ()}, "OUTPUTS is empty"),
        ({"outputs": ("rgba",)}, "h264 holds no transparency"),
        ({"outputs": ("composite",)}, "go together"),
        ({"background": b"green"}, "go together"),
        ({"outputs": ("composite",), "background": b"no colour"}, "no colour, picture or video"),
        ({"outputs": ("composite",), "background": bytes(1000)}, "BACKGROUND is no video"),
        ({"video": b"nonsense" * 100}, "VIDEO is no video"),
        ({"max_pixels": 1000}, "1000 pixels are the most"),
    ],
)
def test_what_cannot_be_done_is_refused(pipeline, arguments, words):
    with pytest.raises(InvalidInput, match=words):
        done(pipeline, **arguments)
