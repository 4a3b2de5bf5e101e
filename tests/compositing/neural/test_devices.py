"""Devices by name, and folders of weights before a library sees them."""

import json

import pytest
import torch

from atelier.compositing.neural.devices import compute_type, is_gpu, release, resolve
from atelier.compositing.neural.loading import (
    CheckpointError,
    check_loaded,
    check_weights,
    foreign,
    open_folder,
    quiet,
    shard_files,
)
from atelier.errors import InvalidInput

THERE = torch.cuda.is_available()


def test_devices_that_are_there():
    assert resolve("cpu") == "cpu"
    assert resolve("auto") == ("cuda" if THERE else "cpu")
    assert (compute_type("cpu"), is_gpu("cpu")) == (torch.float32, False)
    assert (compute_type("cuda:1"), is_gpu("cuda:1")) == (torch.bfloat16, True)
    release("cpu")


@pytest.mark.parametrize("device", ["", "gpu", "cuda:x", "mps", "meta", "cpu cuda", "c" * 100])
def test_names_that_are_none(device):
    with pytest.raises(InvalidInput, match="accepted: auto, cpu, cuda, cuda:N") as refused:
        resolve(device)
    assert len(str(refused.value)) < 120


def test_a_gpu_that_is_not_there():
    with pytest.raises(InvalidInput, match="PyTorch finds"):
        resolve("cuda:99")


def test_a_network_is_one_file_or_its_index_and_shards(tmp_path):
    assert shard_files(tmp_path) == ["model.safetensors"]
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-2.safetensors", "b": "../model-1.safetensors"}}))
    assert shard_files(tmp_path) == [index.name, "model-1.safetensors", "model-2.safetensors"]  # and no other folder's


def test_only_weights_are_opened(tmp_path):
    (tmp_path / "config.json").write_text("")
    check_weights(tmp_path, ["config.json"])
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(CheckpointError, match="model.safetensors cannot be read"):
        check_weights(tmp_path, ["model.safetensors"])
    with pytest.raises(CheckpointError, match="There is no folder none, which is to hold FLUX"):
        open_folder(tmp_path / "none", "FLUX")


def test_what_libraries_raise_becomes_a_sentence_without_a_path(tmp_path):
    with (
        pytest.raises(
            CheckpointError, match=rf"Its network in {tmp_path.name} cannot be loaded: no {tmp_path.name}/a$"
        ),
        foreign(tmp_path, "Its network"),
    ):
        raise RuntimeError(f"no {tmp_path}/a\nmore")
    with pytest.raises(InvalidInput, match="as it was"), foreign(tmp_path, "It"):
        raise InvalidInput("as it was")
    with pytest.raises(MemoryError), foreign(tmp_path, "It"):
        raise MemoryError
    with pytest.raises(torch.OutOfMemoryError), foreign(tmp_path, "It"):
        raise torch.OutOfMemoryError


@pytest.mark.parametrize(
    "info, sentence",
    [
        ({"missing_keys": ["b", "a"]}, r"lacks 2 tensor\(s\): a, b\."),
        ({"unexpected_keys": set("edcba")}, r"has unexpected 5 tensor\(s\): a, b, c and 2 more\."),
        ({"missing_keys": [], "mismatched_keys": [("w", (1,), (2,))]}, r"has wrong shapes of 1 tensor\(s\): w\."),
    ],
)
def test_tensors_that_libraries_would_draw_are_an_error(tmp_path, info, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        check_loaded(tmp_path, info)
    check_loaded(tmp_path, {"missing_keys": [], "unexpected_keys": set(), "error_msgs": []})


def test_quiet_ends():
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with pytest.raises(ZeroDivisionError), quiet():
        assert not logging.is_progress_bar_enabled()
        raise ZeroDivisionError
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
