"""The command line as its user sees it: what is printed, where, and the exit status."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from atelier.client import Client
from atelier.media import Picture, encode_picture
from atelier.serving.ports import free_ports
from tests.conftest import ROOT
from tests.served import ATELIER, Serving

SAMPLES = ROOT / "samples"


def atelier(*arguments, cwd=ROOT, **environment):
    """Run the real program; a terminal of 120 columns."""
    return subprocess.run(
        [str(ATELIER), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "120", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def one_line(run, status=1):
    assert run.returncode == status, run.stdout + run.stderr
    assert len(run.stderr.splitlines()) == 1, run.stderr
    return run.stderr


@pytest.fixture
def url(server):
    return server.grpc_url


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_inpaint(server, tmp_path, protocol, ending):
    address = server.grpc_url if protocol == "grpc" else server.http_url
    output, report = tmp_path / f"결과.{ending}", tmp_path / "report.json"
    picture = shutil.copy(SAMPLES / "cat.png", tmp_path / "고양이.png")
    run = atelier("inpaint", picture, SAMPLES / "cat.mask.png", "-o", output, "--url", address, "--report", report)
    assert run.returncode == 0, run.stderr
    assert "tile(s)" in run.stdout
    assert Image.open(output).size == (451, 300)
    assert json.loads(report.read_text())["format"] == {"jpg": "jpeg"}.get(ending, ending)


def test_inpaint_s_options_reach_the_server(url, tmp_path):
    report = tmp_path / "r.json"
    run = atelier(
        "inpaint", SAMPLES / "page.png", SAMPLES / "page.mask.png", "-o", tmp_path / "o.png", "--strategy", "page",
        "--margin", "10", "--feather", "2", "--no-fill-flat", "--report", report, ATELIER_URL=url,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    settings = json.loads(report.read_text())["settings"]
    expected = {"strategy": "page", "margin": 10, "feather": 2, "fill_flat": False, "format": "png"}
    assert settings == {name: {"value": value, "source": "request"} for name, value in expected.items()}


def test_what_the_server_warns_of_is_on_stderr(url, tmp_path):
    Image.fromarray(np.zeros((300, 451), np.uint8)).save(tmp_path / "empty.png")
    run = atelier("inpaint", SAMPLES / "cat.png", tmp_path / "empty.png", "-o", tmp_path / "o.png", "--url", url)
    assert run.returncode == 0
    assert "MASK is empty: the picture is returned unchanged." in run.stderr


def test_each_failure_is_one_line(url, tmp_path):
    cat, mask, out = SAMPLES / "cat.png", SAMPLES / "cat.mask.png", tmp_path / "o.png"
    (port,) = free_ports(1)
    assert "none.png cannot be read" in one_line(atelier("inpaint", "none.png", mask, "-o", out, "--url", url))
    assert "No server answers at" in one_line(atelier("inpaint", cat, mask, "-o", out, "--url", f"localhost:{port}"))
    assert "must be equal" in one_line(atelier("inpaint", SAMPLES / "page.png", mask, "-o", out, "--url", url))
    assert "STRATEGY" in one_line(atelier("inpaint", cat, mask, "-o", out, "--url", url, "--strategy", "x"))
    assert "MARGIN is -1" in one_line(atelier("inpaint", cat, mask, "-o", out, "--url", url, "--margin", "-1"))
    assert "does not end in" in one_line(atelier("inpaint", cat, mask, "-o", tmp_path / "o.bmp", "--url", url))
    assert "cannot be written" in one_line(atelier("inpaint", cat, mask, "-o", "no/such/o.png", "--url", url))
    assert "no server address" in one_line(atelier("inpaint", cat, mask, "-o", out, "--url", "nonsense"))
    assert "must be more than 0" in one_line(atelier("inpaint", cat, mask, "-o", out, "--url", url, "--timeout", "0"))
    assert "not a PNG" in one_line(atelier("inpaint", SAMPLES / "README.md", mask, "-o", out, "--url", url))
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [("inpaint",), ("inpaint", "a", "b"), ("fly",), ("serve", "--http-port", "many"), ("inpaint", "--colour", "red")],
)
def test_wrong_usage_is_status_2(arguments):
    run = atelier(*arguments)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("command", ["serve", "inpaint", "status", "lint"])
def test_help_explains_every_option(command):
    run = atelier(command, "--help")
    assert run.returncode == 0
    options = re.findall(r"^  (--[a-z-]+).*?(?=^  -|\Z)", run.stdout, re.MULTILINE | re.DOTALL)
    assert options
    for entry in re.split(r"\n  (?=-)", run.stdout.split("Options:")[1].strip("\n")):
        words = re.sub(r"--?[a-z-]+|[A-Z_]{2,}|\[.*?\]", "", entry, flags=re.DOTALL)
        assert len(words.split()) >= 3, f"without explanation: {entry}"


def test_status(server):
    run = atelier("status", "--url", server.http_url)
    assert run.returncode == 0
    assert "triton 2.51.0" in run.stdout
    assert re.search(r"^inpaint +1 +yes ", run.stdout, re.MULTILINE)
    (port,) = free_ports(1)
    assert "No server answers" in one_line(atelier("status", "--url", f"localhost:{port}"))


def test_lint(tmp_path):
    run = atelier("lint")
    assert (run.returncode, run.stdout.startswith("No findings")) == (0, True)
    shutil.copytree(ROOT / "model_repository" / "inpaint", tmp_path / "inpaint")
    run = atelier("lint", "--repository", tmp_path)
    assert run.returncode == 1
    assert re.search(r"inpaint/config\.pbtxt:\d+: the model 'lama' that it calls is in none", run.stdout)
    one_line(atelier("lint", "--repository", tmp_path / "nowhere"))


@pytest.fixture
def start():
    """Start ``atelier serve``; what a failed test leaves running is ended."""
    started = []

    def run(*arguments):
        started.append(Serving(*arguments))
        return started[-1]

    yield run
    for serving in started:
        if serving.process.poll() is None:
            serving.end()


def executions(client):
    """How often the network was run."""
    return next(model.requests for model in client.status().models if model.name == "lama")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_drains(start, number):
    serving = start("--exit-timeout", "100", "--verbose")
    table = serving.until_ready()
    assert re.search(r"inpaint +│ default +│ 1 +│ READY", table)
    assert re.search(r"lama +│ (openvino|default) +│ 1 +│ READY", table)  # default where there is a GPU
    picture = np.random.default_rng(0).integers(0, 256, (1800, 1800, 3), dtype=np.uint8)
    mask = np.zeros((1800, 1800), np.uint8)
    for top in range(100, 1800, 450):  # 16 parts far from each other: several calls of the network
        mask[top : top + 40, 100::450] = 255
    files = encode_picture(Picture(picture, None, "png")), encode_picture(Picture(mask[..., None], None, "png"))
    with Client(f"localhost:{serving.ports[1]}") as client, ThreadPoolExecutor(1) as pool:
        assert client.is_ready("inpaint")
        warm_up = executions(client)
        answer = pool.submit(client.inpaint, *files)
        while executions(client) == warm_up and not answer.done():
            time.sleep(0.02)
        # The first of two calls of the network was made; the second comes while the server stops.
        assert not answer.done()
        status, _, errors = serving.end(number)
        assert status == 0, errors
        assert "Finishing the running requests." in errors
        assert re.search(r"exit_timeout +\| 100 ", errors)
        assert answer.result().image.shape == picture.shape


def test_serve_says_what_is_missing_and_serves_the_rest(start, tmp_path):
    for name in ("lama", "inpaint"):
        shutil.copytree(ROOT / "model_repository" / name, tmp_path / name)
    (tmp_path / "lama" / "1" / "model.onnx").unlink()
    shutil.copytree(ROOT / "tests" / "serving" / "models" / "echo", tmp_path / "echo")
    serving = start("--repository", tmp_path)
    table = serving.until_ready()
    assert re.search(r"echo .*READY", table)
    assert re.search(r"lama .*MISSING .*python -m export lama --checkpoint PATH", table)
    assert re.search(r"inpaint .*MISSING .*It calls lama", table)
    assert serving.end()[0] == 0


def test_serve_fails_clearly(tmp_path):
    shutil.copytree(ROOT / "model_repository" / "lama", tmp_path / "lama")
    (tmp_path / "lama" / "1" / "model.onnx").write_bytes(b"no model")
    http, grpc, metrics = map(str, free_ports(3))
    ports = ("--http-port", http, "--grpc-port", grpc, "--metrics-port", metrics, "--health-port", "0")
    run = atelier("serve", *ports, "--repository", tmp_path)
    assert run.returncode == 1
    assert "FAILED" in run.stdout
    assert run.stderr.splitlines()[-1] == "atelier: No model could be loaded; the table says what each of them lacks."
    assert "no model 'ghost'" in one_line(atelier("serve", *ports, "--models", "ghost"))
    assert "profile 'x'" in one_line(atelier("serve", *ports, "--profile", "x"))
    run = atelier("serve", *ports, "--profile", "tensorrt", "--models", "lama")
    assert run.returncode == 1
    assert "could not be loaded" in run.stderr.splitlines()[-1]
    assert "is not a program" in one_line(atelier("serve", *ports, "--server", tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = str(holder.getsockname()[1])
        assert "choose another with --grpc-port" in one_line(
            atelier("serve", "--http-port", http, "--grpc-port", taken, "--health-port", "0")
        )


def test_serve_outside_a_checkout_with_nothing_named(tmp_path):
    """An editable install knows its checkout, so the working directory does not matter."""
    run = atelier("lint", cwd=tmp_path)
    assert run.returncode == 0, run.stderr


def test_version():
    assert atelier("--version").stdout.startswith("atelier 0.")
