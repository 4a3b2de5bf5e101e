"""Turns, samples and ratios, on a clock that only the calls move."""

import random

import pytest

from perf import measure
from perf.measure import interleave, ratios, shares_added, summarise


class Clock:
    """Time that passes where something says so."""

    def __init__(self):
        self.now = 0.0
        self.pauses = []

    def pause(self, patience):
        self.now += 1000.0  # would show in every sample
        self.pauses.append(patience)
        return True, 0.0

    def costs(self, *seconds):
        """A call that takes these times, one after another, and counts itself."""
        left = list(seconds)

        def call():
            self.now += left.pop(0)

        return call


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(measure, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(measure, "settle", clock.pause)
    return clock


def test_samples_are_the_calls_own_time_in_the_order_of_the_rounds(clock):
    calls = {"a": clock.costs(9, 1, 2, 3), "b": clock.costs(9, 10, 20, 30)}
    found = interleave(calls, rounds=3, warm_up=1, seed=0)
    assert found.seconds == {"a": [1, 2, 3], "b": [10, 20, 30]}
    assert found.disturbed == 0


def test_every_round_runs_every_call_once_after_a_pause(clock):
    names = ["a", "b", "c"]
    heard = []
    calls = {name: clock.costs(*[1] * 12) for name in names}
    interleave(calls, rounds=10, warm_up=2, seed=3, on_call=lambda name, _, timed: heard.append((name, timed)))
    rounds = [heard[start : start + 3] for start in range(0, 36, 3)]
    assert all(sorted(name for name, _ in turn) == names for turn in rounds)
    assert [{timed for _, timed in turn} for turn in rounds] == [{False}] * 2 + [{True}] * 10
    assert len({tuple(name for name, _ in turn) for turn in rounds}) > 1, "the order changes"
    assert len(clock.pauses) == 36


def test_the_same_seed_gives_the_same_orders(clock):
    def orders(seed):
        heard = []
        calls = {name: lambda: None for name in "abcd"}
        interleave(calls, rounds=8, warm_up=0, seed=seed, on_call=lambda name, *_: heard.append(name))
        return heard

    random.seed(1)  # nobody else's generator matters
    first = orders(5)
    random.seed(2)
    assert orders(5) == first != orders(6)


def test_what_the_listener_does_counts_for_nothing(clock):
    def listen(*_):
        clock.now += 500

    assert interleave({"a": clock.costs(1, 2)}, rounds=2, warm_up=0, seed=0, on_call=listen).seconds == {"a": [1, 2]}


def test_an_error_of_a_call_is_not_swallowed(clock):
    with pytest.raises(ZeroDivisionError):
        interleave({"a": lambda: 1 / 0}, rounds=1, warm_up=0, seed=0)


def test_the_patience_with_a_busy_machine_is_one_for_all_calls(clock, monkeypatch):
    left = []

    def busy(patience):
        left.append(patience)
        return False, min(patience, 8.0)

    monkeypatch.setattr(measure, "settle", busy)
    found = interleave({"a": lambda: None}, rounds=4, warm_up=1, seed=0)
    assert left == [20.0, 12.0, 4.0, 0.0, 0.0]
    assert found.disturbed == 4, "the warm-up is not counted"


@pytest.mark.parametrize(
    ("idle_shares", "expected"),
    [
        pytest.param([1.0], (True, 0.0), id="quiet at once"),
        pytest.param([0.2, 0.5, 0.9], (True, 0.1), id="quiet after two more pauses"),
        pytest.param([0.2] * 9, (False, 0.2), id="never quiet"),
    ],
)
def test_a_pause_lasts_until_the_cores_are_idle(monkeypatch, idle_shares, expected):
    state = {"now": 0.0, "idle": 0.0}
    shares = iter(idle_shares)

    def sleep(seconds):
        state["now"] += seconds
        state["idle"] += seconds * next(shares) * len(measure.os.sched_getaffinity(0))

    monkeypatch.setattr(measure, "sleep", sleep)
    monkeypatch.setattr(measure, "perf_counter", lambda: state["now"])
    monkeypatch.setattr(measure, "_idle_seconds", lambda: state["idle"])
    quiet, waited = measure.settle(patience=0.2)
    assert (quiet, pytest.approx(waited)) == expected


def test_idle_time_is_read_from_the_kernel_and_never_falls():
    before = measure._idle_seconds()
    assert 0 < before <= measure._idle_seconds()


def test_a_summary_has_median_quartiles_and_extremes():
    found = summarise([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.minimum, found.q1, found.median, found.q3, found.maximum) == (1, 2, 3, 4, 5)
    assert summarise([7.0]).median == summarise([7.0]).maximum == 7


def test_nothing_cannot_be_summarised():
    with pytest.raises(ValueError, match="nothing"):
        summarise([])


def test_ratios_are_taken_round_by_round():
    # The machine slows down tenfold: the ratio of the rounds stays.
    assert ratios([1, 10], [2, 20]) == [0.5, 0.5]
    assert shares_added([3, 30], [2, 20]) == [0.5, 0.5]
    with pytest.raises(ValueError):
        ratios([1, 2], [1])
