"""One big model at a time on a GPU: the lock between processes. It needs no GPU."""

import subprocess
import sys
import time

import pytest

from atelier.serving.gpu import exclusive

HOLDER = """
import sys, time
from atelier.serving.gpu import exclusive
with exclusive(sys.argv[1], lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


class GivenUp(Exception):
    pass


def give_up():
    raise GivenUp


@pytest.fixture
def device():
    """A GPU that nobody has."""
    return f"cuda:{time.monotonic_ns() % 10**9 + 1000}"


@pytest.fixture
def hold():
    """Start a process that computes on a device."""
    processes = []

    def start(device):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, device], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_who_comes_second_waits_and_may_give_up(device, hold):
    hold(device)
    with pytest.raises(GivenUp), exclusive(device, give_up):
        pytest.fail("both have it")


@pytest.mark.parametrize("end", ["kill", "closed"])
def test_a_process_that_ends_lets_go(device, hold, end):
    process, looks = hold(device), []

    def look():
        looks.append(time.monotonic())
        if len(looks) == 2:
            process.kill() if end == "kill" else process.stdin.close()
        assert len(looks) < 100

    with exclusive(device, look):
        assert len(looks) >= 2
    with exclusive(device, give_up):
        pass


def test_other_gpus_and_the_cpu_are_not_held(device, hold):
    hold(device)
    with exclusive(f"{device}1", give_up), exclusive("cpu", give_up), exclusive("cpu", give_up):
        pass


def test_an_error_lets_go(device):
    with pytest.raises(ZeroDivisionError), exclusive(device, give_up):
        raise ZeroDivisionError
    with exclusive(device, give_up):
        pass
