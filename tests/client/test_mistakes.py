"""Whatever goes wrong, on either side, is one of the clients' own errors."""

import asyncio
import contextlib
import functools
import gc
import http.server
import io
import threading
import time
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from tritonclient.utils import InferenceServerException

from atelier.client import AsyncClient, AtelierError, Client, InpaintResult, InvalidRequest, QueueFull, ServerError
from atelier.client.errors import ServerUnavailable, UnknownSegment, translate
from tests.client.test_client import IMAGE, MASK, regions

INF, NAN = float("inf"), float("nan")
TENSORS = {"IMAGE": np.zeros((1, 64, 64, 3), np.uint8), "MASK": np.ones((1, 64, 64), np.uint8)}


@pytest.fixture(params=["grpc", "http"])
def url(server, request):
    return server.grpc_url if request.param == "grpc" else server.http_url


@pytest.fixture(scope="module")
def odd(launch):
    """A server whose model ``inpaint`` answers what no Atelier server does."""
    return launch(Path(__file__).parent / "models")


@pytest.fixture(params=["grpc", "http"])
def odd_url(odd, request):
    return odd.grpc_url if request.param == "grpc" else odd.http_url


# What callers hand over.


@pytest.mark.parametrize("timeout", [INF, NAN, 1e15, 86401, 10**400, "9", True, -1])
def test_timeouts(url, timeout):
    said = "must be more than 0 and at most 86400"
    with Client(url) as client:
        for call in (functools.partial(client.inpaint, IMAGE, MASK), client.status, client.is_ready):
            with pytest.raises(InvalidRequest, match=said):
                call(timeout=timeout)
        assert client.inpaint(IMAGE, MASK, timeout=86400).data
        assert client.inpaint(IMAGE, MASK, timeout=np.float32(60)).data
    with pytest.raises(InvalidRequest, match=said):
        Client(url, timeout=timeout)


@pytest.mark.parametrize("mode", ["CMYK", "F", "LAB", "I;16", "I", "YCbCr", "HSV"])
def test_modes_of_pil_images(url, mode):
    with Client(url) as client, pytest.raises(InvalidRequest, match=f"mode {mode}, .*accepted: the modes 1, L, LA, P"):
        client.inpaint(Image.new(mode, (90, 70)), MASK)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_modes_that_are_sent(url, mode):
    with Client(url) as client:
        assert client.inpaint(Image.fromarray(IMAGE).convert(mode), MASK).image.shape[:2] == MASK.shape


def test_pil_images_that_cannot_be_read(url, tmp_path):
    path = tmp_path / "cut.png"
    Image.fromarray(IMAGE).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    said = "image is a PIL image that cannot be written"
    with Client(url) as client, Image.open(path) as cut, pytest.raises(InvalidRequest, match=said):
        client.inpaint(cut, MASK)


@pytest.mark.parametrize("path", ["a\0b.png", "a\udc80\0.png", Path("x\0")])
def test_paths_that_are_none(url, path, tmp_path):
    with Client(url) as client, pytest.raises(InvalidRequest, match="image: .* is no path"):
        client.inpaint(path, MASK)
    result = InpaintResult(b"", {"format": "png"})
    with pytest.raises(InvalidRequest, match="cannot be written"):
        result.save(tmp_path / "a\0b.png")
    with pytest.raises(InvalidRequest, match="5 is no path"):
        result.save(5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"margin": "abc"}, "MARGIN is 'abc'; accepted: an integer"),
        ({"margin": NAN}, "MARGIN is nan; accepted"),
        ({"margin": INF}, "MARGIN is inf; accepted"),
        ({"margin": []}, "MARGIN is "),
        ({"feather": 10**5000}, "FEATHER is a"),
        ({"strategy": 5}, "STRATEGY is 5; accepted: a text"),
        ({"strategy": "\udc80"}, "STRATEGY is .*no valid text"),
        ({"format": b"png"}, "FORMAT is b'png'; accepted: a text"),
        ({"fill_flat": "no"}, "FILL_FLAT is 'no'; accepted: True or False"),
        ({"request_id": 5}, "The request's id is 5; accepted: a text"),
    ],
)
def test_settings(url, options, said):
    with Client(url) as client, pytest.raises(InvalidRequest, match=said):
        client.inpaint(IMAGE, MASK, **options)


