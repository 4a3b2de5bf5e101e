"""The served `matte` and `matte_sync`: upstream's answers, files in parts, refusals, and the next request."""

import asyncio

import av
import numpy as np
import pytest

from atelier.client import AsyncClient, Client, DeadlineExceeded, InvalidRequest
from atelier.client.matting import MatteProgress
from atelier.media.video import open_video
from tests.conftest import sing
from tests.golden.gvm.cases import CASES, FOLDER, golden
from tests.media.test_video import cut_fast_start, empty_zip, sound_alone, truncated, write

CLIP = FOLDER / "videos" / "clip12.mkv"
SMALL = {"size": 96, "max_resolution": 128, "num_frames_per_batch": 8, "num_overlap_frames": 2}


@pytest.fixture
def server(matte_servers):
    return matte_servers("a01_readme")


def alpha_of(file):
    return np.stack([frame.pixels[..., 0] for frame in open_video(file)])


def options_of(case):
    names = set(case.settings) - {"seed"}
    return {name: case.settings[name] for name in names if case.settings[name] is not None}


@pytest.mark.parametrize("name", [name for name in CASES if "gaussian" not in name])
def test_the_served_alpha_is_upstream_s(matte_servers, tmp_path, name):
    """As 8 bits, after the thresholds, which move what lies within the tolerance of one."""
    case, ensemble = golden(name), min(golden(name).expected)
    with Client(matte_servers(name).grpc_url) as client:
        result = client.matte(
            FOLDER / "videos" / case.facts["video"],
            tmp_path,
            outputs=["alpha"],
            codec="ffv1",
            ensemble_size=ensemble,
            **options_of(case),
        )
    found = alpha_of(result.files[0]) / 255
    expected = case.expected[ensemble]
    near = np.minimum(np.abs(expected - 240 / 255), np.abs(expected - 25 / 255)) < 4e-3
    cut = np.where(expected >= 240 / 255, 1, np.where(expected <= 25 / 255, 0, expected))
    assert found.shape[0] == case.facts["frames_out"]
    difference = np.abs(found[:, ::2, ::2] - cut)[~near]
    assert difference.max() <= 2e-3 + 0.5 / 255
    assert result.report["frames"] == case.facts["frames_out"]


def test_a_request_that_asks_nothing_is_answered(server):
    sing(server, "matte", "matte_sync")


def test_files_have_the_whole_stem_of_the_video_and_progress_counts_frames(server, tmp_path):
    video = write(tmp_path / "shot.v2 최종.mp4", 20)
    seen = []
    with Client(server.grpc_url) as client:
        result = client.matte(
            video, tmp_path / "out", outputs=["alpha", "green", "images"], on_progress=seen.append, **SMALL
        )
    names = {str(file.relative_to(tmp_path / "out")) for file in result.files}
    assert names == {"shot.v2 최종_alpha.mp4", "shot.v2 최종_green.mp4"} | {
        f"shot.v2 최종/{number:05d}.png" for number in range(20)
    }
    assert isinstance(seen[0], MatteProgress)
    assert (seen[-1].done, seen[-1].of) == (20, 20)
    assert len(seen) >= 2
    assert result.report["settings"]["num_frames_per_batch"] == {"value": 8, "source": "request"}
    assert result.report["settings"]["codec"]["source"] == "default"


def test_http_answers_at_once(server, tmp_path):
    with Client(server.http_url) as client:
        over_http = client.matte(CLIP, tmp_path / "http", outputs=["alpha"], codec="ffv1", **SMALL)
    with Client(server.grpc_url) as client:
        over_grpc = client.matte(CLIP, tmp_path / "grpc", outputs=["alpha"], codec="ffv1", **SMALL)
    np.testing.assert_array_equal(alpha_of(over_http.files[0]), alpha_of(over_grpc.files[0]))


def one_pixel(folder):
    return write(folder / "dot.mkv", 2, encoder="ffv1", pixels="gray", size=(1, 1)).read_bytes()


