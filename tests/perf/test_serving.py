"""The benchmark of serving: its parts, and the whole command once, small. No time is judged."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atelier.inpainting.checkpoint import checkpoint_file
from export.artefact import sha256
from perf import lama, serving
from perf.measure import BenchmarkError
from perf.statistics import STEPS, WHOLE

ROOT = Path(__file__).resolve().parents[2]


def _perf(*arguments):
    command = [sys.executable, "-m", "perf", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    output = tmp_path_factory.mktemp("results")
    arguments = ["--sides", "64", "--batches", "1", "--threads", "1", "--rounds", "2", "--output", str(output)]
    return _perf("serving", *arguments), output


@pytest.fixture(scope="module")
def document(outcome):
    run, output = outcome
    assert run.returncode == 0, run.stderr
    return json.loads((output / "serving-mini.json").read_text(encoding="utf-8"))


def test_the_settings_that_were_asked_for_are_the_ones_written(document):
    settings = document["settings"]
    assert (settings["size"], settings["sides"], settings["batches"]) == ("mini", [64], [1])
    assert (settings["threads"], settings["rounds"], settings["seed"]) == (1, 2, 0)
    assert document["benchmark"] == "serving"


def test_every_sample_is_written(document):
    (case,) = document["cases"]
    assert (case["side"], case["batch"]) == (64, 1)
    assert set(case["seconds"]) == set(serving.TITLES)
    assert all(len(samples) == 2 and min(samples) > 0 for samples in case["seconds"].values())
    for name in serving.SERVED:
        steps = case["server"][name]
        assert all(len(samples) == 2 for samples in steps.values())
        # What Triton did before it answered lies within the call; it may be still at its books when the client has it.
        before = [sum(parts) for parts in zip(*(steps[step] for step in STEPS[:-1]), strict=True)]
        assert all(part < call for part, call in zip(before, case["seconds"][name], strict=True))
        assert all(part < whole for part, whole in zip(before, steps[WHOLE], strict=True))


def test_all_computed_the_same(document):
    (case,) = document["cases"]
    assert set(case["max_levels"]) == set(serving.TITLES)
    assert max(case["max_levels"].values()) <= 1


def test_the_summary_is_that_of_the_samples(document):
    (case,) = document["cases"]
    eager, direct, grpc = (np.array(case["seconds"][name]) for name in ("eager", "openvino", "grpc"))
    summary = case["summary"]
    assert summary["seconds"]["grpc"]["median"] == pytest.approx(np.median(grpc), abs=1e-6)
    assert summary["ratio_to_eager"]["grpc"]["median"] == pytest.approx(np.median(grpc / eager), abs=1e-4)
    assert summary["share_added_to_runtime"]["grpc"]["maximum"] == pytest.approx((grpc / direct - 1).max(), 1e-4)


def test_the_server_that_answered_says_its_version(document):
    assert document["versions"]["triton"] == "2.51.0"
    assert document["versions"]["python"] == sys.version.split()[0]


def test_the_markdown_says_the_same(outcome, document):
    text = (outcome[1] / "serving-mini.md").read_text(encoding="utf-8")
    assert text.startswith("# Serving: `lama`, mini\n")
    assert text == serving.markdown(document)
    assert "## 64 × 64, batch 1" in text
    for title in serving.TITLES.values():
        assert f"| {title} |" in text


def test_the_files_tell_nothing_of_the_machines_folders(outcome, document):
    for file in outcome[1].iterdir():
        text = file.read_text(encoding="utf-8")
        assert str(ROOT) not in text
        assert "/tmp" not in text
        assert file.stat().st_size < 200_000


def test_the_files_are_named_on_the_terminal(outcome, document):
    run, output = outcome
    assert f"wrote {output / 'serving-mini.json'}" in run.stdout
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--sides", "100"),
        ("--sides", "8"),
        ("--sides", ""),
        ("--sides", "256,x"),
        ("--batches", "0"),
        ("--batches", "9"),
    ],
)
def test_sizes_that_the_model_does_not_take_are_wrong_usage(option, value):
    run = _perf("serving", option, value)
    assert run.returncode == 2
    assert option in run.stderr


def test_other_outputs_are_not_compared_in_speed():
    same = np.full((1, 8, 8, 3), 100, np.uint8)
    outputs = dict.fromkeys(serving.TITLES, same)
    assert serving.compare({**outputs, "http": same - 1}, "a test")["http"] == 1
    with pytest.raises(BenchmarkError, match=r"served, HTTP differs from eager PyTorch by 2 levels \(a test\)"):
        serving.compare({**outputs, "http": same + 2}, "a test")
    with pytest.raises(BenchmarkError, match="answers"):
        serving.compare({**outputs, "grpc": same[:, :4]}, "a test")


def test_pictures_have_a_hole_and_are_the_same_for_the_same_seed():
    first, again, other = lama.pictures(64, 2, 0), lama.pictures(64, 2, 0), lama.pictures(64, 2, 1)
    assert first.image.shape == (2, 64, 64, 3)
    assert (first.mask > 0).mean() == 0.25
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)


def test_a_checkpoint_that_cannot_be_made_is_said_in_a_sentence():
    with pytest.raises(BenchmarkError, match="exporter"), lama.subject("huge", threads=1, seed=0):
        pass


@pytest.mark.parametrize("size", ["mini", "tiny"])  # what is bundled, and what is exported
def test_the_served_model_has_the_threads_of_the_others(size):
    with lama.subject(size, threads=3, seed=0) as made:
        config = (made.repository / "lama" / "config.pbtxt").read_text(encoding="utf-8")
        assert made.onnx.is_file()
        facts = json.loads(made.onnx.with_name("model.onnx.json").read_text(encoding="utf-8"))
        assert facts["checkpoint"]["sha256"] == sha256(checkpoint_file(made.checkpoint))
    assert 'key: "intra_op_thread_count" value { string_value: "3" }' in config
    assert not made.repository.exists()
