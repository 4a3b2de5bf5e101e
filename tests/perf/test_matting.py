"""The benchmark of matting, run small. No time is judged."""

from tests.perf.commands import perf, written


def test_served_and_eager_compute_the_same_and_memory_is_told_by_window(tmp_path):
    small = ["--width", "64", "--height", "32", "--frames", "4", "--windows", "2", "--chunk", "2", "--rounds", "1"]
    document, text = written("matting-tiny", tmp_path, "matting", *small, "--threads", "1")
    assert [case["window"] for case in document["cases"]] == [2]
    for case in document["cases"]:
        assert {name: len(samples) for name, samples in case["seconds"].items()} == {"eager": 1, "served": 1}
        assert case["mean_levels"] <= 1
        assert case["peak_mib"] > 100
    assert "peak memory, MiB" in text


def test_memory_is_told_by_length(tmp_path):
    small = ["--lengths", "2,4", "--window", "2", "--chunk", "2", "--threads", "1"]
    document, text = written("matting-length", tmp_path, "matting-length", *small)
    assert [case["frames"] for case in document["cases"]] == [2, 4]
    assert all(case["peak_mib"] > 100 for case in document["cases"])
    assert "of the first" in text


def test_sizes_that_would_be_padded_are_refused(tmp_path):
    run = perf("matting", "--width", "50", "--output", str(tmp_path))
    assert run.returncode == 2
    assert "multiples of 32" in run.stderr
