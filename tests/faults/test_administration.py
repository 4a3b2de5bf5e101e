"""What the server keeps from those without its key, and names that are no names."""

import json
import re
import stat
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from atelier import access
from atelier.client import AtelierError, Client, InvalidRequest, ServerError
from atelier.client.transport import strings
from atelier.errors import InvalidInput
from atelier.serving.launcher import Server
from tests.conftest import server_options
from tests.faults.conftest import MODELS

RESTRICTED = [
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/echo/load"),
    ("POST", "/v2/repository/models/echo/unload"),
    ("POST", "/v2/repository/models/..%2F..%2Fecho/load"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("POST", "/v2/systemsharedmemory/region/x/register"),
    ("POST", "/v2/systemsharedmemory/unregister"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("GET", "/v2/logging"),
    ("POST", "/v2/logging"),
    ("GET", "/v2/trace/setting"),
    ("POST", "/v2/models/echo/trace/setting"),
    ("GET", "/v2/models/stats"),
    ("GET", "/v2/models/echo/stats"),
]


@pytest.fixture(scope="module")
def server(launch):
    return launch(MODELS)


def status(server, method, path, headers, body=b"{}"):
    request = urllib.request.Request(server.http_url + path, body if method == "POST" else None, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("headers", [{}, {access.HTTP_HEADER: "wrong-key"}])
@pytest.mark.parametrize(("method", "path"), RESTRICTED)
def test_http_refuses_without_the_key(server, method, path, headers):
    code, words = status(server, method, path, headers)
    assert code == 403, words
    assert "restricted" in words
    assert server.options.admin_key not in words


@pytest.mark.parametrize("path", ["/v2/systemsharedmemory/status", "/v2/logging", "/v2/models/echo/stats"])
def test_http_answers_with_the_key(server, path):
    code, words = status(server, "GET", path, {access.HTTP_HEADER: server.options.admin_key})
    assert code == 200, words


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("get_model_repository_index", ()),
        ("load_model", ("echo",)),
        ("unload_model", ("echo",)),
        ("get_system_shared_memory_status", ()),
        ("register_system_shared_memory", ("x", "/x", 1)),
        ("unregister_system_shared_memory", ()),
        ("get_inference_statistics", ()),
        ("get_log_settings", ()),
        ("update_log_settings", ({"log_verbose_level": 9},)),
        ("get_trace_settings", ()),
    ],
)
def test_grpc_refuses_without_the_key(server, call, arguments):
    with InferenceServerClient(server.grpc_url) as client:
        with pytest.raises(InferenceServerException, match="restricted"):
            getattr(client, call)(*arguments)
        with pytest.raises(InferenceServerException, match="restricted"):
            getattr(client, call)(*arguments, headers={access.GRPC_HEADER: "wrong-key"})


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_inference_needs_no_key(server, protocol):
    url = server.grpc_url if protocol == "grpc" else server.http_url
    with Client(url, admin_key="wrong-key") as client:
        assert client.is_ready("echo")
        assert client.infer("echo", {"INT32": np.array([[7]], np.int32)}, outputs={"INT32": None})["INT32"] == 7
        with pytest.raises(InvalidRequest, match="restricted.*ATELIER_ADMIN_KEY"):
            client.status()


def test_the_python_backend_s_own_memory_is_not_for_others(server):
    """Registering it is what attacks on Triton 2.51 began with."""
    region = next(Path("/dev/shm").glob("atelier_py_*")).name
    with (
        InferenceServerClient(server.grpc_url) as client,
        pytest.raises(InferenceServerException, match="restricted"),
    ):
        client.register_system_shared_memory("mine", f"/{region}", 64)
    body = f'{{"key": "/{region}", "offset": 0, "byte_size": 64}}'.encode()
    assert status(server, "POST", "/v2/systemsharedmemory/region/mine/register", {}, body)[0] == 403


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "echo/../echo", "/etc/passwd", "echo\x00", "a" * 5000])
def test_a_model_s_name_is_no_path(server, name):
    with Client(server.grpc_url) as client, pytest.raises(AtelierError) as caught:
        client.infer(name, {"MOOD": strings(b"fine")})
    assert "tests/serving" not in str(caught.value)
    assert server.is_alive()


