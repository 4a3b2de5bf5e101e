"""perf_analyzer, the real one, on a real server. No time is judged."""

import pytest

from perf import sweep
from perf.analyzer import Analyzer, Load
from perf.measure import BenchmarkError
from tests.perf.commands import perf, written

SMALL = ["--concurrencies", "2", "--shares", "50", "--seconds", "0.5", "--windows", "3", "--threads", "1"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return *written("sweep-lama", folder, "sweep", "lama", "--side", "64", *SMALL), folder


def test_every_way_in_is_measured_at_every_load(found):
    document, *_ = found
    loads = {(point["way"], point.get("concurrency")) for point in document["points"] if "concurrency" in point}
    assert loads == {(way, count) for way in sweep.WAYS for count in (2,)}
    rates = [point["rate"] for point in document["points"] if "rate" in point]
    best = max(point["throughput"] for point in document["points"] if "concurrency" in point)
    assert rates == [pytest.approx(best / 2, rel=0.01)] * len(sweep.WAYS)


def test_figures_are_seconds_and_fit_together(found):
    for point in found[0]["points"]:
        assert 0 < point["p50"] <= point["p95"] <= point["p99"] < 60
        assert 0 < point["compute_infer"] < 60
        assert 1 <= point["mean_batch"] <= 8
        assert point["throughput"] > 0


def test_what_is_written_can_be_read_and_seen(found):
    _, text, folder = found
    assert text.startswith("# Under load: `lama`, mini")
    assert text.count("| gRPC and shared memory |") == 2
    assert (folder / "sweep-lama.png").read_bytes()[:4] == b"\x89PNG"


def test_inpaint_is_loaded_with_the_sample_pictures(server):
    settings = sweep.Settings("inpaint", "mini", 0, (1,), (), 8, 3, 1)
    assert sweep.ways("inpaint") == ("gRPC", "HTTP")
    with sweep.tensors(settings) as options:
        analyzer = Analyzer("inpaint", server.grpc_url, server.http_url, options, seconds=8, windows=3)
        point = analyzer.run(Load("grpc", 0, concurrency=1))
    assert point["p50"] > 0


def test_a_model_that_is_not_there_is_an_error_in_one_sentence(server):
    analyzer = Analyzer("lama", server.grpc_url, server.http_url, ["--shape=IMAGE:64,64,3"], seconds=0.5)
    with pytest.raises(BenchmarkError, match="perf_analyzer failed"):  # the mask's shape is missing
        analyzer.run(Load("grpc", 0, concurrency=1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep", "ghost"], "ghost"),
        (["sweep", "lama", "--side", "63"], "multiples of 8"),
        (["sweep", "lama", "--concurrencies", "0"], "1 to 256"),
        (["sweep", "lama", "--seconds", "0"], "0.5"),
        (["tune", "lama", "--instances", "x"], "--instances"),
        (["runtimes", "--threads", ","], "--threads"),
        (["batching", "--burst", "1"], "--burst"),
    ],
)
def test_wrong_usage_is_refused(arguments, words):
    run = perf(*arguments)
    assert run.returncode == 2
    assert words in run.stderr
    assert "Traceback" not in run.stderr
