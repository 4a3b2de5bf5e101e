"""The benchmark of generation, run small. No time is judged."""

from tests.perf.commands import perf, written


def test_every_variant_makes_its_videos(tmp_path):
    small = ["--frame-size", "64*32", "--frames", "5", "--steps", "3", "--rounds", "1", "--rank", "2", "--threads", "1"]
    document, text = written("generation-tiny", tmp_path, "generation", *small)
    assert [case["variant"] for case in document["cases"]] == ["plain", "adapter", "first-block cache"]
    for case in document["cases"]:
        assert len(case["seconds"]) == len(case["stages"]) == 1
        assert set(case["stages"][0]) == {"encoding", "denoising", "decoding", "encoding_video"}
    assert "seconds a step" in text


def test_frames_that_are_refused(tmp_path):
    run = perf("generation", "--frames", "6", "--rounds", "1", "--output", str(tmp_path))
    assert run.returncode == 2
    assert "the nearest are 5 and 9" in run.stderr
