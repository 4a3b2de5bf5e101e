"""BiRefNet: its parts against slow or foreign ones, its names against the published files', its folders."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import SwinBackbone, SwinConfig

from atelier.compositing.neural.birefnet import Remover
from atelier.compositing.neural.birefnet_network import BiRefNet, Shape, deformed, folded
from atelier.compositing.neural.swin import Swin, apart, joined, offsets, windows_of
from atelier.errors import CheckpointError

LITE = Shape(width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7)
SMALL = Shape(8, (2, 2, 2, 2), (1, 2, 2, 4), window=4, inner=8, branch=8, picture=4, gate=4)


def bilinear(plane, row, column):
    """A value between pixels, 0 outside."""
    total = 0.0
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if 0 <= r < plane.shape[0] and 0 <= c < plane.shape[1]:
                total += float(plane[r, c]) * (1 - abs(row - r)) * (1 - abs(column - c))
    return total


@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_deformable_convolution_is_its_definition(size):
    torch.manual_seed(size)
    batch, channels, outputs, height, width = 2, 2, 3, 5, 6
    x = torch.randn(batch, channels, height, width)
    weight = torch.randn(outputs, channels, size, size)
    offset = 2 * torch.randn(batch, 2 * size * size, height, width)  # some taps leave the picture
    modulation = torch.rand(batch, size * size, height, width)
    expected = torch.zeros(batch, outputs, height, width)
    for b, o, i, j in np.ndindex(batch, outputs, height, width):
        for tap in range(size * size):
            row = i + tap // size - size // 2 + float(offset[b, 2 * tap, i, j])
            column = j + tap % size - size // 2 + float(offset[b, 2 * tap + 1, i, j])
            for c in range(channels):
                value = bilinear(x[b, c], row, column) * float(modulation[b, tap, i, j])
                expected[b, o, i, j] += float(weight[o, c, tap // size, tap % size]) * value
    found = deformed(x, offset, weight, modulation, size // 2)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_without_offsets_it_is_a_convolution():
    x, weight = torch.randn(1, 3, 9, 7), torch.randn(4, 3, 7, 7)
    found = deformed(x, torch.zeros(1, 98, 9, 7), weight, torch.ones(1, 49, 9, 7), 3)
    torch.testing.assert_close(found, functional.conv2d(x, weight, padding=3), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("order", ["channels", "columns"])
def test_a_folded_picture_has_its_squares_in_order(order):
    x = torch.arange(2 * 3 * 8 * 12).float().view(2, 3, 8, 12)
    found = folded(x, torch.zeros(2, 1, 2, 4), order)  # a grid of 4 rows and 3 columns
    assert found.shape == (2, 36, 2, 4)
    for colour, row, column in np.ndindex(3, 4, 3):
        channel = colour * 12 + row * 3 + column if order == "channels" else (column * 4 + row) * 3 + colour
        square = x[:, colour, 2 * row : 2 * row + 2, 4 * column : 4 * column + 4]
        assert torch.equal(found[:, channel], square)


def test_windows_come_apart_and_together():
    x = torch.randn(2, 6, 9, 5)
    windows = windows_of(x, 3)
    assert windows.shape == (2 * 6, 9, 5)
    assert torch.equal(windows[1].view(3, 3, 5), x[0, :3, 3:6])
    assert torch.equal(joined(windows, 3, 6, 9), x)


def test_a_shifted_window_sees_its_neighbours_alone():
    height, width, size, shift = 8, 12, 4, 2
    mask = apart(height, width, size, shift, torch.device("cpu")).view(2, 3, 16, 16)
    for down, right, one, other in np.ndindex(2, 3, 16, 16):
        places = [(down * size + token // size, right * size + token % size) for token in (one, other)]
        before = [((row + shift) % height, (column + shift) % width) for row, column in places]
        near = all(abs(before[0][axis] - before[1][axis]) < size for axis in (0, 1))
        assert (mask[down, right, one, other] == 0) == near


def test_the_bias_is_one_of_distance():
    index = offsets(3)
    assert index.shape == (9, 9)
    assert index.unique().numel() == 25
    assert index[4, 4] == index[0, 0] == 12
    assert index[0, 8] == 0
    assert index[8, 0] == 24
    assert index[0, 1] == index[4, 5] != index[1, 0]


def foreign_name(name):
    """Transformers' name of one of Swin's parameters."""
    if name.startswith("norm"):
        return f"hidden_states_norms.stage{int(name[4]) + 1}{name[5:]}"
    for ours, theirs in (
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("patch_embed.norm", "embeddings.norm"),
        ("layers.", "encoder.layers."),
        ("attn.relative_position_bias_table", "attention.relative_position_bias.relative_position_bias_table"),
        ("attn.proj", "attention.o_proj"),
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
    ):
        if ".downsample." not in name or ours == "layers.":
            name = name.replace(ours, theirs)
    return f"swin.{name}"


@pytest.mark.parametrize("height, width", [(128, 128), (144, 176)])
def test_swin_is_transformers(height, width):
    """The second size needs padding at every scale."""
    torch.manual_seed(0)
    ours = Swin(8, (2, 2, 2, 2), (1, 2, 2, 4), 4).eval()
    state = {}
    for name, value in ours.state_dict().items():
        if name.endswith("relative_position_index"):
            continue
        value = torch.randn_like(value) * 0.3
        ours.get_parameter(name).data.copy_(value)
        if ".qkv." in name:
            for part, one in zip("qkv", value.chunk(3), strict=True):
                state[foreign_name(name).replace("attn.qkv", f"attention.{part}_proj")] = one
        else:
            state[foreign_name(name)] = value
    config = SwinConfig(
        image_size=128, embed_dim=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    theirs = SwinBackbone(config).eval()
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) == {"swin.layernorm.weight", "swin.layernorm.bias"}  # of a classifier
    x = torch.randn(2, 3, height, width)
    with torch.inference_mode():
        for one, other in zip(ours(x), theirs(x).feature_maps, strict=True):
            torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("shape, millions", [(Shape(), 220.18), (LITE, 44.31)])
def test_the_network_is_as_large_as_the_published_ones(shape, millions):
    with init_empty_weights(include_buffers=False):
        network = BiRefNet(shape)
    state = network.state_dict()
    assert sum(value.numel() for value in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    if shape == Shape():
        # BiRefNet's file is published with 444 MB: 2 bytes a weight, 8 an index.
        size = sum(value.numel() * (2 if value.is_floating_point() else 8) for value in state.values())
        assert size / 1e6 == pytest.approx(444.4, abs=0.1)
    assert {
        "bb.patch_embed.norm.weight", "bb.layers.2.blocks.1.attn.relative_position_index", "bb.norm3.bias",
        "bb.layers.0.downsample.reduction.weight", "squeeze_module.0.dec_att.aspp1.atrous_conv.offset_conv.bias",
        "squeeze_module.0.dec_att.aspp_deforms.2.atrous_conv.regular_conv.weight", "decoder.ipt_blk5.conv1.weight",
        "squeeze_module.0.dec_att.global_avg_pool.2.running_var", "decoder.decoder_block1.dec_att.bn1.weight",
        "decoder.gdt_convs_4.1.num_batches_tracked", "decoder.gdt_convs_attn_2.0.bias", "decoder.conv_out1.0.weight",
        "decoder.gdt_convs_pred_3.0.weight", "decoder.conv_ms_spvn_4.weight", "decoder.lateral_block2.conv.bias",
    } <= state.keys()  # fmt: skip
    assert not [name for name in state if "aspp_deforms.0.atrous_conv.regular_conv.bias" in name]
    assert state["decoder.ipt_blk5.conv1.weight"].shape[:2] == (64, 3072)
    assert state["squeeze_module.0.conv_in.weight"].shape[1] == 30 * shape.width


def test_a_pixels_answer_depends_on_far_ones_and_on_the_picture_itself():
    torch.manual_seed(1)
    network = BiRefNet(SMALL).eval()
    x = torch.randn(1, 3, 64, 128)
    other = x.clone()
    other[..., 100:] += 1
    with torch.inference_mode():
        first, second = network(x), network(other)
    assert first.shape == (1, 1, 64, 128)
    assert not torch.allclose(first[..., :20], second[..., :20])


def copied(tiny, tmp_path, **config):
    folder = tmp_path / "birefnet"
    shutil.copytree(tiny / "birefnet", folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return folder


def test_alphas_have_the_pictures_size_and_are_the_same_again(tiny, picture):
    remover = Remover(tiny / "birefnet", "birefnet", "cpu")
    assert remover.side == 128
    assert remover.loaded["birefnet"].host > 0
    assert remover.facts["licence"] == "MIT"
    alpha = remover(picture)
    assert (alpha.shape, alpha.dtype) == ((91, 140), np.uint8)
    assert alpha.min() < 64 < 192 < alpha.max()
    np.testing.assert_array_equal(alpha, Remover(tiny / "birefnet", "birefnet", "cpu")(picture))
    for height, width in ((1, 1), (3, 500), (400, 2)):
        assert remover(np.zeros((height, width, 3), np.uint8)).shape == (height, width)


def test_the_folders_code_is_not_run_and_says_how_pictures_are_stacked(tiny, tmp_path, picture):
    with pytest.raises(RuntimeError, match="was run"):
        exec((tiny / "birefnet" / "birefnet.py").read_text())
    folder = copied(tiny, tmp_path)
    by_channels = Remover(folder, "birefnet", "cpu")
    (folder / "birefnet.py").write_text("x = self.get_patches_batch(x, p)\nraise SystemExit\n")
    by_columns = Remover(folder, "rmbg", "cpu")
    assert (by_channels.facts["patch_order"], by_columns.facts["patch_order"]) == ("channels", "columns")
    assert by_columns.facts["licence"] == "CC BY-NC 4.0"
    assert not np.array_equal(by_channels(picture), by_columns(picture))


def test_the_settings_win_over_the_code(tiny, tmp_path):
    folder = copied(tiny, tmp_path, patch_order="columns", input_size=192)
    (folder / "birefnet.py").unlink()
    remover = Remover(folder, "birefnet", "cpu")
    assert (remover.facts["patch_order"], remover.side) == ("columns", 192)


def test_half_precision_files_are_taken(tiny, tmp_path, picture):
    folder = copied(tiny, tmp_path)
    state = {n: v.half() if v.is_floating_point() else v for n, v in load_file(folder / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors")
    difference = Remover(folder, "birefnet", "cpu")(picture).astype(int) - Remover(
        tiny / "birefnet", "birefnet", "cpu"
    )(picture)
    assert 0 < np.abs(difference).max() < 40


@pytest.mark.parametrize(
    "config, sentence",
    [
        ({"architectures": ["U2Net"]}, r"describes a \['U2Net'\]; accepted: BiRefNet"),
        ({"input_size": 100}, "input_size 100; accepted: multiples of 64"),
        ({"input_size": "1024"}, "accepted: multiples of 64"),
        ({"patch_order": "rows"}, "patch_order 'rows'; accepted: channels, columns"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(tiny, tmp_path, config, sentence):
    with pytest.raises(CheckpointError, match=sentence) as refused:
        Remover(copied(tiny, tmp_path, **config), "birefnet", "cpu")
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("code", [None, "nothing of the kind", "get_patches_batch image2patches"])
def test_an_order_that_nobody_says_is_not_guessed(tiny, tmp_path, code):
    folder = copied(tiny, tmp_path)
    (folder / "birefnet.py").unlink()
    if code is not None:
        (folder / "birefnet.py").write_text(code)
    with pytest.raises(CheckpointError, match="patch_order"):
        Remover(folder, "birefnet", "cpu")


def test_other_files_are_refused_by_name(tiny, tmp_path):
    with pytest.raises(CheckpointError, match="There is no folder nothing, which is to hold RMBG-2.0"):
        Remover(tmp_path / "nothing", "rmbg", "cpu")
    folder = copied(tiny, tmp_path)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"birefnet/model.safetensors cannot be read"):
        Remover(folder, "birefnet", "cpu")
    shutil.copy(tiny / "sam2" / "model.safetensors", weights)
    with pytest.raises(CheckpointError, match="holds no BiRefNet with a Swin transformer"):
        Remover(folder, "birefnet", "cpu")
    state = load_file(tiny / "birefnet" / "model.safetensors")
    save_file({n: v for n, v in state.items() if n != "decoder.lateral_block3.conv.bias"}, weights)
    with pytest.raises(CheckpointError, match=r"lacks 1 tensor\(s\): decoder.lateral_block3.conv.bias"):
        Remover(folder, "birefnet", "cpu")
    save_file(state | {"cls_head.0.weight": torch.zeros(3)}, weights)
    with pytest.raises(CheckpointError, match=r"has unexpected 1 tensor\(s\): cls_head.0.weight"):
        Remover(folder, "birefnet", "cpu")
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"lacks 1 file\(s\): model.safetensors"):
        Remover(folder, "birefnet", "cpu")