def sixteen_k(folder):
    """15360 x 8640; black, so that it is written in no time."""
    with av.open(str(folder / "16k.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 15360, 8640, "gray"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((8640, 15360), np.uint8), format="gray")))
        container.mux(stream.encode(None))
    return (folder / "16k.mkv").read_bytes()


def broken_zip(folder):
    return empty_zip(folder)[:-8] + b"\xff" * 8


def gif(folder):
    return write(folder / "plain.gif", 3, encoder="gif", pixels="rgb8").read_bytes()


def one_frame(folder):
    return write(folder / "one.mp4", 1).read_bytes()


def wrong_extension(folder):
    return write(folder / "clip.mp4", 3).rename(folder / "clip.txt")


@pytest.mark.parametrize(("make", "frames"), [(gif, 3), (one_frame, 1), (wrong_extension, 3)])
def test_what_looks_odd_and_is_not_is_matted(server, tmp_path, make, frames):
    with Client(server.grpc_url) as client:
        result = client.matte(make(tmp_path), tmp_path / "out", outputs=["alpha"], **SMALL)
    assert result.report["frames"] == len(alpha_of(result.files[0])) == frames


def test_the_report_names_no_folder_of_the_server(server, tmp_path):
    with Client(server.grpc_url) as client:
        result = client.matte(CLIP, tmp_path, outputs=["alpha"], max_frames=2, **SMALL)
    assert not {"model_base", "lora_base", "device"} & result.report["settings"].keys()


def test_half_precision_is_served_within_its_own_tolerance(matte_servers, tmp_path):
    case = golden("a01_readme")
    with Client(matte_servers("a01_readme", "fp16").grpc_url) as client:
        given = {"outputs": ["alpha"], "codec": "ffv1", "ensemble_size": min(case.expected), **options_of(case)}
        result = client.matte(FOLDER / "videos" / case.facts["video"], tmp_path, **given)
    difference = np.abs(alpha_of(result.files[0])[:, ::2, ::2] / 255 - case.expected[min(case.expected)])
    assert difference.mean() <= 0.01
    assert np.quantile(difference, 0.99) <= 0.11  # thresholds move what they catch by a tenth


REFUSED = {
    "one pixel": (one_pixel, {}, "1x1; 2x2 pixels at least"),
    "16k": (sixteen_k, {}, "pixels are the most"),
    "broken zip": (broken_zip, {}, "damaged or cut short|no video that can be read"),
    "behind the end": (None, {"first_frame": 500}, "no frames at frame"),
    "truncated mp4": (truncated, {}, "cut short"),
    "cut behind its index": (cut_fast_start, {}, "cut short|cannot be decoded"),
    "sound alone": (sound_alone, {}, "no video stream"),
    "no pictures": (empty_zip, {}, "no pictures"),
    "no video": (lambda folder: b"nonsense" * 50, {}, "no video that can be read"),
    "negative batch": (None, {"num_frames_per_batch": -8}, "NUM_FRAMES_PER_BATCH is -8"),
    "many steps": (None, {"denoise_steps": 9}, "DENOISE_STEPS is 9"),
    "overlap": (None, {"num_overlap_frames": 8}, "less than num_frames_per_batch"),
    "output": (None, {"outputs": ["depth"]}, "OUTPUTS holds 'depth'"),
    "transparency": (None, {"outputs": ["rgba"]}, "h264 holds no transparency"),
    "background": (None, {"outputs": ["composite"]}, "BACKGROUND"),
    "window": (None, {"max_resolution": 8192, "size": 8192}, "max_resolution"),
}


@pytest.mark.parametrize("way", ["grpc", "http"])
@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_one_sentence_and_the_next_request_is_right(server, tmp_path, what, way):
    make, options, words = REFUSED[what]
    video = make(tmp_path) if make else CLIP
    url = server.grpc_url if way == "grpc" else server.http_url
    with Client(url) as client:
        with pytest.raises(InvalidRequest, match=words) as error:
            client.matte(video, tmp_path / "out", **{**SMALL, **options})
        assert "Traceback" not in str(error.value)
        assert not list((tmp_path / "out").rglob("*"))
        result = client.matte(CLIP, tmp_path / "right", outputs=["alpha"], max_frames=2, **SMALL)
    assert result.report["frames"] == 2


def test_an_unknown_setting_is_refused_before_anything_is_sent(server, tmp_path):
    with Client(server.grpc_url) as client, pytest.raises(InvalidRequest, match="no setting 'frames'"):
        client.matte(CLIP, tmp_path, frames=3)


def test_a_cancelled_request_stops_and_the_next_one_is_right(server, tmp_path):
    long = write(tmp_path / "long.mkv", 400)

    async def cancel_then_ask():
        started = asyncio.Event()
        async with AsyncClient(server.grpc_url) as client:
            work = asyncio.create_task(
                client.matte(long, tmp_path / "out", on_progress=lambda _: started.set(), **SMALL)
            )
            await started.wait()
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            return await client.matte(CLIP, tmp_path / "next", outputs=["alpha"], max_frames=2, timeout=60, **SMALL)

    result = asyncio.run(cancel_then_ask())
    assert result.report["frames"] == 2
    assert not list((tmp_path / "out").rglob("*partial"))


def test_a_deadline_stops_it_and_leaves_no_half_file(server, tmp_path):
    long = write(tmp_path / "long.mkv", 400)
    with Client(server.grpc_url) as client:
        with pytest.raises(DeadlineExceeded, match="within 3 s"):
            client.matte(long, tmp_path / "out", timeout=3, **SMALL)
        client.matte(CLIP, tmp_path / "next", max_frames=2, timeout=60, **SMALL)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
