"""``atelier evaluate videos`` and ``images``: folders of what exists."""

import json
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from atelier.media.video import CODECS, Facts, VideoWriter
from tests.conftest import ROOT
from tests.evaluation.clips import blurred, grainy, panned
from tests.evaluation.learned.folders import write_clip, write_i3d, write_lpips

PROGRAM = [sys.executable, "-c", "from atelier.cli import main; main()", "evaluate"]
RATE = Fraction(24)


def evaluate(*arguments, cwd=ROOT):
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT)},
    )


def refused(run):
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1, run.stderr
    return run.stderr


def write_video(file, frames, codec="h264"):
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = Facts(frames.shape[2], frames.shape[1], RATE, 1 / RATE, len(frames), codec)
    with VideoWriter(str(file), CODECS[codec], facts) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, number / RATE)


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Twelve frames of eight places of a photograph: clean, blurred, grainy."""
    folder = tmp_path_factory.mktemp("clips")
    clean = panned(frames=19)
    for number in range(8):
        cut = clean[number : number + 12]
        write_video(folder / "원본" / f"클립 {number}.mp4", cut)
        write_video(folder / "blurred" / f"클립 {number}.mp4", blurred(cut))
        write_video(folder / "grainy" / f"클립 {number}.mp4", grainy(cut, 20))
    return folder


@pytest.mark.parametrize(
    ("worse", "metrics"),
    [("blurred", ["sharpness_laplacian", "sharpness_tenengrad"]), ("grainy", ["noise_sigma", "warping_error"])],
)
def test_a_defect_is_found_by_the_metrics_that_see_it(clips, tmp_path, worse, metrics):
    run = evaluate("videos", clips / "원본", clips / worse, "-o", tmp_path / "결과")
    assert run.returncode == 0, run.stderr
    results = results_of(tmp_path / "결과")
    verdicts = {entry["metric"]: entry["verdict"] for entry in results["comparisons"]}
    assert {verdicts[metric] for metric in metrics} == {"worse"}
    assert results["applied"][0]["applied"]
    assert "CLIP score and CLIP consistency: not computed" in run.stderr
    for item in results["items"]:
        for output in item["outputs"].values():
            with av.open(str(tmp_path / "결과" / output["file"])) as video:
                assert sum(1 for _ in video.decode(video=0)) == 12


def test_identical_folders_have_no_difference(clips, tmp_path):
    run = evaluate("videos", clips / "원본", clips / "원본", "-o", tmp_path / "out")
    assert run.returncode == 1
    assert "NOT APPLIED" in run.stdout
    results = results_of(tmp_path / "out")
    assert {entry["verdict"] for entry in results["comparisons"]} == {"no difference"}
    assert results["applied"][0]["equal"] == 8


def test_numbers_are_kept_until_a_video_changes(clips, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        for number, source in enumerate(("원본", "grainy")):
            kind = source if name == "other" else "원본"
            (tmp_path / name / f"{number}.mp4").write_bytes((clips / kind / "클립 0.mp4").read_bytes())
    command = ["videos", tmp_path / "one", tmp_path / "other", "-o", tmp_path / "out"]
    assert evaluate(*command).returncode == 1  # the first pair is equal
    kept = sorted((tmp_path / "out" / "measured").rglob("*.json"))
    times = {file: file.stat().st_mtime_ns for file in kept}
    (tmp_path / "other" / "0.mp4").write_bytes((clips / "blurred" / "클립 0.mp4").read_bytes())
    assert evaluate(*command).returncode == 0
    changed = {
        file.relative_to(tmp_path / "out" / "measured").as_posix()
        for file in kept
        if file.stat().st_mtime_ns != times[file]
    }
    assert changed == {"other/0.json", "pairs/other/0.json"}


def test_what_browsers_do_not_play_is_shown_as_a_copy(tmp_path):
    frames = panned(frames=4)[:, :95, :127]  # odd sides
    for name, clip in (("one", frames), ("other", blurred(frames))):
        write_video(tmp_path / name / "clip.mkv", clip, "ffv1")
    run = evaluate("videos", tmp_path / "one", tmp_path / "other", "-o", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    output = results_of(tmp_path / "out")["items"][0]["outputs"]["one"]
    assert (output["width"], output["height"]) == (127, 95)
    assert output["facts"]["shown"] == "an H.264 copy"
    with av.open(str(tmp_path / "out" / output["file"])) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (128, 96)


def test_weights_that_are_there_are_used(clips, tmp_path):
    weights = tmp_path / "weights"
    write_clip(weights / "clip")
    write_lpips(weights / "lpips")
    write_i3d(weights / "i3d")
    names = [f"클립 {number}" for number in range(3)]
    for kind in ("원본", "grainy"):
        (tmp_path / kind).mkdir()
        for name in names:
            # The random I3D looks at 16 frames.
            write_video(
                tmp_path / kind / f"{name}.mp4", panned(frames=16) if kind == "원본" else grainy(panned(frames=16))
            )
    texts = tmp_path / "prompts.json"
    texts.write_text(json.dumps({names[0]: "a cat", names[1]: "cat", names[2]: "고양이"}, ensure_ascii=False))
    run = evaluate(
        *("videos", tmp_path / "원본", tmp_path / "grainy", "-o", tmp_path / "out"),
        *("--weights", weights, "--prompts", texts, "--reference", tmp_path / "원본"),
    )
    assert run.returncode == 0, run.stderr
    results = results_of(tmp_path / "out")
    values = [item["outputs"]["원본"]["metrics"] for item in results["items"]]
    assert all(-100 <= found["clip_score"] <= 100 for found in values[:2])
    assert values[2]["clip_score"] is None
    assert "the English text tower cannot judge a prompt with Hangul letters" in run.stderr
    assert values[0]["legacy_clip_01"] == pytest.approx((values[0]["clip_score"] / 100 + 1) / 2)
    assert all(item["pairs"]["grainy"]["lpips"] > 0 for item in results["items"])
    assert {(entry["metric"], entry["value"]) for entry in results["sets"]} == {("fvd", None), ("kvd", None)}
    assert any("256" in entry["sentence"] for entry in results["sets"])
    assert set(results["reproduce"]["weights"]) == {"clip", "lpips", "i3d"}
    assert "DINO consistency: not computed" in run.stderr


def test_a_video_without_a_partner_is_an_error(clips, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "클립 0.mp4").write_bytes((clips / "원본" / "클립 0.mp4").read_bytes())
    words = refused(evaluate("videos", tmp_path / "one", clips / "원본", "-o", tmp_path / "out"))
    assert "one has no video 클립 1 and 6 more" in words
    assert not (tmp_path / "out").exists()


BAD = {
    "no folder": (lambda place: None, "is no folder"),
    "an empty folder": (lambda place: place.mkdir(), "has no videos"),
    "no video": (lambda place: (place.mkdir(), (place / "a.mp4").write_bytes(b"no video")), "a.mp4 is no video"),
    "another size": (lambda place: write_video(place / "a.mp4", panned(frames=4)[:, :64]), "have to be of one size"),
    "another length": (lambda place: write_video(place / "a.mp4", panned(frames=5)), "frames"),
}


@pytest.mark.parametrize("case", BAD)
def test_videos_that_cannot_be_compared(tmp_path, case):
    make, words = BAD[case]
    write_video(tmp_path / "one" / "a.mp4", panned(frames=4))
    make(tmp_path / "other")
    assert words in refused(evaluate("videos", tmp_path / "one", tmp_path / "other", "-o", tmp_path / "out"))


def test_results_do_not_go_into_a_folder_of_something_else(clips, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    assert "holds no evaluation" in refused(evaluate("videos", clips / "원본", clips / "grainy", "-o", tmp_path))


def test_no_report_without_results(tmp_path):
    assert "results.json cannot be read" in refused(evaluate("report", tmp_path))


def save(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def test_pictures_against_the_truth(tmp_path):
    truth = panned(frames=8)
    for number, picture in enumerate(truth):
        save(tmp_path / "truth" / f"그림 {number}.png", picture)
        save(tmp_path / "good" / f"그림 {number}.png", grainy(picture[None], 2)[0])
        save(tmp_path / "bad" / f"그림 {number}.png", blurred(picture[None], 3)[0])
    folders = [tmp_path / "good", tmp_path / "bad"]
    run = evaluate("images", *folders, "--truth", tmp_path / "truth", "-o", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    results = results_of(tmp_path / "out")
    assert results["kind"] == "images"
    verdicts = {entry["metric"]: entry["verdict"] for entry in results["comparisons"]}
    assert verdicts == {"truth_psnr": "worse", "truth_ssim": "worse", "truth_gmsd": "worse"}
    with Image.open(tmp_path / "out" / results["items"][0]["outputs"]["bad"]["file"]) as shown:
        assert shown.size == (128, 96)


def test_mattes_against_the_truth(tmp_path):
    rows = np.arange(96)[:, None]
    for clip in range(8):
        for frame in range(4):
            truth = np.clip(255 - 8 * np.abs(rows - 30 - 4 * frame - clip), 0, 255) * np.ones((1, 128))
            save(tmp_path / "truth" / f"clip{clip}" / f"{frame:05}.png", truth.astype(np.uint8))
            save(tmp_path / "near" / f"clip{clip}" / f"{frame:05}.png", (truth * 0.98).astype(np.uint8))
            far = np.roll(truth, 3 * (frame % 2), axis=0)  # trembles
            save(tmp_path / "far" / f"clip{clip}" / f"{frame:05}.png", far.astype(np.uint8))
    folders = [tmp_path / "near", tmp_path / "far"]
    run = evaluate("images", *folders, "--truth", tmp_path / "truth", "--mattes", "-o", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    results = results_of(tmp_path / "out")
    assert results["kind"] == "videos"
    assert {entry["metric"] for entry in results["comparisons"]} == {
        *("alpha_mad", "alpha_mse", "alpha_grad", "alpha_dtssd", "alpha_conn")
    }
    verdicts = {entry["metric"]: entry["verdict"] for entry in results["comparisons"]}
    assert verdicts["alpha_dtssd"] == verdicts["alpha_mad"] == "worse"
    one = evaluate("images", folders[0], "--truth", tmp_path / "truth", "--mattes", "-o", tmp_path / "alone")
    assert one.returncode == 0, one.stderr
    assert results_of(tmp_path / "alone")["comparisons"] == []


def test_pictures_that_cannot_be_compared(tmp_path):
    save(tmp_path / "truth" / "a.png", np.zeros((32, 32, 3), np.uint8))
    save(tmp_path / "size" / "a.png", np.zeros((32, 40, 3), np.uint8))
    save(tmp_path / "alpha" / "a.png", np.zeros((32, 32, 4), np.uint8))
    save(tmp_path / "name" / "b.png", np.zeros((32, 32, 3), np.uint8))
    words = {"size": "have to be of one size", "alpha": "has an alpha channel", "name": "all need partners"}
    for name, expected in words.items():
        run = evaluate("images", tmp_path / name, "--truth", tmp_path / "truth", "-o", tmp_path / f"{name} out")
        assert expected in refused(run)
