"""Disks that are full or read-only, and places that two want: a clear sentence, and nothing half-written."""

import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from atelier.client import Client
from atelier.serving.launcher import Server
from tests.conftest import ROOT, server_options
from tests.faults.conftest import MODELS
from tests.served import ATELIER, Serving

BUNDLED = ROOT / "weights" / "lama-mini"
EXPORT = (sys.executable, "-m", "export", "lama", f"--checkpoint={BUNDLED}", "--no-verify")


def little_room():
    """Files of this process end at 1 MiB, as on a disk that is full: the artefact has more."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))


def without_root_s_rights():
    """File permissions count for root too from here on: the program that is run lacks CAP_DAC_OVERRIDE."""
    if os.geteuid() == 0:
        assert ctypes.CDLL(None).prctl(24, 1, 0, 0, 0) == 0  # PR_CAPBSET_DROP


def run(*command, restrict):
    return subprocess.run(
        [*map(str, command)],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=restrict,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.fixture
def repository(tmp_path):
    """A repository that already holds an artefact."""
    shutil.copytree(ROOT / "model_repository" / "lama", tmp_path / "repository" / "lama")
    return tmp_path / "repository"


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_leaves_the_earlier_artefact(repository):
    before = content(repository)
    done = run(*EXPORT, f"--repository={repository}", restrict=little_room)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].startswith("export: ")
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr
    assert content(repository) == before


@pytest.fixture
def read_only(repository):
    """The repository, into which nobody may write."""
    folders = [repository, *(path for path in repository.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield repository
    for folder in folders:
        folder.chmod(0o755)


def test_exporting_into_a_read_only_repository_is_refused_in_a_sentence(read_only):
    before = content(read_only)
    done = run(*EXPORT, f"--repository={read_only}", restrict=without_root_s_rights)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.splitlines()[-1] == f"export: Nothing can be written in {read_only / 'lama'}: Permission denied."
    assert content(read_only) == before


def test_a_read_only_repository_is_served(read_only):
    serving = Serving("--repository", read_only, "--models", "lama", restrict=without_root_s_rights)
    try:
        assert "READY" in serving.until_ready()
        before = content(read_only)
        image, mask = np.zeros((1, 64, 64, 3), np.uint8), np.ones((1, 64, 64), np.uint8)
        with Client(serving.grpc_url) as client:
            assert client.infer("lama", {"IMAGE": image, "MASK": mask})["INPAINTED"].shape == image.shape
        assert content(read_only) == before
    finally:
        assert serving.end(signal.SIGTERM)[0] == 0


def test_two_servers_share_a_repository():
    with Server(server_options(MODELS, models=("echo",))) as one, Server(server_options(MODELS)) as two:
        for server in (one, two):
            with Client(server.grpc_url) as client:
                asked = {"INT32": np.array([[7]], np.int32)}
                assert client.infer("echo", asked, outputs={"INT32": None})["INT32"] == 7
        one.stop()
        with Client(two.grpc_url) as client:
            assert client.status().ready, "the first one's end took nothing of the second's"


def test_two_launchers_share_a_repository_and_one_is_killed(serve):
    """They start at once; the second's memory is not swept as the first one's, nor lost with it."""
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: serve("--models", "echo"), range(2))
    os.kill(one.process.pid, signal.SIGKILL)
    one.ended()
    three = serve("--models", "echo")
    for serving in (two, three):
        with Client(serving.grpc_url) as client:
            asked = {"INT32": np.array([[7]], np.int32)}
            assert client.infer("echo", asked, outputs={"INT32": None})["INT32"] == 7
    assert three.end()[0] == 0
    assert two.end()[0] == 0


def test_a_full_disk_keeps_the_server_from_starting_with_a_sentence():
    done = run(ATELIER, "serve", "--repository", MODELS, "--models", "echo", restrict=little_room)
    assert done.returncode == 1, done.stdout
    assert done.stderr == "atelier: The server's own files cannot be written or started: the disk may be full.\n"


def test_a_taken_port_of_the_probes_is_named_with_its_option():
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        done = run(ATELIER, "serve", "--repository", MODELS, "--health-port", port, restrict=None)
    assert done.returncode == 1
    said = f"127.0.0.1:{port} cannot be used (Address already in use): choose another with --health-port."
    assert done.stderr == f"atelier: {said}\n"
