import gc
import weakref

import pytest

from atelier.compositing.choosing import Network, note
from atelier.compositing.jobs import StageReport
from atelier.errors import InvalidInput
from tests.compositing.networks import Echo

HERE = "tests.compositing.networks"


def network(residence="always", module=HERE):
    return Network("painter", module, lambda module: module.Echo(), residence)


def test_without_weights_auto_is_classical_and_says_what_is_missing(tmp_path):
    reason = network().choose("auto", {"one": tmp_path / "a-net", "two": tmp_path / "b-net"})
    assert reason == (
        "The painter has no weights a-net and b-net; `atelier weights pull a-net` and `atelier weights pull b-net` "
        "brings them."
    )
    assert str(tmp_path) not in reason


def test_without_weights_neural_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"no weights a-net; `atelier weights pull a-net` .*; mode classical works"):
        network().choose("neural", {"one": tmp_path / "a-net"})


def test_without_a_package_it_is_named(tmp_path):
    lacking = network(module="tests.compositing.network_without_package")
    reason = lacking.choose("auto", {"one": tmp_path})
    assert "needs a_package_that_nobody_has, which is not installed" in reason
    assert "pip install 'atelier[compositing]'" in reason
    with pytest.raises(InvalidInput, match="a_package_that_nobody_has"):
        lacking.choose("neural", {"one": tmp_path})


def test_weights_that_are_there_are_used_unless_classical_is_asked_for(tmp_path):
    assert network().choose("auto", {"one": tmp_path}) is None
    assert network().choose("neural", {"one": tmp_path}) is None
    assert network().choose("classical", {"one": tmp_path}) == "It was asked for."


@pytest.mark.parametrize(("residence", "made"), [("always", 1), ("request", 2)])
def test_residence(residence, made):
    before = Echo.made
    resident = network(residence)
    assert resident.loaded == {}
    for _ in range(2):
        assert resident.use(lambda network: isinstance(network, Echo))
    assert Echo.made - before == made
    assert resident.loaded == {"weights": {"host": 1}}


def test_a_network_is_dropped_after_a_failure_too():
    resident = network("request")
    with pytest.raises(KeyError):
        resident.use(lambda network: {}["nothing"])
    before = Echo.made
    resident.use(lambda network: None)
    assert Echo.made == before + 1


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_refers_to_a_dropped_network(fails):
    seen = []

    def work(network):
        network.itself = network  # as hooks of a network do: counting references does not free it
        seen.append(weakref.ref(network))
        return 1 // (not fails)

    gc.disable()
    try:
        error = None
        try:
            network("request").use(work)
        except ZeroDivisionError as caught:
            error = caught  # as the server keeps it, until it is answered
        assert seen[0]() is None
        assert (error is not None) == fails
    finally:
        gc.enable()


def test_the_report_says_why():
    report = StageReport("classical")
    note(report, "auto", "It has no weights.")
    assert report.facts == {"mode_asked": "auto", "why_classical": "It has no weights."}
    asked = StageReport("classical")
    note(asked, "classical", "It was asked for.")
    assert asked.facts == {"mode_asked": "classical"}
