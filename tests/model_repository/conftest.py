"""Servers whose `lama` comes from the golden checkpoints, exported by the real exporter."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT, Running
from tests.golden.lama.cases import FOLDER, HOT

REPOSITORY = ROOT / "model_repository"
CHECKPOINTS = {"plain": FOLDER, "hot": HOT}


def export(checkpoint, repository, target="onnx", precision="fp32"):
    """Export a golden checkpoint into a fresh repository, with `inpaint` beside it."""
    command = [sys.executable, "-m", "export", "lama", "--checkpoint", str(checkpoint), "--repository", str(repository)]
    command += ["--target", target, "--precision", precision]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    if not (repository / "inpaint").exists():
        shutil.copytree(REPOSITORY / "inpaint", repository / "inpaint")
    for file in (repository / "lama").rglob("*.pbtxt"):
        file.write_text(without_warm_up(file.read_text("utf-8")), "utf-8")
    return repository


def without_warm_up(config):
    """On a CPU it takes most of a start, and a size costs hardly more the first time than later."""
    before, _, after = config.partition("model_warmup [")
    return before + after.partition("\n]\n")[2]


@pytest.fixture(scope="session")
def golden_servers(tmp_path_factory):
    """The server of (checkpoint, profile, precision), asked for by each test: ``golden_servers("hot", "openvino")``."""
    repositories, running = {}, Running()

    def start(checkpoint, profile=None, precision="fp32"):
        target = "torchscript" if profile == "torchscript" else "onnx"
        key = (checkpoint, target, precision)
        if key not in repositories:
            folder = tmp_path_factory.mktemp("golden") / "repository"
            repositories[key] = export(CHECKPOINTS[checkpoint], folder, target, precision)
        return running(repositories[key], profile=profile)

    yield start
    running.close()
