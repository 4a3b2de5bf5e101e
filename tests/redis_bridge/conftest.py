"""A real Redis, a real Triton, and bridges in processes of their own: all of them may be killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from atelier.serving.ports import free_ports
from tests.conftest import ROOT, served, server_options

SHM = Path("/dev/shm")
LISTS = {"long": "lama_inference:longtasks", "short": "lama_inference:shorttasks"}
STREAM = "inpainting"


def until(condition, patience=60.0, what="it"):
    """Wait for something to be true; what it was, then."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {patience} s"
        time.sleep(0.02)
    return found


class RedisServer:
    """A `redis-server` with an append-only file that is written before an answer, as operators should have it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options, (self.port,) = folder, options, free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis.from_url(self.url)
        self._process = None

    def start(self) -> None:
        binary = shutil.which("redis-server")
        assert binary, "redis-server is missing: apt-get install redis-server"
        options = ["--port", self.port, "--bind", "127.0.0.1", "--dir", self.folder, "--save", "",
                   "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no"]  # fmt: skip
        self._process = subprocess.Popen([binary, *map(str, options), *self.options], stdout=subprocess.DEVNULL)
        until(self._answers, 20, "redis-server")

    def _answers(self) -> bool:
        try:
            return self.client.ping()
        except redis.exceptions.ConnectionError:
            return False

    def kill(self) -> None:
        """As the machine's power would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


class BridgeProcess:
    """``python -m clients.redis_bridge``, with its log."""

    def __init__(self, folder: Path, redis_url: str, triton: str, *options: str, **environment: str) -> None:
        self.log = folder / f"bridge-{len(list(folder.glob('bridge-*')))}.log"
        command = [
            sys.executable,
            "-m",
            "clients.redis_bridge",
            f"--redis-url={redis_url}",
            f"--url={triton}",
            *options,
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, env={**os.environ, **environment})

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]

    def said(self, event: str) -> list[dict]:
        return [line for line in self.lines() if line.get("event") == event]

    def serving(self) -> BridgeProcess:
        until(lambda: self.said("serving") or self.process.poll() is not None, what="the bridge")
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, patience: float = 60) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def cluster(tmp_path, request):
    """A Redis Cluster of one node, which refuses commands on keys of different slots as a larger one does."""
    (bus,) = free_ports(1)
    own = ["--cluster-port", str(bus), "--cluster-announce-ip", "127.0.0.1", "--cluster-config-file", "nodes.conf"]
    server = RedisServer(tmp_path, "--cluster-enabled", "yes", *own)
    server.start()
    request.addfinalizer(server.stop)
    server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    until(lambda: server.client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", what="the cluster")
    return server


@pytest.fixture
def queues(redis_server):
    """The Redis, empty; and no segment is left behind."""
    redis_server.client.flushall()
    before = segments()
    yield redis_server
    assert not segments() - before, "segments are left in /dev/shm"


def segments() -> set[str]:
    """What producers and bridges have in shared memory."""
    return {path.name for path in SHM.iterdir() if path.name.startswith(("psm_", "inpainted_"))}


@pytest.fixture
def bridge(queues, server, tmp_path):
    """Start bridges: ``bridge("--heartbeat=1", …)``. They are ended with the test.

    A task's segments are removed after its answer is written: a bridge that is killed at once would leave them.
    """
    before = segments()
    with ExitStack() as stack:

        def start(
            *options: str, url: str = server.grpc_url, redis_url: str = queues.url, **environment
        ) -> BridgeProcess:
            started = BridgeProcess(tmp_path, redis_url, url, *options, **environment)
            stack.callback(started.kill)
            return started

        yield start
        until(lambda: not segments() - before, what="the end of the segments")


@pytest.fixture
def own_server():
    """A Triton that a test may kill."""
    with served(server_options(ROOT / "model_repository", models=("lama",))) as started:
        yield started
