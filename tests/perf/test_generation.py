"""The benchmarks of generation, run small. No time is judged."""

import json

from perf.generation_options import Settings
from perf.generation_process import count_operations
from tests.conftest import ROOT
from tests.perf.commands import perf, written

GOLDEN = ROOT / "tests" / "golden" / "wan"


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


def test_every_way_of_holding_the_network(tmp_path):
    small = ["--frame-size", "64*32", "--frames", "5", "--steps", "2", "--threads", "1", "--rounds", "1"]
    chosen = ["--variants", "plain,vae_tiling,nf4"]
    document, text = written("generation-options-tiny", tmp_path, "generation-options", *small, *chosen)
    plain, tiled, refused = document["cases"]
    assert plain["variant"] == "plain"
    assert plain["step"] > 0
    assert tiled["host_peak"] > tiled["loaded"]["host"] / 2 > 10**8
    assert "needs a GPU" in refused["refused"]
    assert "seconds a step" in text
    assert "needs a GPU" in text


def test_an_unknown_way_is_refused(tmp_path):
    run = perf("generation-options", "--variants", "plain,fast", "--output", str(tmp_path))
    assert run.returncode == 2
    assert "there is no 'fast'; there are: plain, compile" in " ".join(run.stderr.replace("│", " ").split())


def test_operations_are_those_of_the_layers():
    settings = Settings("tiny", "96*64", 9, 1, (), "cpu", False, 1)
    config = json.loads((GOLDEN / "pipeline" / "transformer" / "config.json").read_text())
    width = config["num_attention_heads"] * config["attention_head_dim"]
    tokens, text, feed, layers = 3 * 3 * 2, 512, config["ffn_dim"], config["num_layers"]
    self_attention = 8 * tokens * width**2 + 4 * tokens**2 * width
    cross_attention = 4 * (tokens + text) * width**2 + 4 * tokens * text * width
    block = self_attention + cross_attention + 4 * tokens * width * feed
    patches = 2 * 2 * tokens * config["in_channels"] * 4 * width  # in and out
    times = 2 * tokens * (config["freq_dim"] * width + width**2 + 6 * width**2)
    texts = 2 * text * (config["text_dim"] * width + width**2)
    by_hand = 2 * (layers * block + patches + times + texts)  # with the prompt and without
    assert count_operations(GOLDEN / "pipeline", settings) == by_hand
