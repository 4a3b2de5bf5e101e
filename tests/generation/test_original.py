"""Names and settings of Wan's own files, against what Wan2.2's code says."""

import math

import pytest
import torch
from torch.nn import functional

from atelier.generation import original
from atelier.generation.checkpoint import load_components
from export.wan.synthetic import networks, write

RESIDUAL = {"norm1.gamma": "0.gamma", "conv1.weight": "2.weight", "norm2.gamma": "3.gamma", "conv2.bias": "6.bias"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("shared.weight", "token_embedding.weight"),
        ("encoder.final_layer_norm.weight", "norm.weight"),
        ("encoder.block.23.layer.0.layer_norm.weight", "blocks.23.norm1.weight"),
        ("encoder.block.23.layer.0.SelfAttention.q.weight", "blocks.23.attn.q.weight"),
        ("encoder.block.0.layer.0.SelfAttention.o.weight", "blocks.0.attn.o.weight"),
        (
            "encoder.block.7.layer.0.SelfAttention.relative_attention_bias.weight",
            "blocks.7.pos_embedding.embedding.weight",
        ),
        ("encoder.block.1.layer.1.layer_norm.weight", "blocks.1.norm2.weight"),
        ("encoder.block.1.layer.1.DenseReluDense.wi_0.weight", "blocks.1.ffn.gate.0.weight"),
        ("encoder.block.1.layer.1.DenseReluDense.wi_1.weight", "blocks.1.ffn.fc1.weight"),
        ("encoder.block.1.layer.1.DenseReluDense.wo.weight", "blocks.1.ffn.fc2.weight"),
    ],
)
def test_names_of_the_text_encoder(ours, theirs):
    assert original.text_encoder_name(ours) == theirs


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("quant_conv.weight", "conv1.weight"),
        ("post_quant_conv.bias", "conv2.bias"),
        ("encoder.conv_in.weight", "encoder.conv1.weight"),
        ("decoder.conv_in.bias", "decoder.conv1.bias"),
        ("encoder.norm_out.gamma", "encoder.head.0.gamma"),
        ("decoder.conv_out.weight", "decoder.head.2.weight"),
        ("encoder.mid_block.attentions.0.norm.gamma", "encoder.middle.1.norm.gamma"),
        ("decoder.mid_block.attentions.0.to_qkv.weight", "decoder.middle.1.to_qkv.weight"),
        ("decoder.mid_block.attentions.0.proj.bias", "decoder.middle.1.proj.bias"),
        *(
            (f"{ours}.{part}", f"{theirs}.residual.{their_part}")
            for part, their_part in RESIDUAL.items()
            for ours, theirs in (
                ("encoder.mid_block.resnets.0", "encoder.middle.0"),
                ("decoder.mid_block.resnets.1", "decoder.middle.2"),
                ("encoder.down_blocks.3.resnets.1", "encoder.downsamples.3.downsamples.1"),
                ("decoder.up_blocks.0.resnets.2", "decoder.upsamples.0.upsamples.2"),
            )
        ),
        ("encoder.down_blocks.1.resnets.0.conv_shortcut.weight", "encoder.downsamples.1.downsamples.0.shortcut.weight"),
        ("decoder.up_blocks.3.resnets.0.conv_shortcut.bias", "decoder.upsamples.3.upsamples.0.shortcut.bias"),
        ("encoder.down_blocks.0.downsampler.resample.1.bias", "encoder.downsamples.0.downsamples.2.resample.1.bias"),
        ("encoder.down_blocks.2.downsampler.time_conv.weight", "encoder.downsamples.2.downsamples.2.time_conv.weight"),
        ("decoder.up_blocks.0.upsampler.resample.1.weight", "decoder.upsamples.0.upsamples.3.resample.1.weight"),
        ("decoder.up_blocks.1.upsampler.time_conv.bias", "decoder.upsamples.1.upsamples.3.time_conv.bias"),
    ],
)
def test_names_of_the_vae(ours, theirs):
    assert original.vae_name(ours, num_res_blocks=2) == theirs


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_settings_are_read_off_the_shapes(size):
    modules = networks(size)

    def named(component, name):
        return {name(key): value for key, value in modules[component].state_dict().items()}

    text = modules["text_encoder"].config
    found = original.text_encoder_config(named("text_encoder", original.text_encoder_name), "T5")
    assert {name: getattr(text, name) for name in found} == found
    vae = modules["vae"].config
    tensors = named("vae", lambda name: original.vae_name(name, vae.num_res_blocks))
    found = original.vae_config(tensors, "VAE")
    assert {name: vae[name] for name in found} == found
    assert {name for name in vae if name[0] != "_"} - set(found) == {"attn_scales", "dropout"}
    transformer = modules["transformer"].config
    config = {
        "dim": transformer.num_attention_heads * transformer.attention_head_dim,
        "ffn_dim": transformer.ffn_dim,
        "freq_dim": transformer.freq_dim,
        "in_dim": 48,
        "out_dim": 48,
        "num_heads": transformer.num_attention_heads,
        "num_layers": transformer.num_layers,
    }
    found = original.transformer_config(config, named("transformer", original.transformer_name), "DiT")
    assert {name: transformer[name] for name in found} == found | {"patch_size": (1, 2, 2)}


def buckets(length, count):
    """T5's buckets of relative positions, half of them for what lies ahead; beyond 128 positions all are one."""
    position = torch.arange(length)[None] - torch.arange(length)[:, None]
    half, exact = count // 2, count // 4
    far = exact + (torch.log(position.abs() / exact) / math.log(128 / exact) * (half - exact)).long()
    within = torch.where(position.abs() < exact, position.abs(), far.clamp(max=half - 1))
    return within + (position > 0) * half


def encode(weights, tokens):
    """Wan's T5 encoder from its own tensors: each block has its own position bias; scores are not scaled."""

    def norm(name, x):
        return weights[f"{name}.weight"] * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T

    x = weights["token_embedding.weight"][tokens]
    for block in ("blocks.0", "blocks.1"):
        bias = weights[f"{block}.pos_embedding.embedding.weight"]
        heads = bias.shape[1]
        y = norm(f"{block}.norm1", x)
        q, k, v = (linear(f"{block}.attn.{name}", y).unflatten(-1, (heads, -1)).transpose(0, 1) for name in "qkv")
        scores = q @ k.transpose(1, 2) + bias[buckets(len(tokens), len(bias))].permute(2, 0, 1)
        x = x + linear(f"{block}.attn.o", (scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
        y = norm(f"{block}.norm2", x)
        gate = functional.gelu(linear(f"{block}.ffn.gate.0", y), approximate="tanh")
        x = x + linear(f"{block}.ffn.fc2", linear(f"{block}.ffn.fc1", y) * gate)
    return norm("norm", x)


def test_the_text_encoder_computes_what_wans_does(tmp_path):
    write("tiny", tmp_path / "wan", 0, "original")
    weights = torch.load(tmp_path / "wan" / original.TEXT_ENCODER_FILE, weights_only=True)
    tokens = torch.randint(3, 259, (300,), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = load_components(tmp_path / "wan").text_encoder(tokens[None]).last_hidden_state[0]
        expected = encode(weights, tokens)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.5
