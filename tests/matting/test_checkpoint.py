"""Checkpoints and LoRA files: every layout that was seen, and what is wrong with others."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from atelier.matting import CheckpointError, MattingPipeline, MattingSettings
from atelier.matting import lora as adapters
from atelier.matting.checkpoint import load
from tests.golden.gvm.cases import frames

SETTINGS = MattingSettings(size=96, max_resolution=128, num_frames_per_batch=4, num_overlap_frames=1)


@pytest.fixture
def base(checkpoints, tmp_path):
    """A copy of the svd checkpoint, to be spoilt."""
    return shutil.copytree(checkpoints / "ckpt", tmp_path / "weights")


def weights_file(base):
    return base / "unet" / "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize("part", ["ckpt_dav", "ckpt_dav/unet"])
def test_the_network_may_lie_elsewhere_with_or_without_its_folder(checkpoints, part):
    assert load(checkpoints / "ckpt", checkpoints / part).unet.kind == "dav"


def test_the_type_is_told_by_the_weights_and_a_contradiction_refused(checkpoints):
    with pytest.raises(CheckpointError, match="pretrain_type is dav, but the weights in unet are of type svd"):
        MattingPipeline.from_pretrained(checkpoints / "ckpt")
    with pytest.raises(CheckpointError, match="pretrain_type is svd, but the weights in unet are of type dav"):
        load(checkpoints / "ckpt", checkpoints / "ckpt_dav", pretrain_type="svd")
    with pytest.raises(CheckpointError, match="accepted: svd or dav"):
        load(checkpoints / "ckpt", pretrain_type="sdxl")


def test_shards_and_the_fp16_variant_are_read(base):
    file = weights_file(base)
    whole, weights = load(base, pretrain_type="svd"), load_file(file)
    file.unlink()
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, chosen in parts.items():
        save_file({name: weights[name] for name in chosen}, file.with_name(part))
    index = {"weight_map": {name: part for part, chosen in parts.items() for name in chosen}}
    file.with_name(f"{file.name}.index.json").write_text(json.dumps(index))
    sharded = load(base, pretrain_type="svd")
    for name, value in whole.unet.state_dict().items():
        assert torch.equal(value, sharded.unet.state_dict()[name])
    file.with_name("b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"unet/b\.safetensors, which the index names, is missing"):
        load(base)
    save_file({name: value.half() for name, value in weights.items()}, file.with_name(f"{file.stem}.fp16.safetensors"))
    assert load(base).unet.conv_in.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("unet/config.json", "unet/config.json is missing"),
        ("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors is missing"),
        ("vae/config.json", "vae/config.json is missing"),
        ("vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors is missing"),
        ("scheduler/scheduler_config.json", "scheduler/scheduler_config.json is missing"),
    ],
)
def test_a_missing_file_is_named(base, missing, words):
    (base / missing).unlink()
    with pytest.raises(CheckpointError, match=words):
        load(base)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="There is no folder weights") as error:
        load(tmp_path / "weights")
    assert str(tmp_path) not in str(error.value)


def spoil_config(base):
    (base / "unet" / "config.json").write_text("{")


def spoil_channels(base):
    file = base / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"in_channels": 4}))


def spoil_heads(base):
    file = base / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_attention_heads": [2]}))


def cut(base):
    file = weights_file(base)
    file.write_bytes(file.read_bytes()[:10000])


def change(**changes):
    def spoil(base):
        weights = load_file(weights_file(base))
        for name, value in changes.items():
            key = name.replace("__", ".")
            if value is None:
                del weights[key]
            else:
                weights[key] = value
        save_file(weights, weights_file(base))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_config, "cannot be read as JSON"),
        (spoil_channels, "4 and 4 channels"),
        (spoil_heads, "does not describe a network"),
        (cut, "cannot be read"),
        (change(conv_in__bias=None), r"lacks 1 tensor\(s\): conv_in.bias"),
        (change(conv_extra__bias=torch.zeros(3)), r"unexpected 1 tensor\(s\): conv_extra.bias"),
        (change(conv_in__bias=torch.zeros(3)), "wrong shapes of 1"),
        (change(conv_in__bias=torch.full((32,), torch.nan)), "not finite in 1"),
    ],
)
def test_a_spoilt_checkpoint_is_refused_in_one_sentence(base, spoil, words):
    spoil(base)
    with pytest.raises(CheckpointError, match=words) as error:
        load(base)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def adapter(checkpoints):
    folder = checkpoints / "ckpt" / "unet"
    return (folder / "adapter_config.json").read_text(), torch.load(
        folder / "pytorch_lora_weights.pt", weights_only=True
    )


def write(folder, name, config, state):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(config)
    file = folder / name
    save_file(state, file) if file.suffix == ".safetensors" else torch.save(state, file)
    return file


@pytest.mark.parametrize("name", adapters.FILES)
@pytest.mark.parametrize("prefix", ["model.", "base_model.model.", "", "unet."])
def test_every_layout_of_a_lora_comes_to_the_same(checkpoints, adapter, tmp_path, name, prefix):
    config, state = adapter
    renamed = {prefix + key.removeprefix("model."): value.contiguous() for key, value in state.items()}
    file = write(tmp_path, name, config, renamed)
    expected = load(checkpoints / "ckpt", None, checkpoints / "ckpt" / "unet")
    for given in (tmp_path, file):
        found = load(checkpoints / "ckpt", None, given)
        assert found.lora.modules == expected.lora.modules == 50
        assert found.lora.change == pytest.approx(expected.lora.change)
        assert found.lora.change > 0
        for key, value in expected.unet.state_dict().items():
            assert torch.equal(value, found.unet.state_dict()[key])


def test_a_lora_is_added_scaled_by_alpha_over_rank(checkpoints, adapter):
    _, state = adapter
    plain, merged = load(checkpoints / "ckpt"), load(checkpoints / "ckpt", None, checkpoints / "ckpt" / "unet")
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    down, up = (state[f"model.{layer}.lora_{part}.weight"].double() for part in "AB")
    expected = plain.unet.state_dict()[f"{layer}.weight"].double() + 2 / 4 * up @ down
    torch.testing.assert_close(merged.unet.state_dict()[f"{layer}.weight"].double(), expected, atol=1e-6, rtol=0)


def test_a_folder_without_a_lora_is_a_warning(checkpoints, tmp_path):
    pipeline = MattingPipeline.from_pretrained(checkpoints / "ckpt", None, tmp_path, "svd")
    (warning,) = pipeline.warnings
    assert warning.startswith("No LoRA was applied")
    alpha = pipeline(frames("clip12.mkv")[:4], SETTINGS)
    plain = MattingPipeline.from_pretrained(checkpoints / "ckpt", pretrain_type="svd")
    assert plain.warnings == ()
    np.testing.assert_array_equal(alpha, plain(frames("clip12.mkv")[:4], SETTINGS))


def test_a_lora_that_is_not_there_is_an_error(checkpoints, tmp_path):
    with pytest.raises(CheckpointError, match="There is no LoRA nowhere"):
        load(checkpoints / "ckpt", None, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("config", "state", "words"),
    [
        ({}, {"other.lora_A.weight": torch.ones(4, 8), "other.lora_B.weight": torch.ones(8, 4)}, "another network"),
        ({}, {"conv_in.lora_A.weight": torch.ones(4, 8, 3, 3)}, "only one of"),
        ({}, {"conv_in.weight": torch.ones(4, 8, 3, 3)}, "no part of a LoRA"),
        ({}, {}, "no tensors"),
        ({}, {"conv_in.lora_A.weight": torch.ones(4, 9), "conv_in.lora_B.weight": torch.ones(32, 4)}, "does not fit"),
        ({}, {"conv_in.lora_A.weight": torch.ones(4, 72), "conv_in.lora_B.weight": torch.ones(32, 2)}, "do not fit"),
        (
            {},
            {"conv_in.lora_A.weight": torch.full((4, 72), torch.inf), "conv_in.lora_B.weight": torch.ones(32, 4)},
            "not finite",
        ),
        ({"use_dora": True}, {"conv_in.lora_A.weight": torch.ones(4, 72)}, "use_dora"),
        ({"lora_alpha": None}, {"conv_in.lora_A.weight": torch.ones(4, 72)}, "no lora_alpha"),
    ],
)
def test_a_lora_that_does_not_fit_is_refused(checkpoints, adapter, tmp_path, config, state, words):
    changed = json.dumps(json.loads(adapter[0]) | config)
    write(tmp_path, "pytorch_lora_weights.pt", changed, state)
    with pytest.raises(CheckpointError, match=words):
        load(checkpoints / "ckpt", None, tmp_path)


def test_a_lora_without_its_settings_or_broken_is_refused(checkpoints, adapter, tmp_path):
    file = write(tmp_path, "unet_lora.pt", *adapter)
    file.write_bytes(b"no pickle")
    with pytest.raises(CheckpointError, match=r"unet_lora\.pt cannot be read"):
        load(checkpoints / "ckpt", None, file)
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(CheckpointError, match="adapter_config.json is missing"):
        load(checkpoints / "ckpt", None, file)


def test_precision_and_device_are_checked(checkpoints):
    with pytest.raises(ValueError, match="fp32 or fp16"):
        MattingPipeline.from_pretrained(checkpoints / "ckpt", pretrain_type="svd", precision="int8")
    with pytest.raises(ValueError, match="cannot be used"):
        MattingPipeline.from_pretrained(checkpoints / "ckpt", pretrain_type="svd", device="cuda")
