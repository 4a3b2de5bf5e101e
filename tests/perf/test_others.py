"""Regions, runtimes and tuning, run small. No time is judged."""

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from perf import runtimes, tune
from tests.perf.commands import written

WINDOWS = ("--seconds", "0.5", "--windows", "3")


def test_regions_and_whole_pages_are_compared_on_the_same_pages(tmp_path):
    document, text = written("regions-256", tmp_path, "regions", "--side", "256", "--pages", "1", "--rounds", "1")
    assert {page["share"] for page in document["pages"]} == set(document["settings"]["shares"])
    for page in document["pages"]:
        assert abs(page["masked"] - page["share"]) <= 0.25 * page["share"] + 1e-4
        assert all(5 < value <= 60 for value in page["psnr"].values())
        assert all(len(samples) == 1 for samples in page["seconds"].values())
    assert "times faster" in text


def test_all_runtimes_compute_the_same_but_for_bf16(tmp_path):
    small = ["--size", "mini", "--sides", "64,96", "--batches", "1,2", "--threads", "1", "--rounds", "1"]
    document, text = written("runtimes-mini", tmp_path, "runtimes", *small)
    assert len(document["cases"]) == 4
    left = set(runtimes.TITLES)
    for case in document["cases"]:
        assert set(case["max_levels"]) == set(case["seconds"]) == left
        # What is not exact is timed no more. A processor without bfloat16 computes it in float32, exactly.
        left -= {name for name, levels in case["max_levels"].items() if levels > runtimes.EXACT}
        exact = {name: levels for name, levels in case["max_levels"].items() if name != "openvino_bf16"}
        assert max(exact.values()) <= runtimes.EXACT, exact
    assert runtimes.of_eager(document, "openvino", side=64, batch=1, threads=1).median > 0
    assert "OpenVINO, fp32" in text


def test_tuning_tries_and_proposes_a_configuration(tmp_path):
    small = ["--size", "mini", "--side", "64", "--concurrency", "2", "--instances", "1", "--threads", "1"]
    document, text = written(
        "tune-lama", tmp_path, "tune", "lama", *small, "--batches", "8", "--delays", "0,1000", *WINDOWS
    )
    assert {trial["delay"] for trial in document["trials"]} == {0, 1000}
    config = text_format.Parse(document["config"], model_config_pb2.ModelConfig())
    assert config.max_batch_size == document["best"]["max_batch"]
    assert config.dynamic_batching.max_queue_delay_microseconds == document["best"]["delay"]
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 256  # what is not tried stays
    assert document["config"].strip() in text


def test_a_value_is_kept_where_it_brings_more_at_no_lone_request_s_price():
    slow, fast, dear = tune.Choice(1, 1, 8, 0), tune.Choice(1, 2, 8, 0), tune.Choice(2, 2, 8, 0)
    trials = tune.Trials(
        {
            slow: {"alone": 0.1, "throughput": 10},
            fast: {"alone": 0.1, "throughput": 11},
            dear: {"alone": 0.2, "throughput": 20},
        }
    )
    assert trials.better(fast, slow)
    assert not trials.better(slow, fast)
    assert not trials.better(dear, fast)
    assert trials.better(fast, dear)
