"""docker-compose.yml: its schema, what every service must have, and its commands, which are run here without Docker."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from atelier.serving.launcher import OWN_START
from atelier.serving.options import ServerOptions
from atelier.serving.ports import free_ports
from tests.conftest import ROOT
from tests.deploy.reading import (
    UNLOADING,
    compose,
    interpolated,
    longest_wait,
    program,
    refused,
    seconds,
    serve_options,
)

SERVICES = compose()["services"]
SERVERS = ("triton-cpu", "triton-gpu")


def test_the_schema_holds():
    command = [program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_locked_up_and_watched(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["healthcheck"]["test"]
    assert service["stop_grace_period"]
    assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
    assert re.search(r":v?\d[\w.$:{}-]*$", service["image"]), "the image is not pinned"
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), port


def test_the_gpu_is_reserved_where_the_profile_says_so():
    assert SERVICES["triton-cpu"]["profiles"] == ["cpu"]
    assert SERVICES["triton-gpu"]["profiles"] == ["gpu"]
    (device,) = SERVICES["triton-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert "reservations" not in SERVICES["triton-cpu"]["deploy"]["resources"]
    for name in SERVERS:
        assert SERVICES[name]["shm_size"]


def test_variables_are_read_by_the_programs_which_take_their_values():
    for name, service in SERVICES.items():
        given = {variable: interpolated(value) or None for variable, value in service.get("environment", {}).items()}
        exported = re.findall(r"export (ATELIER_\w+)=", str(service.get("command")))
        assert not refused({**given, **dict.fromkeys(exported)}), name


@pytest.mark.parametrize("name", SERVERS)
def test_what_servers_write_to_tmp_may_be_run(name):
    """Docker mounts a tmpfs without that: libraries of the Python backend, and of torch.compile, lie there."""
    (mounted,) = SERVICES[name]["tmpfs"]
    place, _, options = mounted.partition(":")
    assert place == "/tmp"
    assert "exec" in options.split(",")
    assert "mode=1777" in options.split(",")


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_healthy_when_it_is_ready_and_has_the_time_of_its_start(name):
    check = SERVICES[name]["healthcheck"]
    assert "http://127.0.0.1:8003/readyz" in check["test"][-1]
    given = SERVICES[name]["environment"].get("ATELIER_STUB_TIMEOUT", ServerOptions.stub_timeout)
    assert seconds(check["start_period"]) >= int(given) + OWN_START


def test_redis_has_room_to_write_its_file_anew_and_forgets_nothing():
    (line,) = SERVICES["redis"]["command"]
    assert "--maxmemory-policy noeviction" in line
    most = int(re.search(r"--maxmemory (\d+)gb", line)[1])
    assert 2 * most <= int(SERVICES["redis"]["deploy"]["resources"]["limits"]["memory"].removesuffix("g"))
    release = re.fullmatch(r"redis:(\d+)\.(\d+)\.(\d+)-bookworm", SERVICES["redis"]["image"])
    assert tuple(map(int, release.groups())) >= (7, 2, 11)  # CVE-2025-49844


def test_the_bridge_may_be_the_producers_user_who_alone_reads_their_segments():
    service = SERVICES["bridge"]
    assert interpolated(service["ipc"]) == "private"
    assert interpolated(service["user"]) == "1000:1000"
    asked = {"ATELIER_BRIDGE_IPC": "host", "ATELIER_BRIDGE_USER": "1234:1235"}
    assert (interpolated(service["ipc"], **asked), interpolated(service["user"], **asked)) == ("host", "1234:1235")


@pytest.mark.parametrize("name", SERVERS)
def test_flags_of_the_server_exist(name):
    words = SERVICES[name]["command"]
    assert {word for word in words if word.startswith("--")} <= serve_options().keys()


def test_servers_and_workers_have_the_time_that_their_longest_work_takes():
    for name in SERVERS:
        service = SERVICES[name]
        given = int(service["environment"]["ATELIER_EXIT_TIMEOUT"])
        names = interpolated(service["command"][1])
        assert given >= longest_wait(names)
        assert seconds(service["stop_grace_period"]) >= given + UNLOADING
    from clients.job_worker.settings import Settings as Jobs
    from clients.redis_bridge.settings import Settings as Bridge

    assert int(SERVICES["triton-gpu"]["environment"]["ATELIER_EXIT_TIMEOUT"]) >= Jobs.model_fields["timeout"].default
    assert seconds(SERVICES["jobs"]["stop_grace_period"]) > Jobs.model_fields["timeout"].default
    assert seconds(SERVICES["bridge"]["stop_grace_period"]) > Bridge.model_fields["timeout"].default


def test_secrets_are_files_that_git_does_not_know():
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert used == compose()["secrets"].keys()
    for secret in compose()["secrets"].values():
        ignored = subprocess.run(["git", "check-ignore", "-q", secret["file"]], cwd=ROOT, check=False)
        assert ignored.returncode == 0, secret["file"]


def test_what_is_mounted_is_there():
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
                assert volume.endswith(":ro"), volume
            else:
                assert source in compose()["volumes"]


@contextmanager
def running(words, **environment):
    """A service's command, run here."""
    process = subprocess.Popen(
        words, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def here(service, folder, **replaced):
    """A service's command line with this machine's places in place of the containers'."""
    (line,) = SERVICES[service]["command"]
    line = interpolated(line).replace("/run/secrets", str(folder)).replace("exec python ", f"exec {sys.executable} ")
    for old, new in replaced.items():
        assert old in line
        line = line.replace(old, new)
    return [*SERVICES[service]["entrypoint"], line]


def healthy(service, folder, port=None, patience=60.0):
    """Wait until a service's own check is content."""
    check = SERVICES[service]["healthcheck"]["test"]
    if check[0] == "CMD-SHELL":
        command = ["sh", "-c", interpolated(check[1]).replace("/run/secrets", str(folder))]
        command[2] = command[2].replace("redis-cli", f"redis-cli -p {port}")
    else:
        assert check[:2] == ["CMD", "python"]
        command = [sys.executable, *(word.replace("9101", str(port)) for word in check[2:])]
    environment = {**os.environ, "ATELIER_BRIDGE_METRICS_PORT": str(port)}
    deadline = time.monotonic() + patience
    while subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False).returncode != 0:
        assert time.monotonic() < deadline, f"{service} is not healthy"
        time.sleep(0.2)


