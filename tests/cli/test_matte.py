"""``atelier matte`` as its user sees it: files, names, going on after a break, and failures of one line."""

import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from atelier.media.video import open_video
from atelier.serving.ports import free_ports
from tests.cli.test_cli import ATELIER, atelier, one_line
from tests.conftest import ROOT
from tests.golden.gvm.cases import FOLDER
from tests.media.test_video import sound_alone, truncated, write

CLIP = FOLDER / "videos" / "clip12.mkv"
SMALL = ("--size", "64", "--max-resolution", "96", "--num-frames-per-batch", "4", "--num-overlap-frames", "1")


@pytest.fixture
def url(matte_servers):
    return matte_servers("a01_readme").grpc_url


def pictures(folder):
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]


USE_CASES = {
    "as it comes": ((*SMALL,), 12),
    "best quality": ((*SMALL, "--denoise-steps", "3", "--ensemble-size", "3", "--codec", "ffv1"), 12),
    "little memory": ((*SMALL[:4], "--num_frames_per_batch", "2", "--decode_chunk_size", "1"), 12),
    "lower resolution": (("--size", "96", "--max_resolution", "96", "--max-frames", "5"), 5),
    "pictures alone": ((*SMALL, "--output_image_seq_only"), 12),
}
"""The guide's, in small; the names with underscores are how it writes them."""


@pytest.mark.parametrize("use_case", USE_CASES)
def test_the_guide_s_five_use_cases(url, tmp_path, use_case):
    options, frames = USE_CASES[use_case]
    run = atelier("matte", CLIP, "-o", tmp_path / "out", "--url", url, *options, "--report", tmp_path / "report.json")
    assert run.returncode == 0, run.stderr
    ending = "mkv" if "ffv1" in options else "mp4"
    videos = set() if use_case == "pictures alone" else {f"clip12_alpha.{ending}", f"clip12_green.{ending}"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"clip12", *videos}
    assert set(run.stdout.splitlines()) == {str(tmp_path / "out" / name) for name in ("clip12", *videos)}
    alphas, facts = pictures(tmp_path / "out" / "clip12"), open_video(CLIP).facts
    assert [alpha.shape for alpha in alphas] == [(facts.height, facts.width)] * frames
    for video in videos:
        assert len(list(open_video(tmp_path / "out" / video))) == frames
    assert json.loads((tmp_path / "report.json").read_text())["frames"] == frames


def test_names_keep_their_whole_stem_and_a_folder_of_pictures_is_a_clip(url, tmp_path):
    video = shutil.copy(CLIP, tmp_path / "최종.v2 영상.mkv")
    run = atelier("matte", video, "-o", tmp_path / "결과", "--url", url, "--max-frames", "3", *SMALL)
    assert run.returncode == 0, run.stderr
    names = {path.name for path in (tmp_path / "결과").iterdir()}
    assert names == {"최종.v2 영상", "최종.v2 영상_alpha.mp4", "최종.v2 영상_green.mp4"}

    folder = tmp_path / "그림.seq"
    folder.mkdir()
    for number, frame in zip(range(3), open_video(CLIP), strict=False):
        Image.fromarray(frame.pixels[..., :3]).save(folder / f"{number}.png")
    again = atelier("matte", folder, "-o", tmp_path / "결과", "--url", url, *SMALL)
    assert again.returncode == 0, again.stderr
    assert len(pictures(tmp_path / "결과" / "그림.seq")) == 3
    for one, other in zip(
        pictures(tmp_path / "결과" / "그림.seq"), pictures(tmp_path / "결과" / "최종.v2 영상"), strict=True
    ):
        np.testing.assert_allclose(one.astype(int), other, atol=1)


def test_what_was_interrupted_goes_on_and_ends_as_if_it_had_not_been(url, tmp_path):
    video = write(tmp_path / "long.mkv", 160)
    options = ["--url", url, *SMALL, "--decode-chunk-size", "4"]
    arguments = [str(ATELIER), "matte", str(video), "-o", str(tmp_path / "out"), *options]
    with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "out" / "long").glob("*.png"))) < 10 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    kept = {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "out" / "long").glob("*.png"))}
    assert 10 <= len(kept) < 160
    assert not list((tmp_path / "out").rglob("*.partial"))

    again = atelier("matte", video, "-o", tmp_path / "out", *options)
    assert again.returncode == 0, again.stderr
    assert f"{len(kept)} pictures are there already." in again.stderr
    now = {path: path.stat().st_mtime_ns for path in kept}
    last = max(kept)
    assert {path for path in kept if now[path] != kept[path]} <= {last}, "but for the last, what is there stays"
    whole = atelier("matte", video, "-o", tmp_path / "whole", *options)
    assert whole.returncode == 0, whole.stderr
    found, expected = (pictures(tmp_path / folder / "long") for folder in ("out", "whole"))
    assert len(found) == len(expected) == 160
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_settings_begin_anew_and_the_same_ask_nothing(url, tmp_path):
    asked = ["matte", CLIP, "-o", tmp_path / "out", "--max-frames", "3", *SMALL]
    assert atelier(*asked, "--url", url).returncode == 0
    first = pictures(tmp_path / "out" / "clip12")
    (port,) = free_ports(1)
    same = atelier(*asked, "--url", f"localhost:{port}", "--outputs", "composite", "--background", "#204080")
    assert same.returncode == 0, "pictures that are all there need no server"
    assert (tmp_path / "out" / "clip12_composite.mp4").is_file()
    other = atelier(*asked, "--url", url, "--size", "96", "--num-overlap-frames", "2")
    assert other.returncode == 0, other.stderr
    assert any((one != two).any() for one, two in zip(first, pictures(tmp_path / "out" / "clip12"), strict=True))


def test_pictures_that_are_not_its_own_are_never_touched(url, tmp_path):
    shots = tmp_path / "shots"
    shots.mkdir()
    Image.new("RGB", (64, 48), "red").save(shots / "00000.png")
    before = (shots / "00000.png").read_bytes()
    assert "would come into" in one_line(atelier("matte", shots, "-o", tmp_path, "--url", url, *SMALL))
    shutil.copy(CLIP, tmp_path / "shots.mkv")
    said = one_line(atelier("matte", tmp_path / "shots.mkv", "-o", tmp_path, "--url", url, *SMALL))
    assert "did not make" in said
    assert (shots / "00000.png").read_bytes() == before


def test_each_failure_is_one_line(url, tmp_path):
    out, (port,) = tmp_path / "out", free_ports(1)

    def said(*arguments):
        return one_line(atelier("matte", *SMALL, *arguments, "-o", out))

    assert "none.mp4 is not there" in said("none.mp4", "--url", url)
    assert "No server answers at" in said(CLIP, "--url", f"localhost:{port}")
    assert "codec is 'av1'" in said(CLIP, "--url", url, "--codec", "av1")
    assert "h264 holds no transparency" in said(CLIP, "--url", url, "--outputs", "rgba")
    assert "BACKGROUND" in said(CLIP, "--url", url, "--outputs", "composite")
    assert "NUM_FRAMES_PER_BATCH is -2" in said(CLIP, "--url", url, "--num-frames-per-batch", "-2")
    (tmp_path / "broken.mp4").write_bytes(truncated(tmp_path))
    assert "cut short" in said(tmp_path / "broken.mp4", "--url", url)
    (tmp_path / "sound.mp4").write_bytes(sound_alone(tmp_path))
    assert "no video stream" in said(tmp_path / "sound.mp4", "--url", url)
    assert not list(out.rglob("*.png"))
