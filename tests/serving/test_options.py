"""The command line of the server, for the oldest and for newer ones."""

from pathlib import Path

from atelier.serving.embedded import locate
from atelier.serving.options import ServerOptions, command, free_ports, known_flags

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


def test_others_than_this_machine_do_not_reach_the_administration():
    line = arguments(host="0.0.0.0", admin_key="k", flags=["--allow-client-shm"])
    assert "--http-restricted-api=shared-memory,model-repository,logging,trace:x-admin-key=k" in line
    assert "--grpc-restricted-protocol=shared-memory,model-repository,logging,trace:x-admin-key=k" in line
    assert "--allow-client-shm=true" not in line
    assert not [a for a in arguments() if "restricted" in a]


def test_known_flags_are_the_binary_s_own():
    server = locate()
    flags = known_flags(server.binary, server.environment())
    assert "--model-repository" in flags
    assert "--http-max-input-size" not in flags, "came with 25.06; the embedded server is 24.10"
    given = {a.split("=")[0] for a in arguments(flags=flags)[1:]}
    assert given <= flags


def test_free_ports_differ():
    assert len(set(free_ports(20))) == 20
