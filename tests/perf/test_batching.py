"""The old worker against the bridge: same arrivals, same answers. No time is judged."""

import numpy as np
import pytest

from perf import batching, traffic
from tests.perf.commands import written

SCENARIOS = {"lone": 2, "burst": 4, "60%": 3}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    small = ["--lone=2", "--random=3", "--burst=4", "--backlog=2", "--late=1", "--loads=60", "--threads=1"]
    return written("batching", tmp_path_factory.mktemp("results"), "batching", *small)


def test_every_task_of_every_scenario_was_answered_by_every_system(found):
    runs = {(run["scenario"], run["system"]): run["waits"] for run in found[0]["runs"]}
    for system in batching.SYSTEMS:
        for scenario, count in SCENARIOS.items():
            assert len(runs[scenario, system]) == count
        assert {wait[2] for wait in runs["starvation", system]} == {"short", "long"}


def test_all_systems_got_the_same_arrivals(found):
    for scenario in SCENARIOS:
        kinds = [sorted(wait[2] for wait in run["waits"]) for run in found[0]["runs"] if run["scenario"] == scenario]
        assert all(kind == kinds[0] for kind in kinds)


def test_a_lone_request_does_not_wait_for_companions(found):
    """What the old worker's patience costs is no matter of a machine's speed: it is a second."""
    figures = {run["system"]: batching.summary(run["waits"]) for run in found[0]["runs"] if run["scenario"] == "lone"}
    assert figures[batching.OLD_ONNXRUNTIME]["p50"] > 1
    waits = {run["system"]: [wait[1] for wait in run["waits"]] for run in found[0]["runs"] if run["scenario"] == "lone"}
    assert min(waits[batching.OLD_ONNXRUNTIME]) > min(waits[batching.BRIDGE_ONNXRUNTIME])


def test_the_page_has_the_goals_and_every_scenario(found):
    assert "aimed for" in found[1]
    for words in ("lone requests", "A burst of 4", "60% of capacity", "long pages wait"):
        assert words in found[1]


def test_random_arrivals_have_their_rate_and_share():
    arrivals = traffic.poisson(5.0, 4000, 0.3, 1)
    gaps = np.diff([arrival.at for arrival in arrivals])
    assert gaps.mean() == pytest.approx(0.2, rel=0.05)
    assert gaps.std() == pytest.approx(0.2, rel=0.1)  # exponential
    assert np.mean([arrival.is_long for arrival in arrivals]) == pytest.approx(0.3, abs=0.03)
    assert arrivals == traffic.poisson(5.0, 4000, 0.3, 1)


def test_a_summary_is_that_of_its_waits():
    waits = [[0.0, 1.0, "short"], [1.0, 3.0, "long"], [2.0, 1.0, "short"]]
    found = batching.summary(waits)
    assert found["throughput"] == pytest.approx(3 / 4)
    assert (found["p50"], found["worst_short"], found["worst_long"]) == (1.0, 1.0, 3.0)
