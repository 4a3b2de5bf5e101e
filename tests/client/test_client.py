"""The clients: what they take, what they answer, and how they fail."""

import asyncio
import io
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atelier.client import (
    AsyncClient,
    AtelierError,
    Client,
    DeadlineExceeded,
    InpaintResult,
    InvalidRequest,
    ServerError,
    ServerUnavailable,
)
from atelier.client.errors import QueueFull, QueueTimeout, translate
from atelier.serving.launcher import Server
from atelier.serving.ports import free_ports
from tests.conftest import ROOT, server_options

IMAGE = np.random.default_rng(1).integers(0, 256, (70, 90, 3), dtype=np.uint8)
MASK = np.zeros((70, 90), bool)
MASK[20:40, 30:60] = True


@pytest.fixture(params=["grpc", "http"])
def url(server, request):
    return server.grpc_url if request.param == "grpc" else server.http_url


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_way_to_hold_a_picture_gives_the_same(url, tmp_path):
    path = tmp_path / "그림 하나.png"
    path.write_bytes(png(IMAGE))
    forms = [path, str(path), png(IMAGE), bytearray(png(IMAGE)), Image.fromarray(IMAGE), IMAGE]
    masks = [MASK, MASK.astype(np.uint8), MASK[..., None], Image.fromarray(MASK), png(MASK), MASK.astype(np.uint8) * 7]
    with Client(url) as client:
        results = [client.inpaint(image, mask) for image, mask in zip(forms, masks, strict=True)]
    for result in results:
        assert isinstance(result, InpaintResult)
        np.testing.assert_array_equal(result.image, results[0].image)
        np.testing.assert_array_equal(result.image[~MASK], IMAGE[~MASK])


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("nowhere/none.png", "image: nowhere/none.png cannot be read .No such file"),
        (IMAGE.astype(np.float32), r"image is an array of float32 \[70, 90, 3\]; accepted: uint8"),
        (np.zeros((2, 70, 90, 3), np.uint8), "image is an array of uint8 .2, 70, 90, 3."),
        (np.zeros((0, 4, 3), np.uint8), "image is an array"),
        (17, "image is a int; accepted: a path, bytes, a PIL image or an array"),
    ],
)
def test_what_is_no_picture_is_refused_before_anything_is_sent(url, image, said):
    with Client(url) as client, pytest.raises(InvalidRequest, match=said):
        client.inpaint(image, MASK)


@pytest.mark.parametrize("margin", [2**31, 1.5, True])
def test_numbers_are_never_cut_to_fit(url, margin):
    with Client(url) as client, pytest.raises(InvalidRequest, match="MARGIN is .*; accepted: an integer"):
        client.inpaint(IMAGE, MASK, margin=margin)


def test_save(url, tmp_path):
    with Client(url) as client:
        result = client.inpaint(IMAGE, MASK, format="webp")
    result.save(tmp_path / "결과.webp")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "결과.webp")), result.image)
    with pytest.raises(InvalidRequest, match="is named as png, but the answer is webp"):
        result.save(tmp_path / "x.png")
    with pytest.raises(InvalidRequest, match=r"does not end in \.png"):
        result.save(tmp_path / "x")
    with pytest.raises(InvalidRequest, match="cannot be written"):
        result.save(tmp_path / "no" / "x.webp")


SERVERS = ("atelier_py_", "atelier_new_")


def regions():
    """What clients have in /dev/shm; servers have memory of their own there."""
    return {path.name for path in Path("/dev/shm").iterdir() if not path.name.startswith(SERVERS)}


@pytest.mark.parametrize("shared_memory", [False, True])
def test_arrays_of_any_model(url, shared_memory):
    image, mask = np.ascontiguousarray(IMAGE[None, :64, :88]), MASK[None, :64, :88].astype(np.uint8)
    before = regions()
    with Client(url, shared_memory=shared_memory) as client:
        for outputs in (None, {"INPAINTED": None}, {"INPAINTED": image.nbytes}):
            answer = client.infer("lama", {"IMAGE": image, "MASK": mask}, outputs=outputs)["INPAINTED"]
            assert answer.shape == image.shape
            np.testing.assert_array_equal(answer[mask == 0], image[mask == 0])
    assert regions() <= before


def test_shared_memory_carries_the_tensors(server, caplog):
    """The request over gRPC holds no pixels, and the answers are the same to the bit."""
    image, mask = np.ascontiguousarray(IMAGE[None, :64, :88]), MASK[None, :64, :88].astype(np.uint8)
    with Client(server.grpc_url, shared_memory=True) as shared, Client(server.grpc_url) as plain:
        one = shared.infer("lama", {"IMAGE": image, "MASK": mask}, outputs={"INPAINTED": image.nbytes})
        two = plain.infer("lama", {"IMAGE": image, "MASK": mask})
        np.testing.assert_array_equal(one["INPAINTED"], two["INPAINTED"])
        np.testing.assert_array_equal(shared.inpaint(IMAGE, MASK).image, plain.inpaint(IMAGE, MASK).image)
    assert not caplog.records


def test_where_shared_memory_is_refused_tensors_are_sent_and_it_is_said_once(caplog):
    options = server_options(ROOT / "model_repository", models=("lama",))
    image, mask = np.zeros((1, 64, 64, 3), np.uint8), np.ones((1, 64, 64), np.uint8)
    with Server(options), caplog.at_level(logging.WARNING):
        for url in (f"127.0.0.1:{options.grpc_port}", f"http://127.0.0.1:{options.http_port}"):
            caplog.clear()
            with Client(url, shared_memory=True, admin_key="another-key") as client:
                for _ in range(3):
                    assert client.infer("lama", {"IMAGE": image, "MASK": mask})["INPAINTED"].shape == image.shape
            assert [record.message.split(",")[0] for record in caplog.records] == [
                f"Shared memory is not used with {url}"
            ]


