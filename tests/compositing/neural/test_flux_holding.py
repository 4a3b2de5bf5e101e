"""How FLUX is held: presets, what a machine cannot do, weights in few bits, networks that wait on the host."""

import shutil

import gguf
import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch import nn

from atelier.compositing.neural import holding
from atelier.compositing.neural.flux_fill import FluxFill
from atelier.compositing.neural.holding import Holding, resolve
from atelier.compositing.neural.quantising import real_bytes
from atelier.compositing.neural.synthesis import NeuralSynthesizer
from atelier.compositing.neural.watching import Watch
from atelier.errors import CheckpointError, InvalidInput
from atelier.media.boxes import Box
from tests.compositing.neural.flux import job, settings, write_all


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("flux"))


@pytest.fixture(scope="module")
def plain(folders):
    return NeuralSynthesizer(folders, settings())


@pytest.fixture(scope="module")
def gguf_file(folders):
    """The transformer as others publish it: matrices in blocks of 32 weights of 8 bits, the rest as it is."""
    transformer = FluxTransformer2DModel.from_pretrained(folders["checkpoint"], subfolder="transformer")
    return write_gguf(folders["checkpoint"].parent / "transformer.gguf", transformer.state_dict())


def write_gguf(file, state):
    writer = gguf.GGUFWriter(file, "flux")
    eight = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in state.items():
        if tensor.dim() == 2 and tensor.shape[1] % 32 == 0:
            writer.add_tensor(name, gguf.quants.quantize(tensor.numpy(), eight), raw_dtype=eight)
        else:
            writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"quantisation": "nf4"},
            "quantisation nf4 needs a GPU, and device is cpu; accepted there: none, torchao-int8",
        ),
        ({"quantisation": "bnb-int8"}, "quantisation bnb-int8 needs a GPU"),
        ({"offload": "model"}, "offload model needs a GPU, and device is cpu; accepted there: none, group"),
        ({"offload": "sequential"}, "offload sequential needs a GPU"),
        ({"preset": "l4"}, "quantisation nf4 needs a GPU"),
        ({"preset": "l4", "quantisation": "none"}, "offload model needs a GPU"),
        ({"device": "cuda"}, "PyTorch finds no GPU here|quantisation"),
        ({"device": "tpu"}, "device is 'tpu'"),
        (
            {"offload": "group", "quantisation": "quanto-int8"},
            "does not go with quantisation quanto-int8; accepted: none, torchao-int8",
        ),
        ({"quantisation": "gguf"}, "needs the setting gguf"),
        ({"quantisation": "gguf", "gguf": "x.gguf", "network": "flux.2-klein"}, "does not go with flux.2-klein"),
        ({"gguf": "x.gguf"}, "gguf names a file, and quantisation is none"),
        ({"quantisation": "gguf", "gguf": "weights/x.gguf"}, "There is no file x.gguf"),
    ],
)
def test_what_cannot_be_done_here_is_said_in_one_sentence(folders, changes, words):
    with pytest.raises(InvalidInput, match=words) as error:
        NeuralSynthesizer(folders, settings(**changes))
    assert "\n" not in str(error.value)
    assert str(folders["checkpoint"].parent) not in str(error.value)


def test_a_missing_package_is_named():
    holding.PACKAGES["none"] = "no-such-package"
    try:
        with pytest.raises(InvalidInput, match="needs the package no-such-package: pip install no-such-package"):
            resolve(settings(), {})
    finally:
        del holding.PACKAGES["none"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("none", "none")),
        ({"preset": "h100"}, ("none", "none")),
        ({"preset": "a100-40"}, ("torchao-int8", "none")),
        ({"preset": "a100-40", "quantisation": "none"}, ("none", "none")),  # what is given wins, if it is the default
        ({"preset": "a100-40", "offload": "group"}, ("torchao-int8", "group")),
        ({"preset": "l4", "quantisation": "quanto-int8", "offload": "none"}, ("quanto-int8", "none")),
    ],
)
def test_presets_and_what_is_given_beside_them(changes, expected):
    found = resolve(settings(**changes), {})
    assert (found.quantisation, found.offload) == expected
    assert found.dtype == torch.float32


def difference(first, second):
    return np.abs(first.astype(int) - second).mean()


@pytest.mark.parametrize("kind", ["torchao-int8", "quanto-int8", "gguf"])
def test_weights_in_8_bits_make_nearly_the_same_picture(folders, plain, gguf_file, kind):
    file = {"gguf": str(gguf_file)} if kind == "gguf" else {}
    few = NeuralSynthesizer(folders, settings(quantisation=kind, **file))
    found, expected = few(job()), plain(job())
    assert 0 < difference(found[0], expected[0]) < 6
    assert difference(plain(job(seed=2))[0], expected[0]) > 15  # which is what another picture is
    np.testing.assert_array_equal(few(job())[0], found[0])
    (before, after) = (entry[3].models["flux.1-fill"]["bytes"] for entry in (expected, found))
    assert after["transformer"] < 0.3 * before["transformer"]
    assert after["vae"] == before["vae"]
    assert (after["text_encoder_2"] < before["text_encoder_2"]) == (kind != "gguf")  # the file has no T5
    assert found[3].facts["quantisation"] == found[3].models["flux.1-fill"]["quantisation"] == kind