@pytest.mark.parametrize("shared_memory", [False, True])
@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"IMAGE": [1, 2]}, "IMAGE is a list; accepted: an array"),
        ({"IMAGE": TENSORS["IMAGE"].astype(complex)}, "IMAGE is an array of complex128"),
        ({"IMAGE": TENSORS["IMAGE"].astype(">f4")}, "IMAGE is an array of >f4"),
        ({"IMAGE": np.array([["text"]])}, "IMAGE is an array of <U4"),
        ({"IMAGE": np.array([[17]], object)}, "An element of IMAGE is 17"),
        ({"IMAGE": np.zeros((1, 0, 3), np.uint8)}, r"IMAGE is an array \[1, 0, 3\], which is empty"),
        ({}, "The inputs are no mapping, or an empty one"),
        ([TENSORS["IMAGE"]], "The inputs are no mapping"),
        ({5: TENSORS["IMAGE"]}, "A tensor's name is 5"),
    ],
)
def test_inputs(url, inputs, said, shared_memory):
    with Client(url, shared_memory=shared_memory) as client, pytest.raises(InvalidRequest, match=said):
        client.infer("lama", inputs)


@pytest.mark.parametrize(
    "outputs", [["INPAINTED"], {"INPAINTED": "x"}, {"INPAINTED": -1}, {"INPAINTED": 0}, {5: None}, 7]
)
def test_outputs_and_models(url, outputs):
    with Client(url, shared_memory=True) as client:
        with pytest.raises(InvalidRequest):
            client.infer("lama", TENSORS, outputs=outputs)
        for model in (5, ""):
            with pytest.raises(InvalidRequest, match="The model is"):
                client.infer(model, TENSORS)
            with pytest.raises(InvalidRequest, match="The model is"):
                client.is_ready(model)


@pytest.mark.parametrize(
    "headers", [{"a b": "x"}, {"x": "그림"}, {"": "x"}, {"x": 5}, {"x": "a\nb"}, {"x-bin": "x"}, [1], 5]
)
def test_headers_that_cannot_be_sent(url, headers):
    with pytest.raises(InvalidRequest, match="header"):
        Client(url, headers=headers)


@pytest.mark.parametrize(
    "headers", [None, {}, {"X-Key": "Value, of 7; any=kind", "accept-encoding": "identity"}, {"x": ""}]
)
def test_headers_that_are_sent(url, headers):
    with Client(url, headers=headers) as client:
        assert client.is_ready()
        assert client.inpaint(IMAGE, MASK).data