def test_from_many_threads_at_once(url):
    with Client(url) as client, ThreadPoolExecutor(8) as pool:
        images = [np.roll(IMAGE, i, axis=0) for i in range(16)]
        results = list(pool.map(lambda image: client.inpaint(image, MASK).image, images))
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result[~MASK], image[~MASK])


def test_asyncio(url):
    async def send():
        async with AsyncClient(url) as client:
            assert await client.is_ready()
            assert await client.is_ready("inpaint")
            return await asyncio.gather(*(client.inpaint(IMAGE, MASK) for _ in range(4)))

    assert len(asyncio.run(send())) == 4


def test_status(url):
    with Client(url) as client:
        client.inpaint(IMAGE, MASK)
        status = client.status()
    models = {model.name: model for model in status.models}
    assert (status.server, status.version, status.ready) == ("triton", "2.51.0", True)
    assert models["inpaint"].requests >= 1
    assert models["lama"].mean_batch >= 1
    assert models["lama"].compute_ms > 0


def test_a_model_that_is_not_there(url):
    with Client(url) as client, pytest.raises(ServerError, match="unknown model.*started without it"):
        client.infer("ghost", {"X": np.zeros((1, 1), np.uint8)})


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_nobody_answers(scheme):
    (port,) = free_ports(1)
    started = time.monotonic()
    with Client(f"{scheme}localhost:{port}") as client, pytest.raises(ServerUnavailable, match="No server answers at"):
        client.inpaint(IMAGE, MASK, timeout=20)
    assert time.monotonic() - started < 19


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_server_that_never_answers_meets_the_deadline(scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        url = f"{scheme}127.0.0.1:{silent.getsockname()[1]}"
        with Client(url) as client, pytest.raises((DeadlineExceeded, ServerUnavailable)):
            client.inpaint(IMAGE, MASK, timeout=1)
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("url", ["localhost", "ftp://localhost:1", "http://", "localhost:x", "http://h:99999", ""])
def test_an_address_that_is_none(url):
    with pytest.raises(InvalidRequest, match="is no server address; accepted: localhost:8001"):
        Client(url)


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_that_is_none(url, timeout):
    with Client(url) as client, pytest.raises(InvalidRequest, match="must be more than 0"):
        client.inpaint(IMAGE, MASK, timeout=timeout)


def test_a_closed_client_leaves_no_thread(url):
    before = set(threading.enumerate())
    client = Client(url)
    client.inpaint(IMAGE, MASK)
    client.close()
    client.close()
    assert not [thread for thread in threading.enumerate() if thread not in before and "atelier" in thread.name]
    assert not [thread for thread in threading.enumerate() if thread not in before and "asyncio" in thread.name]


def test_every_error_is_an_atelier_error_and_triton_s_texts_are_told_apart():
    from tritonclient.utils import InferenceServerException

    table = [
        ("Exceeds maximum queue size", "StatusCode.UNAVAILABLE", QueueFull),
        ("Request timeout expired", "503", QueueTimeout),
        ("failed to connect to all addresses", "StatusCode.UNAVAILABLE", ServerUnavailable),
        ("MARGIN is -1", "StatusCode.INVALID_ARGUMENT", InvalidRequest),
        ("MARGIN is -1", "400", InvalidRequest),
        ("boom", "StatusCode.INTERNAL", ServerError),
        ("boom", None, ServerError),
        ("Deadline Exceeded", "StatusCode.DEADLINE_EXCEEDED", DeadlineExceeded),
    ]
    for message, status, kind in table:
        error = translate(InferenceServerException(message, status), "here:1")
        assert type(error) is kind
        assert isinstance(error, AtelierError)


def test_the_client_needs_none_of_the_server_s_packages():
    """The client's own set is small: importing it draws in neither pydantic nor a run time."""
    script = (
        "import sys, atelier.client\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'pydantic', 'typer', 'rich', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    import subprocess
    import sys

    run = subprocess.run([sys.executable, "-c", script], cwd=Path(ROOT), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_segments_are_kept_and_survive_a_new_server():
    """Registering takes two calls to the server; a client does it once, and again when the server was replaced."""
    options = server_options(ROOT / "model_repository", models=("lama",))
    image, mask = np.zeros((1, 64, 64, 3), np.uint8), np.ones((1, 64, 64), np.uint8)

    before = regions()
    with Client(f"127.0.0.1:{options.grpc_port}", shared_memory=True, timeout=30) as client:

        def call() -> set[str]:
            answer = client.infer("lama", {"IMAGE": image, "MASK": mask}, outputs={"INPAINTED": image.nbytes})
            assert answer["INPAINTED"].shape == image.shape
            return regions() - before

        with Server(options):
            first = call()
            assert len(first) == 1
            assert call() == first
        with Server(options):
            deadline = time.monotonic() + 20
            while not _answers(client) and time.monotonic() < deadline:
                time.sleep(0.2)  # gRPC waits a little before it connects again
            assert not call() & first, "the new server did not know the old segment"
    assert regions() == before


def _answers(client):
    try:
        return client.is_ready()
    except AtelierError:
        return False
