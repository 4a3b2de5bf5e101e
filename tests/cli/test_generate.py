"""``atelier generate`` and ``atelier weights`` against a real server."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import av
import pytest

from atelier.client import Client
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden" / "wan"


def atelier(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", "from atelier.cli import main; main()", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


@pytest.fixture(scope="module")
def url(launch):
    settings = {
        "checkpoint": GOLDEN / "pipeline",
        "loras": GOLDEN / "lora",
        "sizes": "96*64",
        "size": "96*64",
        "frame_num": 9,
        "sample_steps": 3,
    }
    environment = {f"ATELIER_GENERATE_{name.upper()}": str(value) for name, value in settings.items()}
    return launch(ROOT / "model_repository", models=("generate",), environment=environment).grpc_url


def test_a_video_with_an_adapter(url, tmp_path):
    output, facts = tmp_path / "고양이 영상.mp4", tmp_path / "facts.json"
    run = atelier(
        *("generate", "고양이 두 마리", "-o", output, "--url", url, "--lora", "epoch-0=0.5", "--seed", "7"),
        *("--image", GOLDEN / "first_frame.png", "--metadata", facts),
    )
    assert run.returncode == 0, run.stderr
    assert "9 frames of 96x64, seed 7" in run.stdout
    assert "Adapter epoch-0: 30 of 30 layers at scale 0.5" in run.stderr
    with av.open(str(output)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 9
    written = json.loads(facts.read_text())
    assert written["prompt"] == "고양이 두 마리"
    assert written["adapters"][0]["scale"] == 0.5


def test_pictures(url, tmp_path):
    run = atelier("generate", "a cat", "-o", tmp_path / "cat.zip", "--url", url, "--frame-num", "5")
    assert run.returncode == 0, run.stderr
    assert zipfile.ZipFile(tmp_path / "cat.zip").namelist() == [f"{number:05d}.png" for number in range(5)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a cat", "-o", "x.avi"), "x.avi ends in none of .mp4, .webm, .zip"),
        (("", "-o", "x.mp4"), "PROMPT is empty"),
        (("a cat", "-o", "x.mp4", "--frame-num", "10"), "the nearest are 9 and 13"),
        (("a cat", "-o", "x.mp4", "--lora", "gone"), "there is no adapter 'gone'"),
        (("a cat", "-o", "x.mp4", "--lora", "epoch-0=much"), "no number behind its ="),
        (("a cat", "-o", "x.mp4", "--lora", "epoch-0", "--lora", "epoch-0=1"), "names epoch-0 twice"),
        (("a cat", "-o", "x.mp4", "--image", "gone.png"), "gone.png cannot be read"),
        (("a cat", "-o", "x.mp4", "--url", "localhost:1"), "No server answers"),
    ],
)
def test_mistakes_are_one_line(url, tmp_path, arguments, words):
    arguments = [str(tmp_path / a) if a.startswith("x.") else a for a in arguments]
    run = atelier("generate", *arguments, *([] if "--url" in arguments else ["--url", url]))
    assert run.returncode == 1
    assert words in run.stderr
    assert run.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_ctrl_c_stops_the_work_on_the_server(url, tmp_path):
    command = [sys.executable, "-c", "from atelier.cli import main; main()", "generate", "a cat"]
    command += ["-o", str(tmp_path / "x.mp4"), "--url", url, "--sample-steps", "1000"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    with Client(url) as client:

        def place():
            """Where a request would stand in the queue now."""
            time.sleep(2)  # the one that asked before has left it
            asked = iter(client.generate("a dog"))
            position = next(asked).position
            asked.close()
            return position

        until(lambda: place() > 0)  # the program's is at work
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        until(lambda: place() == 0)
    assert not (tmp_path / "x.mp4").exists()


def until(holds, patience=60):
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_weights_are_listed_and_checked():
    here = {"ATELIER_GENERATE_CHECKPOINT": str(GOLDEN / "pipeline"), "ATELIER_GENERATE_LORAS": str(GOLDEN / "lora")}
    run = atelier("weights", "list", **here)
    assert run.returncode == 0, run.stderr
    assert "tests/golden/wan/lora/epoch-0.safetensors" in run.stdout
    run = atelier("weights", "check", **here)
    assert run.returncode == 1
    assert "epoch-0" in run.stdout
    assert "30 of 30" in run.stdout
    assert run.stderr.count("\n") == 1
    assert "wrong_model.safetensors does not fit this network" in run.stderr
    run = atelier("weights", "check", ATELIER_GENERATE_CHECKPOINT="weights/gone")
    assert run.returncode == 1
    assert "The weights of generate are missing" in run.stderr
