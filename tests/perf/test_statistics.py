"""Single requests out of Triton's running sums."""

import pytest

from perf.measure import BenchmarkError
from perf.statistics import STEPS, Statistics


@pytest.fixture
def sums(monkeypatch):
    """What the server would say next; the last is said again."""
    pages = [_sums(count=10, ns=1000)]
    monkeypatch.setattr(Statistics, "_read", lambda _self: pages.pop(0) if len(pages) > 1 else pages[0])
    return pages


def _sums(count, ns):
    return {"count": count, "success": ns, **dict.fromkeys(STEPS, ns // 2)}


def test_a_request_is_the_difference_of_two_readings(sums):
    statistics = Statistics("http://nobody", "lama")
    sums[:] = [_sums(count=11, ns=3000), _sums(count=12, ns=13000)]
    assert statistics.next_request() == pytest.approx({"success": 2e-6, **dict.fromkeys(STEPS, 1e-6)})
    assert statistics.next_request()["success"] == pytest.approx(10e-6)


def test_a_request_that_is_counted_late_is_waited_for(sums):
    statistics = Statistics("http://nobody", "lama")
    sums[:] = [_sums(10, 1000), _sums(10, 1000), _sums(11, 5000)]
    assert statistics.next_request()["success"] == pytest.approx(4e-6)


@pytest.mark.parametrize(("count", "said"), [(10, "counts 0"), (12, "counts 2")])
def test_samples_are_never_of_another_number_of_requests(sums, count, said):
    statistics = Statistics("http://nobody", "lama")
    sums[:] = [_sums(count, 9000)]
    with pytest.raises(BenchmarkError, match=said):
        statistics.next_request(patience=0.0)
