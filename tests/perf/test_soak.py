"""The soak, run for seconds. No time and no memory is judged."""

import json

from perf import soak
from tests.perf.commands import perf


def test_traffic_of_all_kinds_a_kill_and_memory_over_time(tmp_path):
    small = ["--minutes", "0.6", "--callers", "3", "--kill"]
    run = perf("soak", *small, "--output", str(tmp_path))
    document = json.loads((tmp_path / "soak.json").read_text("utf-8"))
    text = (tmp_path / "soak.md").read_text("utf-8")
    assert run.returncode == (1 if document["failed"] else 0), run.stderr
    assert not any("wrong" in sentence or "ended" in sentence for sentence in document["failed"]), document["failed"]
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


def test_what_does_not_hold_is_said():
    good = {
        "outcomes": {"good": {"answered": 9}},
        "answers": [[0.1, 0.2]],
        "growth_mib": {"server": 5.0, "stubs": -3.0, "shared": 0.0},
        "settings": {"kill": True},
        "fault": {"noticed": 2.0, "mended": 9.0},
    }
    assert soak.failures(good, alive=True) == []
    worse = {
        "outcomes": {"good": {"answered": 9, "wrong": 2}},
        "growth_mib": {"server": 5.0, "stubs": 300.0, "shared": 1.5},
        "fault": {"noticed": 16.0},
    }
    assert soak.failures(good | worse, alive=False) == [
        "The launcher ended.",
        "2 answers were wrong.",
        "The memory of Python processes grew by 300 MiB; 64 are accepted.",
        "The memory of /dev/shm grew by 2 MiB; 1 are accepted.",
        "The killed process was not noticed within 15 s.",
        "The service did not come back.",
    ]


def test_no_time_is_wrong_usage(tmp_path):
    run = perf("soak", "--minutes", "0", "--output", str(tmp_path))
    assert run.returncode == 2
    assert "--minutes" in run.stderr