@pytest.mark.parametrize(
    "path", ["/v2/models/..%2f..%2fetc%2fpasswd/infer", "/v2/models/%2e%2e/infer", "/../../etc/passwd"]
)
def test_an_address_is_no_path(server, path):
    code, words = status(server, "POST", path, {})
    assert code in (400, 404)
    assert "root:" not in words


def test_this_user_s_programs_find_the_key_and_others_do_not():
    options = server_options(MODELS, models=("echo",))
    with Server(options), Client(f"localhost:{options.grpc_port}") as client:
        (file,) = [path for folder in access._folders() for path in folder.glob(f"{options.grpc_port}.key")]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert client.status().ready
    assert not file.exists()


def test_a_new_server_s_new_key_is_found():
    options = server_options(MODELS, models=("echo",))
    with Client(f"localhost:{options.grpc_port}", timeout=20) as client:
        for key in ("first-key", "second-key"):
            with Server(server_options(MODELS, models=("echo",), grpc_port=options.grpc_port, admin_key=key)):
                assert client.status(timeout=20).ready


def test_the_environment_s_key(monkeypatch, tmp_path):
    monkeypatch.setenv(access.VARIABLE, "from-environment")
    assert server_options(MODELS).admin_key == access.find(1) == "from-environment"
    monkeypatch.delenv(access.VARIABLE)
    monkeypatch.setenv(access.FILE_VARIABLE, str(tmp_path / "key"))
    with pytest.raises(InvalidInput, match="cannot be read"):
        access.make()
    (tmp_path / "key").write_text("from-file=\n")
    assert access.make() == "from-file="
    (tmp_path / "key").write_text("two words here\n")
    with pytest.raises(InvalidInput, match="no key; accepted: 8 to 256 letters"):
        access.make()
    with pytest.raises(InvalidRequest, match="no key"):
        Client("localhost:1")


def test_a_folder_that_others_can_write_is_not_believed(tmp_path, monkeypatch):
    monkeypatch.setenv(access.FOLDER_VARIABLE, str(tmp_path / "runtime"))
    (file, *_) = access.publish([1], "some-secret-key")
    assert access.find(1) == "some-secret-key"
    file.parent.chmod(0o777)
    assert access.find(1) is None
    file.parent.chmod(0o700)
    file.chmod(0o644)
    assert access.find(1) is None
    file.unlink()


def test_an_unknown_model_is_said_without_a_path(server):
    with Client(server.grpc_url) as client, pytest.raises(ServerError, match="unknown model"):
        client.infer("nobody", {"MOOD": strings(b"fine")})


def test_a_region_is_found_by_its_whole_name_alone(server):
    """Whoever may ask a model may name a region; its name, which nobody is told without the key, is the secret."""
    with Client(server.grpc_url, shared_memory=True) as client:
        client.infer("echo", {"UINT8": np.full((1, 1000, 1000), 7, np.uint8)}, outputs={"UINT8": None})
        (region,) = server.administration._json("/v2/systemsharedmemory/status", None)
        name = region["name"]
        assert re.fullmatch(r"atelier_client_\d+_\d+_[0-9a-f]{16}", name), name
        for guess in (name[:-1], f"{name}x", f"../{name}", "atelier_client", ""):
            body = {
                "inputs": [
                    {
                        "name": "UINT8",
                        "datatype": "UINT8",
                        "shape": [1, 1000, 1000],
                        "parameters": {"shared_memory_region": guess, "shared_memory_byte_size": 1_000_000},
                    }
                ]
            }
            code, words = status(server, "POST", "/v2/models/echo/infer", {}, json.dumps(body).encode())
            assert code >= 400, guess
            assert name in guess or name not in words
