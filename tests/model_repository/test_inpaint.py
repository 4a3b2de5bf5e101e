"""The served `inpaint`: formats, regions, reports, batches, and everything that can be wrong with a request."""

import asyncio
import io
import json
import os
import re
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atelier.client import AsyncClient, Client, InvalidRequest
from atelier.client.transport import strings
from tests.conftest import ROOT, asking

SAMPLES = ROOT / "samples"


@pytest.fixture(scope="module", params=["grpc", "http"])
def client(server, request):
    with Client(server.grpc_url if request.param == "grpc" else server.http_url) as client:
        yield client


def noise(height=90, width=120, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def hole(height=90, width=120, box=(20, 30, 25, 40)):
    mask = np.zeros((height, width), np.uint8)
    top, left, h, w = box
    mask[top : top + h, left : left + w] = 255
    return mask


def encoded(array, kind="PNG", mode=None, **options):
    buffer = io.BytesIO()
    picture = Image.fromarray(array.squeeze())
    if mode is not None:
        picture = Image.frombytes(mode, picture.size, array.tobytes())
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def claims(width, height):
    """A PNG that says it is this large, and holds nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("strategy", ["regions", "page"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_outside_the_mask_nothing_changes(client, strategy, channels):
    image, mask = noise(channels=channels), hole()
    result = client.inpaint(encoded(image), mask, strategy=strategy, fill_flat=False)
    got = result.image.reshape(image.shape)
    np.testing.assert_array_equal(got[mask == 0], image[mask == 0])
    assert (got[mask != 0] != image[mask != 0]).any()


def test_the_samples_with_korean_lettering(client):
    for mask in sorted(SAMPLES.glob("*.mask.png")):
        picture = next(p for p in SAMPLES.glob(f"{mask.name.removesuffix('.mask.png')}.*") if p != mask)
        result = client.inpaint(picture, mask)
        kept = np.asarray(Image.open(mask)) == 0
        np.testing.assert_array_equal(result.image[kept], np.asarray(Image.open(picture).convert("RGB"))[kept])


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_formats(client, kind):
    result = client.inpaint(noise(), hole(), format=kind)
    assert Image.open(io.BytesIO(result.data)).format == kind.upper()
    assert result.report["format"] == kind
    assert result.report["lossless"] is (kind != "jpeg")


def test_the_report(client):
    report = client.inpaint(noise(700, 800), hole(700, 800), margin=32).report
    assert (report["width"], report["height"], report["masked_pixels"]) == (800, 700, 25 * 40)
    assert [tile["input"] for tile in report["tiles"]] == [[256, 256]]
    assert list(report["seconds"]) == ["decode", "plan", "network", "paste", "encode"]
    assert report["settings"]["margin"] == {"value": 32, "source": "request"}
    assert report["settings"]["strategy"] == {"value": "regions", "source": "default"}
    model = report["model"]
    described = json.loads((ROOT / "model_repository/lama/1/model.onnx.json").read_text())
    assert (model["name"], model["version"], model["sha256"]) == ("lama", "1", described["sha256"])


def test_flat_surroundings_and_the_option_that_turns_it_off(client):
    image = np.full((200, 200, 3), 240, np.uint8)
    image[80:120, 60:140] = 0
    mask = hole(200, 200, (75, 55, 50, 90))
    filled = client.inpaint(image, mask)
    assert (filled.report["flat_parts"], filled.report["tiles"]) == (1, [])
    assert (filled.image == 240).all()
    asked = client.inpaint(image, mask, fill_flat=False)
    assert (asked.report["flat_parts"], len(asked.report["tiles"])) == (0, 1)


def test_a_feather_fades_in(client):
    image, mask = np.full((200, 200, 3), 100, np.uint8), hole(200, 200, (60, 60, 80, 80))
    image[mask > 0] = 250  # what is to go; where the result fades in, some of it is left
    hard = client.inpaint(image, mask, fill_flat=False).image.astype(int)
    soft = client.inpaint(image, mask, fill_flat=False, feather=12).image.astype(int)
    edge, centre = (slice(61, 63), slice(90, 110)), (slice(95, 105), slice(95, 105))
    assert np.abs(soft[edge] - 250).mean() < np.abs(hard[edge] - 250).mean()
    np.testing.assert_array_equal(soft[centre], hard[centre])


def test_an_empty_mask_returns_the_picture_and_says_so(client):
    image = noise()
    result = client.inpaint(image, np.zeros(image.shape[:2], np.uint8))
    np.testing.assert_array_equal(result.image, image)
    assert result.report["warnings"] == ["MASK is empty: the picture is returned unchanged."]


def test_a_full_mask_is_answered_with_a_warning(client):
    result = client.inpaint(noise(), np.full((90, 120), 255, np.uint8))
    assert result.image.shape == (90, 120, 3)
    assert result.report["warnings"] == ["MASK covers the whole picture: the network had nothing to go by."]


def test_one_pixel(client):
    image = noise(1, 1)
    with pytest.raises(InvalidRequest, match="IMAGE is 1x1; strategy page takes sides of 9 pixels and more"):
        client.inpaint(image, np.ones((1, 1), np.uint8), strategy="page")
    assert client.inpaint(image, np.ones((1, 1), np.uint8)).image.shape == (1, 1, 3)
    np.testing.assert_array_equal(client.inpaint(image, np.zeros((1, 1), np.uint8)).image, image)


PICTURE, MASK = encoded(noise()), encoded(hole())
FRAMES = [Image.fromarray(noise(seed=i)) for i in range(2)]
BAD = {
    "no picture": (b"hello", MASK, {}, "IMAGE is not a PNG, JPEG or WebP"),
    "empty": (b"", MASK, {}, "IMAGE is empty"),
    "truncated png": (PICTURE[: len(PICTURE) // 2], MASK, {}, "IMAGE"),
    "truncated jpeg": (encoded(noise(), "JPEG")[:-400], MASK, {}, "IMAGE"),
    "mask is no picture": (PICTURE, b"\0" * 100, {}, "MASK is not a PNG, JPEG or WebP"),
    "mask of another size": (PICTURE, encoded(hole(91)), {}, "MASK is 120x91 and IMAGE 120x90; they must be equal"),
    "too large": (claims(20000, 20000), MASK, {}, r"IMAGE .*20000x20000.*50"),
    "too large mask": (PICTURE, claims(20000, 20000), {}, r"MASK .*20000x20000.*50"),
    "animated": (encoded(noise(), "WEBP", save_all=True, append_images=FRAMES), MASK, {}, "animated"),
    "tiff": (encoded(noise(), "TIFF"), MASK, {}, "not a PNG, JPEG or WebP"),
    "cmyk": (encoded(noise(channels=4), "JPEG", mode="CMYK"), MASK, {}, "CMYK"),
    "16 bit": (encoded(np.zeros((90, 120), np.uint16)), MASK, {}, "16"),
    "jpeg with alpha": (encoded(noise(channels=4)), MASK, {"format": "jpeg"}, "alpha channel, which JPEG cannot hold"),
    "strategy": (PICTURE, MASK, {"strategy": "마법"}, "STRATEGY is '마법'; accepted: 'regions' or 'page'"),
    "negative margin": (PICTURE, MASK, {"margin": -1}, "MARGIN is -1; accepted: greater than or equal to 0"),
    "huge margin": (PICTURE, MASK, {"margin": 10**6}, "MARGIN is 1000000; accepted: less than or equal to 1024"),
    "feather": (PICTURE, MASK, {"feather": 65}, "FEATHER is 65"),
    "format": (PICTURE, MASK, {"format": "gif"}, "FORMAT is 'gif'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_sentence_and_the_next_request_works(client, case):
    image, mask, options, said = BAD[case]
    with pytest.raises(InvalidRequest, match=said) as caught:
        client.inpaint(image, mask, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    assert "/" not in message.replace("and/or", ""), "no path of the server"
    assert client.inpaint(PICTURE, MASK).image.shape == (90, 120, 3)


@pytest.mark.parametrize("case", BAD)
def test_bad_input_through_the_command_line(server, tmp_path, case):
    image, mask, options, said = BAD[case]
    (tmp_path / "그림.png").write_bytes(image)
    (tmp_path / "mask.png").write_bytes(mask)
    ending = {"jpeg": "jpg"}.get(options.get("format", "png"), options.get("format", "png"))
    named = [f"--{name}={value}" for name, value in options.items() if name != "format"]
    run = subprocess.run(
        [Path(sys.executable).parent / "atelier", "inpaint", "그림.png", "mask.png", "-o", f"o.{ending}", *named],
        cwd=tmp_path,
        env={**os.environ, "ATELIER_URL": server.grpc_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1
    assert re.search(said if case != "format" else "does not end in", run.stderr)
    assert not (tmp_path / f"o.{ending}").exists()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"IMAGE": strings(PICTURE)}, r"missing required input\(s\) \['MASK'\]"),
        (
            {"IMAGE": strings(PICTURE), "MASK": np.zeros((1, 1), np.uint8)},
            "input 'MASK' data-type is 'UINT8', but .* expects 'BYTES'",
        ),
        (
            {"IMAGE": strings(PICTURE), "MASK": strings(MASK), "MARGIN": np.array([[1.5]], np.float32)},
            "input 'MARGIN' data-type is 'FP32', but .* expects 'INT32'",
        ),
        (
            {"IMAGE": strings(PICTURE), "MASK": strings(MASK), "MARGINS": np.array([[1]], np.int32)},
            "unexpected inference input 'MARGINS'",
        ),
        ({"IMAGE": strings(PICTURE), "MASK": strings(MASK), "STRATEGY": strings(b"\xff\xfe")}, "UTF-8"),
        ({"IMAGE": strings(PICTURE, PICTURE), "MASK": strings(MASK, MASK)}, "IMAGE holds 2 elements"),
        ({"IMAGE": strings(PICTURE)[0], "MASK": strings(MASK)[0]}, r"unexpected shape for input .*\[-1,1\], got \[1\]"),
    ],
)
def test_wrong_tensors(client, inputs, said):
    with pytest.raises(InvalidRequest, match=said):
        client.infer("inpaint", inputs)
    assert client.inpaint(PICTURE, MASK).image.shape == (90, 120, 3)


def test_json_that_is_none(client, server):
    """Triton itself answers this, with status 500 on 2.51; what matters is that it says why and lives on."""
    request = urllib.request.Request(f"{server.http_url}/v2/models/inpaint/infer", data=b'{"inputs": [', method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert "failed to parse the request JSON buffer" in json.load(caught.value)["error"]
    assert client.inpaint(PICTURE, MASK).image.shape == (90, 120, 3)


def test_a_fuzz_of_the_entrance(server):
    """Damaged files of all formats, many at once: each is answered, and nothing dies."""
    generator = np.random.default_rng(7)
    originals = [PICTURE, encoded(noise(), "JPEG"), encoded(noise(), "WEBP", lossless=True)]
    damaged = []
    for i in range(90):
        data = bytearray(originals[i % 3])
        for _ in range(generator.integers(1, 8)):
            data[generator.integers(len(data))] = generator.integers(256)
        damaged.append(bytes(data[: generator.integers(1, len(data) + 1)] if i % 2 else data))

    async def send():
        async with AsyncClient(server.grpc_url) as client:
            calls = [client.inpaint(data, MASK) for data in damaged]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            return answers, await client.inpaint(PICTURE, MASK)

    answers, fine = asyncio.run(send())
    failures = [answer for answer in answers if isinstance(answer, Exception)]
    assert failures
    assert {type(failure) for failure in failures} == {InvalidRequest}
    assert fine.image.shape == (90, 120, 3)


def count(server, model):
    with urllib.request.urlopen(asking(server, f"/v2/models/{model}/stats")) as page:
        stats = json.load(page)["model_stats"][0]
    return stats["inference_count"], stats["execution_count"]


def settled(server, model, least=0):
    """What was counted, once that stands still: a run is counted after its answers are sent."""
    deadline, found = time.monotonic() + 30, None
    while (found, found := count(server, model))[0] != found or found[0] < least:
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found


def test_pictures_of_mixed_sizes_share_executions_of_the_network(server):
    before = settled(server, "lama")
    pictures = [(noise(80 + 9 * i, 100 + 7 * i, seed=i), hole(80 + 9 * i, 100 + 7 * i)) for i in range(24)]

    async def send():
        async with AsyncClient(server.grpc_url) as client:
            calls = [client.inpaint(image, mask) for image, mask in pictures]
            return await asyncio.gather(*calls)

    results = asyncio.run(send())
    for (image, mask), result in zip(pictures, results, strict=True):
        np.testing.assert_array_equal(result.image[mask == 0], image[mask == 0])
    tiles, executions = (after - b for after, b in zip(settled(server, "lama", before[0] + 24), before, strict=True))
    assert tiles == 24
    assert executions <= 12


def test_requests_answer_the_same_alone_and_together(server):
    image, mask = noise(150, 130), hole(150, 130)
    with Client(server.grpc_url) as client:
        alone = client.inpaint(image, mask).image

    async def send():
        async with AsyncClient(server.grpc_url) as client:
            others = [client.inpaint(noise(150, 130, seed=i), mask) for i in range(1, 8)]
            return (await asyncio.gather(client.inpaint(image, mask), *others))[0]

    together = asyncio.run(send()).image
    assert np.abs(alone.astype(int) - together).max() <= 1