def test_a_turned_pil_image_is_sent_upright(url, tmp_path):
    """As the same file given by its path, which the server turns."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "옆으로.jpg"
    Image.fromarray(np.ascontiguousarray(np.rot90(IMAGE))).save(path, quality=95, exif=exif)
    with Client(url) as client, Image.open(path) as image:
        by_path, by_image = client.inpaint(path, MASK), client.inpaint(image, MASK)
    assert by_path.image.shape == IMAGE.shape
    np.testing.assert_array_equal(by_path.image, by_image.image)


# The server's texts repeat what the caller wrote.


@pytest.mark.parametrize(
    "text",
    [
        "shared memory region",
        "Unable to find shared memory region",
        "maximum queue size",
        "timeout expired",
        "unknown model",
        "has no available versions",
        " is restricted",
    ],
)
def test_a_text_of_the_caller_s_is_not_taken_for_the_server_s(server, url, text):
    with Client(url, shared_memory=True) as client:
        before = refused(server)
        with pytest.raises(InvalidRequest, match=f"STRATEGY is '{text}'"):
            client.inpaint(IMAGE, MASK, strategy=text)
        assert refused(server) == before + 1, "it was sent once"


def refused(server):
    """How many requests the pipeline has refused."""
    with urllib.request.urlopen(server.metrics_url) as page:
        lines = page.read().decode().splitlines()
    name = 'atelier_requests_total{model="inpaint",outcome="invalid_arg"} '
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_texts_count_only_with_their_status():
    table = [
        ("Exceeds maximum queue size", "StatusCode.INVALID_ARGUMENT", InvalidRequest),
        ("[request id: 1] Exceeds maximum queue size", "503", QueueFull),
        ("Request timeout expired", "400", InvalidRequest),
        ("This protocol is restricted, expecting header 'x'", "StatusCode.UNAVAILABLE", InvalidRequest),
        ("This API is restricted, expecting header 'x'", "403", InvalidRequest),
        ("the bridge is restricted", "503", ServerUnavailable),
        ("Request for unknown model: 'a' has no available versions", "404", ServerUnavailable),
        ("Request for unknown model: 'has no available versions' is not found", "404", ServerError),
        ("[request id: 1] Unable to find shared memory region: 'x'", "StatusCode.NOT_FOUND", UnknownSegment),
        ("Unable to find shared memory region: 'x'", "400", InvalidRequest),
    ]
    for message, status, kind in table:
        assert type(translate(InferenceServerException(message, status), "here:1")) is kind, message


# What the server answers.


@pytest.mark.parametrize("strategy", ["no JSON", "a list"])
def test_a_report_that_is_none(odd_url, strategy):
    with Client(odd_url) as client, pytest.raises(ServerError, match="answer of .*(cannot be read|no picture)"):
        client.inpaint(IMAGE, MASK, strategy=strategy)


@pytest.mark.parametrize("strategy", ["no picture", "no size", "odd size", "large, says small"])
def test_a_picture_that_is_none(odd_url, strategy):
    with Client(odd_url) as client:
        result = client.inpaint(IMAGE, MASK, strategy=strategy)
    with pytest.raises(ServerError, match="The answer of the server cannot be read"):
        _ = result.image


def test_a_report_without_a_format(odd_url, tmp_path):
    with Client(odd_url) as client, pytest.raises(ServerError, match="does not name the picture's format"):
        client.inpaint(IMAGE, MASK, strategy="no format").save(tmp_path / "x.png")


def test_an_answer_of_more_pixels_than_the_library_s_own_limit(odd_url):
    with Client(odd_url) as client:
        assert client.inpaint(IMAGE, MASK, strategy="large").image.shape == (7000, 8000)


@contextlib.contextmanager
def website(body):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b"[]", b'{"outputs": 5}', b'{"name": 1, "version": 2, "model_stats": [1]}']
)
@pytest.mark.parametrize("shared_memory", [False, True])
def test_another_website_at_this_address(body, shared_memory):
    before = regions()
    with website(body) as url, Client(url, shared_memory=shared_memory, timeout=10) as client:
        for call in (
            functools.partial(client.inpaint, IMAGE, MASK),
            functools.partial(client.infer, "lama", TENSORS, outputs={"INPAINTED": 9}),
            client.status,
        ):
            with pytest.raises(ServerError):
                call()
    assert regions() <= before


# Opening and closing.


def test_a_closed_client_says_so(url):
    async def closed():
        client = AsyncClient(url)
        await client.is_ready()
        await client.close()
        await client.close()
        with pytest.raises(AtelierError, match="is closed"):
            await client.inpaint(IMAGE, MASK)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no coroutine is left behind
        client = Client(url)
        client.close()
        client.close()
        for call in (functools.partial(client.inpaint, IMAGE, MASK), client.is_ready, client.status):
            with pytest.raises(AtelierError, match="is closed"):
                call()
        asyncio.run(closed())
        gc.collect()


def test_closing_ends_the_calls_of_other_threads(odd_url):
    client = Client(odd_url)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(client.inpaint, IMAGE, MASK, strategy="sleep") for _ in range(2)]
        time.sleep(0.5)
        started = time.monotonic()
        client.close()
        for call in calls:
            with pytest.raises(AtelierError, match="was closed during the call"):
                call.result(10)
        assert time.monotonic() - started < 2.5


def test_closing_ends_the_calls_of_other_tasks(odd_url):
    async def send():
        client = AsyncClient(odd_url)
        call = asyncio.create_task(client.inpaint(IMAGE, MASK, strategy="sleep"))
        await asyncio.sleep(0.5)
        await client.close()
        return await asyncio.gather(call, return_exceptions=True)

    (error,) = asyncio.run(send())
    assert isinstance(error, AtelierError)


def test_an_asyncio_client_is_made_anywhere_and_belongs_to_one_loop(url):
    client = AsyncClient(url)

    async def send():
        return await client.inpaint(IMAGE, MASK)

    assert asyncio.run(send()).image.shape == IMAGE.shape
    with pytest.raises(InvalidRequest, match="another event loop"):
        asyncio.run(send())
    asyncio.run(AsyncClient(url).close())


# Addresses.


def test_no_proxy_leads_to_this_machine(url, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for address in (url, url.replace("127.0.0.1", "localhost")):
        with Client(address, timeout=10) as client:
            assert client.inpaint(IMAGE, MASK).data


def test_large_messages_pass(server):
    """gRPC's own limit of 4 MB does not hold, though the options are ours."""
    noise = np.random.default_rng(2).integers(0, 256, (1400, 1500, 3), dtype=np.uint8)
    mask = np.zeros(noise.shape[:2], bool)
    mask[3:9, 3:9] = True
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    assert len(file.getvalue()) > 5e6
    with Client(server.grpc_url) as client:
        np.testing.assert_array_equal(client.inpaint(file.getvalue(), mask).image[~mask], noise[~mask])


@pytest.mark.parametrize("url", ["[::1]:8001", "http://[::1]:8000", "grpc://[::1]:8001/", "https://[::1]:1/path"])
def test_addresses_of_six(url):
    Client(url).close()


@pytest.mark.parametrize(
    "url", ["::1:8001", "http://::1:8000", "[::1]", "[::1:8001", "[x]:1", "a b:1", "h:1/x", 5, None, "h\0:1"]
)
def test_addresses_that_are_none(url):
    for kind in (Client, AsyncClient):
        with pytest.raises(InvalidRequest, match="is no server address"):
            kind(url)
