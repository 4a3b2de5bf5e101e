"""Ports that are free, and stay so until they are used."""

import socket
import subprocess
import sys
import tempfile

import pytest

from atelier.serving import ports
from atelier.serving.ports import FIRST, LAST, free_ports
from tests.conftest import ROOT

OTHER = """
import sys
from atelier.serving import ports
ports.FIRST, ports.LAST = int(sys.argv[1]), int(sys.argv[1]) + 3
print(*sorted(ports.free_ports(int(sys.argv[2]))), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def apart(monkeypatch, tmp_path):
    """Reservations of this test's own: other processes of the tests hold some of every few ports."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(ports, "_reservations", None)
    monkeypatch.setattr(ports, "_given", set())


def other(first, count):
    """Another process that asks for so many of four ports, and lives until it is told."""
    command = [sys.executable, "-c", OTHER, str(first), str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_they_differ_and_lie_where_no_connection_takes_them():
    given = free_ports(20) + free_ports(20)
    assert len(set(given)) == 40
    assert all(FIRST <= port <= LAST for port in given)


def test_no_other_process_is_given_them_while_this_one_lives(monkeypatch, apart):
    (first,) = free_ports(1)
    monkeypatch.setattr(ports, "LAST", min(first + 3, LAST))
    monkeypatch.setattr(ports, "FIRST", ports.LAST - 3)
    with other(ports.FIRST, 2) as there:
        theirs = {int(port) for port in there.stdout.readline().split()}
        assert len(theirs) == 2
        assert first not in theirs
        with pytest.raises(OSError, match="there are no 2 free ports"):
            free_ports(2)
        there.communicate("")
    assert set(free_ports(2)) == theirs


def test_a_port_that_is_listened_on_is_not_given(monkeypatch, apart):
    (port,) = free_ports(1)
    monkeypatch.setattr(ports, "FIRST", port)
    monkeypatch.setattr(ports, "LAST", port)
    ports._given.discard(port)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="there are no 1 free ports"):
        free_ports(1)
    assert free_ports(1) == [port]
