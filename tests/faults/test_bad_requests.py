"""Requests by the thousand that are none: each is refused, nothing crashes, and no answer tells of the inside."""

import http.client
import json

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
from hypothesis import given
from hypothesis import strategies as some
from tritonclient.utils import InferenceServerException

from atelier.client import Client
from atelier.client.transport import strings
from atelier.media import Picture, encode_picture
from atelier.serving import stubs
from clients.redis_bridge.sources import Item
from clients.redis_bridge.tasks import TaskError, envelope, parse
from tests.faults.conftest import MODELS
from tests.faults.fuzz import INSIDE, many, spoilt

LEAVES = some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(max_size=20)
JSON = some.recursive(
    LEAVES,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
PIXELS = np.arange(768, dtype=np.uint8).reshape(16, 16, 3)


@pytest.fixture(scope="module")
def small(launch):
    return launch(MODELS)


def processes(server):
    return [stub.pid for stub in stubs.running(server.pid)]


@pytest.fixture
def unharmed(request):
    """The servers that a test uses have the processes that they had."""
    server = request.getfixturevalue(request.param)
    before = processes(server)
    yield server
    assert processes(server) == before
    with Client(server.grpc_url) as client:
        assert client.is_ready()


def post(server, path, body, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", server.options.http_port, timeout=20)
    try:
        connection.request("POST", path, body, dict(headers))
        reply = connection.getresponse()
        return reply.status, reply.read().decode("utf-8", "replace")
    finally:
        connection.close()


@pytest.mark.parametrize("unharmed", ["small"], indirect=True)
def test_bodies_that_are_no_requests(unharmed):
    @many
    @given(body=some.binary(max_size=400), length=some.none() | some.integers(-5, 500))
    def check(body, length):
        headers = {} if length is None else {"Inference-Header-Content-Length": str(length)}
        status, words = post(unharmed, "/v2/models/moody/infer", body, headers)
        assert status >= 400
        assert not INSIDE.search(words), words

    check()


@pytest.mark.parametrize("unharmed", ["small"], indirect=True)
def test_json_of_other_forms(unharmed):
    tensor = some.fixed_dictionaries(
        {},
        optional={
            "name": some.sampled_from(["MOOD", "PATIENCE", "X"]) | JSON,
            "datatype": some.sampled_from(["BYTES", "INT32", "FP16", "NONE"]) | JSON,
            "shape": some.lists(some.integers(-2, 5), max_size=4) | JSON,
            "data": JSON,
            "parameters": JSON,
        },
    )
    document = some.fixed_dictionaries(
        {"inputs": some.lists(tensor, max_size=3) | JSON},
        optional={"id": JSON, "outputs": JSON, "parameters": JSON},
    )

    @many
    @given(document=document | JSON)
    def check(document):
        status, words = post(unharmed, "/v2/models/moody/infer", json.dumps(document).encode())
        assert status in (200, 400, 404, 500, 503)
        assert not INSIDE.search(words), words

    check()


@pytest.mark.parametrize("unharmed", ["small"], indirect=True)
def test_tensors_of_other_types_and_shapes(unharmed):
    @many
    @given(
        name=some.sampled_from(["MOOD", "PATIENCE", "X", ""]),
        datatype=some.sampled_from(["BYTES", "INT32", "UINT8", "FP64", "BOOL", ""]),
        shape=some.lists(some.integers(-1, 9), max_size=4),
        raw=some.binary(max_size=64),
    )
    def check(name, datatype, shape, raw):
        tensor = grpc_client.InferInput(name, shape, datatype)
        tensor._raw_content = raw
        with (
            grpc_client.InferenceServerClient(unharmed.grpc_url) as client,
            pytest.raises(InferenceServerException) as caught,
        ):
            client.infer("moody", [tensor], client_timeout=20)
        assert not INSIDE.search(str(caught.value)), caught.value

    check()


@pytest.mark.parametrize("unharmed", ["server"], indirect=True)
def test_pictures_that_are_none(unharmed):
    """A file with bytes changed, cut or added: an answer, or a sentence."""
    files = {name: encode_picture(Picture(PIXELS, None, name)) for name in ("png", "jpeg", "webp")}

    @many
    @given(file=some.one_of(*map(spoilt, files.values())))
    def check(file):
        inputs = {"IMAGE": strings(file), "MASK": strings(files["png"])}
        tensors = []
        for name, array in inputs.items():
            tensors.append(grpc_client.InferInput(name, list(array.shape), "BYTES"))
            tensors[-1].set_data_from_numpy(array)
        with grpc_client.InferenceServerClient(unharmed.grpc_url) as client:
            try:
                assert client.infer("inpaint", tensors, client_timeout=60).as_numpy("IMAGE") is not None
            except InferenceServerException as error:
                assert error.status() == "StatusCode.INVALID_ARGUMENT", error
                assert not INSIDE.search(str(error)), error

    check()


PAYLOAD = some.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()) | some.dictionaries(
    some.sampled_from(["request_id", "image_id", "original_size", "padding_info", "is_long",
                       "preprocessed_img_shm_info", "preprocessed_mask_shm_info"]),
    JSON, max_size=7,
).map(lambda value: json.dumps(value).encode())  # fmt: skip


@many
@given(payload=PAYLOAD)
def test_payloads_of_the_queue_that_are_no_tasks(payload):
    item = Item(payload, payload)
    with pytest.raises(TaskError) as caught:
        parse(item)
    assert "\n" not in str(caught.value)
    assert all("/" not in name for name in envelope(item).segments)
