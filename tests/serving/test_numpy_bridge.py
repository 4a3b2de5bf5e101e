"""The embedded server's stub under the NumPy of this environment: every kind of tensor, in and out."""

from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc

from atelier.client import Client

MODELS = Path(__file__).parent / "models"
NUMERIC = {
    "BOOL": np.array([[True, False, True]]),
    "UINT8": np.arange(2 * 35, dtype=np.uint8).reshape(2, 5, 7),
    "INT16": np.array([[-300, 0, 300]], np.int16),
    "INT32": np.array([[1, -(2**31)]], np.int32),
    "INT64": np.array([[2**40, -1]], np.int64),
    "FP16": np.array([[0.5, -2, 65504]], np.float16),
    "FP32": np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32),
    "FP64": np.array([[1e300, -0.1]]),
}


@pytest.fixture(scope="module")
def server(launch):
    return launch(MODELS, models=("echo",))


@pytest.fixture(scope="module")
def client(server):
    with Client(server.grpc_url) as client:
        yield client


@pytest.mark.parametrize("name", NUMERIC)
def test_numeric_tensors_come_back(client, name):
    sent = NUMERIC[name]
    got = client.infer("echo", {name: sent}, outputs={name: None})[name]
    assert got.dtype == sent.dtype
    np.testing.assert_array_equal(got, sent)


def test_empty_dimension(server):
    """Our own client sends nothing empty; others may."""
    sent = np.zeros((1, 0, 3), np.uint8)
    tensor = tritonclient.grpc.InferInput("UINT8", list(sent.shape), "UINT8").set_data_from_numpy(sent)
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        assert client.infer("echo", [tensor]).as_numpy("UINT8").shape == sent.shape


@pytest.mark.parametrize("size", [0, 1, 63, 1000, 3_000_000])
def test_strings_of_any_length_come_back(client, size):
    words = [bytes(i % 251 for i in range(size)), b"", "한국어".encode(), b"ends in zeros\0\0"]
    sent = np.array([words], dtype=np.object_)
    got = client.infer("echo", {"STRING": sent}, outputs={"STRING": None})["STRING"]
    assert got.tolist() == [words]


def test_all_kinds_in_one_request(client):
    sent = {name: array[:1] for name, array in NUMERIC.items()} | {"STRING": np.array([[b"x", b"yz"]], np.object_)}
    got = client.infer("echo", sent)
    for name, array in sent.items():
        np.testing.assert_array_equal(got[name], array)


def test_memory_does_not_grow(client, server):
    """Tensors that go out through DLPack are freed by the stub."""
    sent = {"UINT8": np.ones((1, 1000, 1000), np.uint8), "STRING": np.array([[b"x" * 1_000_000]], np.object_)}

    def resident() -> int:
        stubs = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in stubs]
        return sum(pages) * 4096

    for _ in range(20):
        client.infer("echo", sent)
    before = resident()
    for _ in range(100):
        client.infer("echo", sent)
    assert resident() - before < 50e6, "100 requests of 2 MB each left more than 50 MB behind"