def test_bytes_are_those_of_the_tensors_that_weights_are_made_of(folders):
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    network = nn.Sequential(nn.Linear(64, 32), nn.LayerNorm(32))
    assert real_bytes(network) == 4 * (64 * 32 + 32 + 2 * 32)
    quantize_(network, Int8WeightOnlyConfig())
    scales = (4 + 1) * 32  # and zero points, one a row
    assert real_bytes(network) == 64 * 32 + scales + 4 * (32 + 2 * 32)
    tied = nn.ModuleList([network[1], network[1]])
    assert real_bytes(tied) == 4 * 2 * 32


def test_a_gguf_file_that_cannot_be_used(folders, tmp_path):
    state = FluxTransformer2DModel.from_pretrained(folders["checkpoint"], subfolder="transformer").state_dict()

    def refused(name, words):
        with pytest.raises(CheckpointError, match=words) as error:
            NeuralSynthesizer(folders, settings(quantisation="gguf", gguf=str(tmp_path / name)))
        assert str(tmp_path) not in str(error.value)

    rest = {key: value for key, value in state.items() if key != "transformer_blocks.0.attn.norm_q.weight"}
    write_gguf(tmp_path / "cut.gguf", rest)
    refused("cut.gguf", r"cut.gguf lacks 1 tensor\(s\): transformer_blocks.0.attn.norm_q.weight; accepted")
    write_gguf(tmp_path / "other.gguf", {"blk.0.attn_q.weight": state["proj_out.bias"]})
    refused("other.gguf", r"other.gguf lacks 80 tensor\(s\): .* and 77 more")
    (tmp_path / "no.gguf").write_bytes(b"nothing of the kind" * 100)
    refused("no.gguf", "transformer in no.gguf cannot be loaded")


def test_the_folder_needs_no_weights_of_a_transformer_that_a_gguf_file_has(folders, gguf_file, tmp_path):
    bare = shutil.copytree(folders["checkpoint"], tmp_path / "bare")
    for file in (bare / "transformer").glob("*.safetensors*"):
        file.unlink()
    found = NeuralSynthesizer(
        {"checkpoint": bare, "gguf": gguf_file}, settings(identity="none", quantisation="gguf", gguf="elsewhere.gguf")
    )
    assert found(job(steps=1))[0].shape == (80, 96, 3)


@pytest.mark.parametrize("quantisation", ["none", "torchao-int8"])
def test_groups_that_wait_on_the_host_change_nothing(folders, quantisation):
    whole, groups = (
        NeuralSynthesizer(folders, settings(quantisation=quantisation, offload=offload))
        for offload in ("none", "group")
    )
    found = groups(job())
    np.testing.assert_array_equal(found[0], whole(job())[0])
    assert "offload group brings nothing on a CPU." in found[3].warnings
    other = job(Box(2, 3, 60, 44), seed=3)
    np.testing.assert_array_equal(groups(other)[0], whole(other)[0])


class Stop(Exception):
    pass


def test_networks_that_wait_on_the_host_change_nothing_and_come_back_after_a_stop(folders, plain):
    """Accelerate's hooks, between a CPU and itself: the order of things is the same as with a GPU."""
    waiting = FluxFill(folders, settings(), Holding("cpu", torch.float32, offload="model"), lambda _: None)
    told = []

    def paint(asked):
        return waiting(asked, asked.seed, Watch(asked)).pixels

    def check():
        if told and told[-1].step == 2:
            raise Stop

    first = paint(job(preview_every=2))
    np.testing.assert_allclose(first.astype(int), plain(job())[0], atol=1)  # weights lie elsewhere in memory
    with pytest.raises(Stop):
        paint(job(preview_every=1, check=check, on_progress=told.append))
    assert waiting._pipe._all_hooks  # put on again
    np.testing.assert_array_equal(paint(job()), first)


def test_the_vae_by_tiles_is_the_same_up_to_a_tile(folders, plain):
    tiled = NeuralSynthesizer(folders, settings(vae_tiling=True))
    assert tiled._paint._pipe.vae.use_tiling
    assert not plain._paint._pipe.vae.use_tiling
    np.testing.assert_array_equal(tiled(job())[0], plain(job())[0])
    wide = {"resolution": 1088, "identity": "none"}
    asked = job(Box(0, 0, 16, 1088), steps=1)
    one, several = (
        NeuralSynthesizer(folders, settings(vae_tiling=tiling, **wide))(asked)[0] for tiling in (False, True)
    )
    assert 0 < difference(one, several) < 20  # the tiles are blended
