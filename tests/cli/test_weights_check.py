"""``atelier weights check`` and ``list``: folders of weights that are whole, and those that are not."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save

from atelier.serving.catalogue import find
from atelier.serving.stored import RECORD, lacks
from tests.conftest import ROOT

TENSORS = save({"weight": np.zeros(100, np.float32)})
SAM2, QWEN = find("sam2.1-hiera-large"), find("qwen2-vl-7b-instruct")


@pytest.fixture
def folder(tmp_path):
    """SAM 2's, whole."""
    place = tmp_path / "sam2.1-hiera-large"
    place.mkdir()
    (place / "config.json").write_text("{}")
    (place / "model.safetensors").write_bytes(TENSORS)
    return place


def test_a_whole_folder_lacks_nothing(folder):
    assert lacks(SAM2, folder) == []
    (folder / "model.safetensors").write_bytes(save({}))
    assert lacks(SAM2, folder) == []


@pytest.mark.parametrize(
    "content", [TENSORS[:-1], TENSORS + b"x", TENSORS[:5], b"", b"\xff" * 50, b"\x02" + b"\0" * 7 + b"[]"]
)
def test_a_file_that_is_cut_off(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    assert lacks(SAM2, folder) == ["model.safetensors is cut off, or no safetensors"]


def test_shards_that_an_index_names(tmp_path):
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(TENSORS)
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert lacks(QWEN, tmp_path) == ["model-00002-of-00002.safetensors is missing"]
    (tmp_path / "model.safetensors.index.json").write_text("[")
    assert lacks(QWEN, tmp_path) == ["model.safetensors.index.json names no shards"]


def test_what_was_pulled_has_its_sizes(folder):
    (folder / RECORD).write_text(
        json.dumps({"files": {"config.json": 3, "README.md": 7, "model.safetensors": len(TENSORS)}})
    )
    assert lacks(SAM2, folder) == ["README.md is missing", "config.json has 2 bytes, not 3"]
    (folder / RECORD).write_text("no JSON")
    assert lacks(SAM2, folder) == []


def test_either_layout_of_wan_is_whole(tmp_path):
    wan = find("wan2.2-ti2v-5b")
    assert len(lacks(wan, tmp_path)) == 4
    for name in ("config.json", "models_t5_umt5-xxl-enc-bf16.pth", "Wan2.2_VAE.pth"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(TENSORS)
    assert lacks(wan, tmp_path) == []


@pytest.fixture
def command(tmp_path):
    """The command in a checkout of its own, whose ``weights/`` the test fills."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "atelier", checkout / "atelier", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("model_repository", "ensembles", "backends"):
        (checkout / name).symlink_to(ROOT / name)
    (checkout / "weights").mkdir()

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", "from atelier.cli import main; main()", "weights", *arguments],
            cwd=checkout,
            env={**os.environ, "COLUMNS": "220", "PYTHONPATH": str(checkout)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return checkout / "weights", run


def test_the_commands_tell_what_is_there(command, folder):
    weights, run = command
    listed = run("list")
    assert listed.returncode == 0, listed.stderr
    rows = {line.split("│")[6].strip(): line for line in listed.stdout.splitlines() if line.count("│") == 7}
    assert "missing" in rows["rmbg-2.0"]
    assert "CC BY-NC 4.0 (Bria), NO commercial use" in rows["rmbg-2.0"]
    assert "FLUX.1 [dev] Non-Commercial" in rows["flux.1-fill-dev"]
    shutil.copytree(folder, weights / folder.name)
    assert "0.0" in run("list").stdout
    checked = run("check")
    assert checked.returncode == 0, checked.stderr
    assert "whole" in checked.stdout
    (weights / folder.name / "model.safetensors").write_bytes(TENSORS[:-4])
    checked = run("check")
    assert checked.returncode == 1
    assert "model.safetensors is cut off" in checked.stdout
    assert checked.stderr == ""
