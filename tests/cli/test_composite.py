"""``atelier composite`` against a real server, with FLUX.1-Fill of a tiny random checkpoint and without weights."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from atelier.client import Client
from export.flux.synthetic import write_fill, write_redux
from tests.conftest import ROOT
from tests.model_repository.composing import REPOSITORIES, file_of, scene, thing

MAIN = [sys.executable, "-c", "from atelier.cli import main; main()", "composite"]
BOX = ("--box", "60,30,110,110")


def atelier(*arguments):
    return subprocess.run(
        [*MAIN, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def server(launch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flux")
    write_fill("tiny", folder / "fill", 0)
    write_redux("tiny", folder / "redux", 0)
    settings = {"checkpoint": folder / "fill", "redux": folder / "redux", "resolution": 64, "steps": 4}
    environment = {f"ATELIER_OBJECT_SYNTHESIZER_{name.upper()}": str(value) for name, value in settings.items()}
    return launch(*REPOSITORIES, models=("composite", "composite_stream"), environment=environment)


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "배경.png").write_bytes(file_of(scene()))
    (tmp_path / "물건.png").write_bytes(file_of(thing()))
    return tmp_path / "배경.png", tmp_path / "물건.png"


def test_a_picture_with_its_analysis_and_report(server, pictures, tmp_path):
    output, report = tmp_path / "결과.png", tmp_path / "report.json"
    run = atelier(
        *(*pictures, "-o", output, *BOX, "--url", server.grpc_url, "--mode", "classical", "--language", "ko"),
        *("--report", report),
    )
    assert run.returncode == 0, run.stderr
    assert any("가" <= letter <= "힣" for letter in run.stdout)
    assert f"{output}: the object in " in run.stdout
    assert "(from box)" in run.stdout
    assert f"{report}: the report" in run.stdout
    facts = json.loads(report.read_text())
    assert facts["modes"]["object_synthesizer"] == "classical"
    image = np.asarray(Image.open(output))
    np.testing.assert_array_equal(image[:20], scene()[:20])
    over_http = tmp_path / "http.png"
    run = atelier(*pictures, "-o", over_http, *BOX, "--url", server.http_url, "--mode", "classical")
    assert run.returncode == 0, run.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(over_http)), image)


def test_seeds_and_previews(server, pictures, tmp_path):
    output, report, previews = tmp_path / "x.png", tmp_path / "report.json", tmp_path / "previews"
    run = atelier(
        *(*pictures, "-o", output, *BOX, "--url", server.grpc_url, "--seed", "7", "--seeds", "2", "--steps", "4"),
        *("--preview-dir", previews, "--preview-every", "2", "--report", report),
    )
    assert run.returncode == 0, run.stderr
    facts = json.loads(report.read_text())
    assert [candidate["seed"] for candidate in facts["candidates"]] == [7, 8]
    assert f"seed {facts['seed']}" in run.stdout
    assert {path.name[:2] for path in previews.iterdir()} == {"01", "02"}
    assert all(Image.open(path).format == "JPEG" for path in previews.iterdir())
    waited = tmp_path / "y.png"
    run = atelier(
        *(*pictures, "-o", waited, *BOX, "--url", server.grpc_url, "--seed", str(facts["seed"]), "--steps", "4"),
        "--no-stream",
    )
    assert run.returncode == 0, run.stderr
    assert waited.read_bytes() == output.read_bytes()


def test_curl_alone_gets_the_same(server, pictures, tmp_path):
    script, output = ROOT / "clients" / "curl" / "composite.sh", tmp_path / "curl.png"
    command = [script, *pictures, output, BOX[1], server.http_url]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    image, outside = np.asarray(Image.open(output)), np.ones((120, 200), bool)
    outside[20:, 40:130] = False
    np.testing.assert_array_equal(image[outside], scene()[outside])
    assert (image != scene()).any()
    run = subprocess.run([*command[:4], "0,0,900,9", server.http_url], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "BOX" in json.loads(run.stderr)["error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "x.jpg"), "x.jpg does not end in .png"),
        (("-o", "x.png", "--box", "0,0,900,9"), "BOX"),
        (("-o", "x.png", "--mask", "gone.png"), "mask: gone.png cannot be read"),
        (("-o", "x.png", "--url", "localhost:1"), "No server answers"),
        (("-o", "x.png", "--url", "http://localhost:1", "--seeds", "2"), "need an answer in parts: a gRPC address"),
        (("-o", "x.png", "--no-stream", "--preview-every", "2"), "and no --no-stream"),
        (("-o", "x.png", "--mode", "best"), "MODE"),
    ],
)
def test_mistakes_are_one_line(server, pictures, tmp_path, arguments, words):
    arguments = [str(tmp_path / a) if a.startswith("x.") else a for a in arguments]
    run = atelier(*pictures, *arguments, *([] if "--url" in arguments else ["--url", server.grpc_url]))
    assert run.returncode == 1
    assert words in run.stderr
    assert run.stderr.count("\n") == 1
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "given", [("--box", "1,2,3"), ("--point", "a,b"), ("--reference-box", "1,2,3,inf"), ("--what",)]
)
def test_wrong_usage_is_2(pictures, tmp_path, given):
    run = atelier(*pictures, "-o", tmp_path / "x.png", *given)
    assert run.returncode == 2
    assert given[0] in run.stderr


def test_ctrl_c_stops_the_work_on_the_server(server, pictures, tmp_path):
    command = [*MAIN, *map(str, pictures), "-o", str(tmp_path / "x.png"), *BOX, "--url", server.grpc_url]
    previews = tmp_path / "previews"
    command += ["--steps", "200", "--preview-dir", str(previews), "--preview-every", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (previews.is_dir() and any(previews.iterdir())):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert not (tmp_path / "x.png").exists()
    assert len(list(previews.iterdir())) < 200
    with Client(server.grpc_url, timeout=60) as client:  # its place is free
        assert client.composite_stream(scene(), thing(), mode="classical").result().image.shape == scene().shape
