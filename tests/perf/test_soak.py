"""The soak, run for seconds. No time and no memory is judged."""

from perf import soak
from tests.perf.commands import perf, written


def test_traffic_of_all_kinds_a_kill_and_memory_over_time(tmp_path):
    small = ["--minutes", "0.6", "--callers", "3", "--kill"]
    document, text = written("soak", tmp_path, "soak", *small)
    outcomes = document["outcomes"]
    assert outcomes["good"]["answered"] >= 1
    assert sum(outcomes["bad"].values()) >= 1
    assert set(outcomes["bad"]) <= {"refused", "failed", "no server"}, "some come while the process is dead"
    assert not any("wrong" in counts for counts in outcomes.values()), outcomes
    assert len(document["samples"]) >= 3
    assert all(sample["stubs"] > 50 and sample["shared"] > 1 for sample in document["samples"][:2])
    assert "noticed" in document["fault"]
    assert "service back" in text
    assert (tmp_path / "soak.png").stat().st_size > 5000


def test_memory_that_grows_is_seen():
    def sample(seconds, shared):
        return soak.Sample(seconds, 100.0, 200.0, shared)

    flat = [sample(second, 64.0) for second in range(100)]
    growing = [sample(second, 64.0 + second) for second in range(100)]
    assert soak.growth(flat, 100) == {"server": 0.0, "stubs": 0.0, "shared": 0.0}
    assert soak.growth(growing, 100)["shared"] == 39.5
    assert soak.growth(flat[:30], 100) == {}


def test_no_time_is_wrong_usage(tmp_path):
    run = perf("soak", "--minutes", "0", "--output", str(tmp_path))
    assert run.returncode == 2
    assert "--minutes" in run.stderr
