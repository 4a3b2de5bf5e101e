"""The server process: start, states, logs, stop, and what happens when things go wrong."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from atelier.client import AtelierError, Client
from atelier.client.transport import strings
from atelier.errors import InvalidInput
from atelier.owners import owner
from atelier.serving.launcher import LaunchError, Server
from atelier.serving.leftovers import FOLDERS, REGIONS, SHARED_MEMORY, region_prefix
from tests.conftest import ROOT, logged, server_options
from tests.serving.test_repository import make, parameter

MODELS = Path(__file__).parent / "models"


def answers(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def test_a_whole_life():
    lines: list[str] = []
    server = Server(server_options(MODELS, models=("echo",)), on_line=lines.append)
    assert not server.is_alive()
    server.start()
    server.wait_ready()
    assert server.is_alive()
    assert answers(server.http_url + "/v2/health/ready") == 200
    assert answers(server.metrics_url) == 200
    states = {state.name: state.state for state in server.states()}
    assert states == {"echo": "READY", "moody": "NOT LOADED", "relay": "NOT LOADED"}
    assert logged(server, "successfully loaded 'echo'")
    assert any("successfully loaded 'echo'" in line for line in lines)
    with pytest.raises(LaunchError, match="runs already"):
        server.start()
    regions = list(SHARED_MEMORY.glob(f"{server._prefix}*"))
    assert regions
    scratch = server._scratch.path
    assert scratch.is_dir()
    url = server.http_url
    assert server.stop() == 0
    assert not server.is_alive()
    assert answers(url + "/v2/health/live") is None
    assert not [region for region in regions if region.exists()]
    assert not scratch.exists()
    assert server.stop() == 0, "a second stop does nothing"


def test_a_model_that_fails_does_not_take_the_others_down(tmp_path):
    tensors = "".join(
        f'{kind} [ {{ name: "{kind}" data_type: TYPE_FP32 dims: [ 1 ] }} ]\n' for kind in ("input", "output")
    )
    script = make(tmp_path, "sick", f'backend: "python"\n{tensors}instance_group [ {{ count: 1 }} ]') / "1" / "model.py"
    maps = " ".join(f'{kind}_map {{ key: "{kind}" value: "{kind}" }}' for kind in ("input", "output"))
    step = f'step [ {{ model_name: "sick" model_version: -1 {maps} }} ]'
    make(tmp_path, "pipeline", f'platform: "ensemble"\n{tensors}ensemble_scheduling {{ {step} }}', files=())
    script.write_text(
        "class TritonPythonModel:\n    def initialize(self, args):\n        raise ValueError('no disk')\n"
    )
    net = 'backend: "onnxruntime"\n' + parameter("bring", "python -m export net")
    make(tmp_path, "absent", net, files=())
    with Server(server_options(MODELS, tmp_path)) as server:
        states = {state.name: state for state in server.states()}
        assert states["echo"].state == "READY"
        assert (states["sick"].state, states["sick"].reason) == ("FAILED", "Internal: ValueError: no disk")
        # Triton has no state of it, which would be waited for in vain.
        assert (states["pipeline"].state, states["pipeline"].reason) == (
            "FAILED",
            "sick, which it calls, did not load.",
        )
        assert states["absent"].state == "MISSING"
        assert "python -m export net" in states["absent"].reason
        assert answers(server.http_url + "/v2/health/ready") == 200
        with pytest.raises(LaunchError, match=r"sick: Internal: ValueError: no disk.*absent|absent.*sick"):
            server.require_ready()


def test_what_was_not_asked_for_may_be_missing(tmp_path):
    make(tmp_path, "absent", 'backend: "onnxruntime"', files=())
    make(tmp_path, "caller", 'backend: "python"\n' + parameter("requires", "absent"))
    with Server(server_options(MODELS, tmp_path, models=("echo",))) as server:
        server.require_ready()
    words = "absent: absent/1/model.onnx is missing.*; caller: It calls absent"
    with (
        Server(server_options(MODELS, tmp_path, models=("echo", "caller"))) as server,
        pytest.raises(LaunchError, match=words),
    ):
        server.require_ready()


def test_models_that_a_model_calls_come_along():
    server = Server(server_options(ROOT / "model_repository", models=("inpaint",)))
    assert sorted(server._load) == ["inpaint", "lama"]


def test_an_unknown_model_is_refused_before_anything_starts():
    with pytest.raises(InvalidInput, match="no model 'ghost'; there are: echo, moody"):
        Server(server_options(MODELS, models=("ghost",)))


@pytest.mark.parametrize("flag", ["http_port", "grpc_port", "metrics_port"])
def test_a_taken_port_is_named_with_its_option(flag):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        server = Server(server_options(MODELS, **{flag: holder.getsockname()[1]}))
        option = "--" + flag.replace("_", "-")
        with pytest.raises(LaunchError, match=rf"Address already in use.*choose another with {option}"):
            server.start()


def test_a_binary_that_is_none(tmp_path):
    with pytest.raises(LaunchError, match="is not a program"):
        Server(server_options(MODELS, binary=tmp_path / "tritonserver")).start()


def test_a_binary_that_ends_at_once_says_its_last_words(tmp_path):
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\necho 'error: --model-repository: no licence' >&2\nexit 3\n")
    program.chmod(0o755)
    with (
        pytest.raises(LaunchError, match="ended while it started: .*no licence"),
        Server(server_options(MODELS, binary=program)),
    ):
        pass


def test_a_program_that_is_no_server(tmp_path):
    with pytest.raises(LaunchError, match="env is no tritonserver: its --help does not tell of --model-repository"):
        Server(server_options(MODELS, binary=Path("/usr/bin/env"))).start()


def test_it_waits_for_as_long_as_a_model_may_load(tmp_path, monkeypatch):
    monkeypatch.setattr("atelier.serving.launcher.OWN_START", 1.0)
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\n[ $1 = --help ] && echo --model-repository && exit\nexec sleep 60\n")
    program.chmod(0o755)
    with (
        pytest.raises(LaunchError, match="not ready after 2 s"),
        Server(server_options(MODELS, binary=program, stub_timeout=1)),
    ):
        pass


def test_a_log_that_cannot_be_written_stops_nothing():
    def full(line):
        raise OSError("No space left on device")

    with Server(server_options(MODELS, models=("moody",)), on_line=full) as server, Client(server.grpc_url) as client:
        for _ in range(30):  # each of these has its stack trace logged, and a pipe holds 64 KiB
            with pytest.raises(AtelierError):
                client.infer("moody", {"MOOD": strings(b"broken")})
        assert logged(server, "a secret of the house")
        assert server.options.admin_key not in server.logs()


def test_nothing_survives_a_launcher_that_is_killed():
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from atelier.serving.launcher import Server\n"
        "from tests.conftest import server_options\n"
        f"server = Server(server_options(Path({str(MODELS)!r}), models=('echo',)))\n"
        "server.start(); server.wait_ready(); print(server.pid, flush=True); time.sleep(60)\n"
    )
    launcher = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(launcher.stdout.readline())
    family = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    assert len(family) >= 2, "the server and its Python stub"
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(Path(f"/proc/{p}").exists() for p in family):
        time.sleep(0.1)
    assert not [p for p in family if Path(f"/proc/{p}").exists()]
    # Whatever it left behind, the next server sweeps.
    own = f"{os.getpid()}_"
    region = SHARED_MEMORY / region_prefix(1).replace(own, f"{launcher.pid}_", 1)
    region.write_bytes(b"x")
    folder = Path(tempfile.mkdtemp(prefix=region.name.replace(REGIONS, FOLDERS)))
    elsewhere = SHARED_MEMORY / f"{REGIONS}123_{launcher.pid}_1_of_another_container"
    elsewhere.write_bytes(b"x")
    # Of a container that was started again in its pod: nobody locks its file any more.
    lock = SHARED_MEMORY / f"{REGIONS}123_{launcher.pid}_2_lock"
    forgotten = lock.with_name(f"{REGIONS}123_{launcher.pid}_2_region")
    lock.touch()
    forgotten.write_bytes(b"x")
    try:
        with Server(server_options(MODELS, models=("echo",))):
            assert not region.exists()
            assert not folder.exists()
            assert elsewhere.exists()
            assert not forgotten.exists()
            assert not lock.exists()
    finally:
        elsewhere.unlink()


def test_a_path_with_blanks_and_korean_letters(tmp_path):
    """The stub's command line is split at blanks, and its paths are decoded as ASCII."""
    folder = tmp_path / "내 모델 a b"
    shutil.copytree(ROOT / "model_repository", folder)
    with Server(server_options(folder, models=("inpaint",))) as server, Client(server.grpc_url) as client:
        server.require_ready()
        mask = np.ones((20, 20), np.uint8)
        report = client.inpaint(np.zeros((20, 20, 3), np.uint8), mask).report
        assert report["model"]["version"] == "1"
        assert "sha256" in report["model"]


def test_a_proxy_in_the_environment_is_not_asked(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Server(server_options(MODELS, models=("echo",))) as server:
        assert server.states()[0].state == "READY"


def test_ipv6_is_refused_in_one_sentence():
    with pytest.raises(LaunchError, match="The host ::1 is an IPv6 address; accepted: names and IPv4"):
        Server(server_options(MODELS, host="::1")).start()


def scratch():
    """This process's folders; another's servers come and go."""
    return set(Path(tempfile.gettempdir()).glob(f"{FOLDERS}{owner()}_*"))


def test_a_start_that_fails_leaves_nothing(tmp_path):
    program = tmp_path / "tritonserver"
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)
    before = scratch()
    server = Server(server_options(MODELS, binary=program))
    with pytest.raises(LaunchError, match="Exec format error"):
        server.start()
    assert scratch() <= before
    assert not server.is_alive()