@pytest.fixture
def secrets(tmp_path):
    for name in compose()["secrets"]:
        (tmp_path / name).write_text(f"not-a-real-{name.replace('_', '-')}\n", encoding="utf-8")
    return tmp_path


def test_redis_and_bridge_start_as_they_are_written(secrets):
    redis_port, port = free_ports(2)
    (secrets / "data").mkdir()
    redis = here(
        "redis",
        secrets,
        **{"--dir /data": f"--port {redis_port} --dir {secrets}/data", "/tmp/redis.conf": f"{secrets}/redis.conf"},
    )
    with running(redis) as process:
        healthy("redis", secrets, redis_port)
        command = ["redis-cli", "-p", str(redis_port), "ping"]
        assert "NOAUTH" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert b"redis-server" in (told := Path(f"/proc/{process.pid}/cmdline").read_bytes())
        assert b"not-a-real" not in told
        assert list((secrets / "data").rglob("*.aof"))
        bridge = here("bridge", secrets, **{"redis:6379": f"127.0.0.1:{redis_port}"})
        settings = {**SERVICES["bridge"]["environment"], "ATELIER_BRIDGE_METRICS_PORT": str(port)}
        with running(bridge, **settings):
            healthy("bridge", secrets, port)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
                assert b"atelier_bridge_taken" in page.read()


def test_the_job_worker_starts_as_it_is_written(secrets):
    port, nobody = free_ports(2)
    settings = {
        **SERVICES["jobs"]["environment"],
        "ATELIER_JOBS_BASE_URL": f"http://127.0.0.1:{nobody}",
        "ATELIER_JOBS_METRICS_PORT": str(port),
    }
    with running(here("jobs", secrets), **settings):
        healthy("jobs", secrets, port)
