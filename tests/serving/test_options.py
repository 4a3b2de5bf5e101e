"""The command line of the server, for the oldest and for newer ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from atelier.errors import InvalidInput
from atelier.serving.embedded import locate
from atelier.serving.options import ServerOptions, command, known_flags, with_profile

BINARY = Path("/opt/tritonserver/bin/tritonserver")


def arguments(flags=(), **changes):
    options = ServerOptions(repositories=(Path("/models"), Path("/more")), **changes)
    return command(options, binary=BINARY, flags=frozenset(flags), load=["a", "b"], prefix="p_")


def test_what_every_server_gets():
    line = arguments()
    assert line[:5] == [
        str(BINARY),
        "--model-repository=/models",
        "--model-repository=/more",
        "--model-control-mode=explicit",
        "--load-model=a",
    ]
    assert {"--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"} <= set(line)
    assert "--http-port=8000" in line
    assert not [a for a in line if a.startswith("--model-config-name")]


def test_newer_flags_go_to_servers_that_know_them():
    newer = ("--http-max-input-size", "--allow-client-shm", "--grpc-infer-thread-count")
    assert not [a for a in arguments() if a.startswith(newer)]
    line = arguments(flags=newer)
    assert "--http-max-input-size=536870912" in line
    assert "--allow-client-shm=true" in line


def test_profile():
    assert "--model-config-name=tensorrt" in arguments(profile="tensorrt")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_nobody_reaches_the_administration_without_the_key(host):
    line = arguments(host=host, admin_key="k" * 16)
    restricted = "shared-memory,model-repository,logging,trace,statistics:x-admin-key=kkkkkkkkkkkkkkkk"
    assert f"--http-restricted-api={restricted}" in line
    assert f"--grpc-restricted-protocol={restricted}" in line


def test_other_machines_have_no_shared_memory_unless_that_is_asked_for():
    flag = "--allow-client-shm"
    assert f"{flag}=false" in arguments(flags=[flag], host="0.0.0.0")
    assert f"{flag}=true" in arguments(flags=[flag], host="0.0.0.0", client_shared_memory=True)
    assert f"{flag}=false" in arguments(flags=[flag], client_shared_memory=False)


def test_python_models_get_what_was_asked_for():
    line = arguments(shared_memory_step=2**20, stub_timeout=77)
    assert "--backend-config=python,shm-default-byte-size=1048576" in line
    assert "--backend-config=python,shm-growth-byte-size=1048576" in line
    assert "--backend-config=python,stub-timeout-seconds=77" in line


def test_traces_go_to_a_collector_when_asked():
    line = arguments(otel_url="http://otel:4318/v1/traces", otel_rate=10)
    traced = [word.removeprefix("--trace-config=") for word in line if word.startswith("--trace-config=")]
    assert traced[:3] == ["mode=opentelemetry", "opentelemetry,url=http://otel:4318/v1/traces", "rate=10"]
    assert not [a for a in arguments() if "trace-config" in a]


def test_further_flags_are_those_that_the_server_has():
    extra = ("--rate-limit=execution_count", "--rate-limit-resource=GPU:1")
    known = ["--rate-limit", "--rate-limit-resource"]
    assert arguments(flags=known, extra_flags=extra)[-2:] == list(extra)
    with pytest.raises(InvalidInput, match="no flag '--rate-limit-resource'"):
        arguments(flags=known[:1], extra_flags=extra)


def test_known_flags_are_the_binary_s_own():
    server = locate()
    flags = known_flags(server.binary, server.environment())
    assert "--model-repository" in flags
    assert "--http-max-input-size" not in flags, "came with 25.06; the embedded server is 24.10"
    given = {a.split("=")[0] for a in arguments(flags=flags)[1:]}
    assert given <= flags


def test_the_container_s_profile_is_not_for_the_embedded_server(tmp_path):
    options = ServerOptions(repositories=(tmp_path,), profile="ngc")
    with pytest.raises(InvalidInput, match="ngc is for NVIDIA's container"):
        with_profile(options, ["ngc"])
    other = replace(options, binary=tmp_path / "tritonserver")
    assert with_profile(other, ["ngc"]) == other
