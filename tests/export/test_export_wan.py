"""Random checkpoints of Wan: on disk like published ones, in behaviour like a network that was initialised."""

import json
import shutil
from collections import namedtuple

import pytest
import torch
from diffusers import WanPipeline
from safetensors.torch import load_file
from transformers import AutoTokenizer

from atelier.generation.checkpoint import load_components
from export.errors import ExportError
from export.wan.synthetic import RandomWeights, networks, write, write_pth, write_shards

TOKENIZER = ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
SHARDS = [f"diffusion_pytorch_model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
INDEX = "diffusion_pytorch_model.safetensors.index.json"


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wan")
    for layout in ("diffusers", "original"):
        write("tiny", folder / layout, 0, layout)
    return folder


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def weights(folder):
    """All tensors by component and name."""
    components = load_components(folder)
    return {
        f"{part}/{name}": value
        for part in ("text_encoder", "transformer", "vae")
        for name, value in getattr(components, part).state_dict().items()
    }


def test_the_command_writes_diffusers_layout(run, tmp_path):
    status, out, err = run("synthetic", "wan", "--output", tmp_path / "deep" / "wan")
    assert (status, err) == (0, "")
    assert out.endswith("a random wan, tiny, seed 0\n")
    assert files(tmp_path / "deep" / "wan") == sorted(
        [
            *("model_index.json", "scheduler/scheduler_config.json", "vae/config.json"),
            *(f"tokenizer/{name}" for name in TOKENIZER),
            *(f"transformer/{name}" for name in ["config.json", INDEX, *SHARDS]),
            *("text_encoder/config.json", "text_encoder/model.safetensors.index.json"),
            *(f"text_encoder/model-0000{number}-of-00002.safetensors" for number in (1, 2)),
            "vae/diffusion_pytorch_model.safetensors",
        ]
    )


def test_the_command_writes_the_original_layout(run, tmp_path):
    status, out, err = run("synthetic", "wan", "--layout", "original", "--seed", 7, "--output", tmp_path / "wan")
    assert (status, err) == (0, "")
    assert out.endswith("a random wan, tiny, seed 7\n")
    assert files(tmp_path / "wan") == sorted(
        [
            *("config.json", INDEX, *SHARDS, "models_t5_umt5-xxl-enc-bf16.pth", "Wan2.2_VAE.pth"),
            *(f"google/umt5-xxl/{name}" for name in TOKENIZER),
        ]
    )
    assert all(path.stat().st_mode & 0o004 for path in (tmp_path / "wan").rglob("*"))


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_a_layout_is_wans_alone(run, tmp_path, layout):
    status, _, err = run("synthetic", "lama", "--layout", layout, "--output", tmp_path / "lama")
    assert status == 2
    assert "--layout goes with wan." in err
    assert not files(tmp_path)


def test_the_original_files_have_the_published_names_of_tensors(layouts):
    folder = layouts / "original"
    index = json.loads((folder / INDEX).read_text())
    assert index["weight_map"].keys() == {name for shard in SHARDS for name in load_file(folder / shard)}
    assert index["metadata"]["total_size"] == sum(
        value.nbytes for shard in SHARDS for value in load_file(folder / shard).values()
    )
    assert {"patch_embedding.weight", "time_projection.1.bias", "head.modulation", "head.head.weight"} <= index[
        "weight_map"
    ].keys()
    assert {"blocks.2.modulation", "blocks.2.norm3.bias", "blocks.0.self_attn.norm_q.weight"} <= index[
        "weight_map"
    ].keys()
    text = torch.load(folder / "models_t5_umt5-xxl-enc-bf16.pth", weights_only=True)
    assert {"token_embedding.weight", "blocks.0.ffn.gate.0.weight", "norm.weight"} <= text.keys()
    assert len(text) == 2 + 2 * 10
    vae = torch.load(folder / "Wan2.2_VAE.pth", weights_only=True)
    assert {"conv1.weight", "encoder.downsamples.1.downsamples.1.time_conv.weight", "decoder.head.2.bias"} <= vae.keys()
    config = json.loads((folder / "config.json").read_text())
    assert (config["_class_name"], config["model_type"], config["dim"], config["num_heads"]) == (
        "WanModel", "ti2v", 24, 2,
    )  # fmt: skip


def test_the_seed_decides_and_the_layout_does_not(layouts, tmp_path):
    state = torch.get_rng_state()
    write("tiny", tmp_path / "same", 0)
    write("tiny", tmp_path / "other", 1, "original")
    assert torch.equal(torch.get_rng_state(), state)
    first, original, same, other = (
        weights(folder)
        for folder in (layouts / "diffusers", layouts / "original", tmp_path / "same", tmp_path / "other")
    )
    for name, value in first.items():
        assert torch.equal(value, original[name])
        assert torch.equal(value, same[name])
        assert not torch.equal(value, other[name]), name  # no tensor is a constant, so that mixing them up shows


def test_diffusers_reads_it_and_its_videos_are_spread(layouts):
    pipeline = WanPipeline.from_pretrained(layouts / "diffusers", dtype=torch.float32)
    assert pipeline.config.expand_timesteps
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(42)
    size = {"height": 64, "width": 96, "num_frames": 9, "num_inference_steps": 3, "output_type": "np"}
    video = pipeline("고양이", guidance_scale=5.0, generator=generator, **size).frames
    assert video.shape == (1, 9, 64, 96, 3)
    assert 0.3 < video.mean() < 0.7
    assert 0.05 < video.std() < 0.4


def test_the_tokenizer_has_tokens_for_every_language(layouts):
    tokenizer = AutoTokenizer.from_pretrained(str(layouts / "diffusers" / "tokenizer"), local_files_only=True)
    for text in ("고양이가 걷는다", "a cat, walking", "色调艳丽，过曝", "🐈"):
        tokens = tokenizer(text).input_ids
        assert tokenizer.unk_token_id not in tokens
        assert tokens[-1] == tokenizer.eos_token_id == 1
        assert tokenizer.decode(tokens, skip_special_tokens=True) == text
    assert tokenizer.pad_token_id == 0
    assert tokenizer("가").input_ids != tokenizer("나").input_ids


def test_the_full_size_is_the_published_models():
    modules = networks("full")
    numbers = {
        name: sum(value.numel() for key, value in module.state_dict().items() if key != "encoder.embed_tokens.weight")
        for name, module in modules.items()
    }
    # Wan2.2_VAE.pth is published with 2,818,839,170 bytes: 4 a parameter, and 431 a tensor of packaging.
    assert numbers == {"text_encoder": 5_680_910_336, "transformer": 4_999_787_712, "vae": 704_688_668}
    assert len(modules["transformer"].state_dict()) == 825
    assert modules["transformer"].config.num_attention_heads * modules["transformer"].config.attention_head_dim == 3072
    assert (modules["vae"].config.scale_factor_spatial, modules["vae"].config.scale_factor_temporal) == (16, 4)
    assert all(parameter.is_meta for module in modules.values() for parameter in module.parameters())


def test_shards_have_a_limit_and_a_pth_the_same_tensors(tmp_path):
    module = networks("tiny")["transformer"]
    made = RandomWeights("transformer", module, torch.bfloat16, 3)
    write_shards(tmp_path, "model", made, 20_000)
    found = {}
    for file in sorted(tmp_path.glob("model-*.safetensors")):
        shard = load_file(file)
        assert sum(value.nbytes for value in shard.values()) <= 20_000
        found |= shard
    assert {value.dtype for value in found.values()} == {torch.bfloat16}
    write_pth(tmp_path / "model.pth", made)
    state = torch.load(tmp_path / "model.pth", weights_only=True)
    assert list(state) == list(module.state_dict())
    assert all(torch.equal(state[name], value) for name, value in found.items())
    assert not list(tmp_path.glob("*.unfinished"))


def test_nothing_is_written_over_what_is_there(run, layouts, tmp_path):
    shutil.copytree(layouts / "original", tmp_path / "wan")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "wan").rglob("*")}
    status, _, err = run("synthetic", "wan", "--output", tmp_path / "wan")
    assert (status, err.count("\n")) == (1, 1)
    assert "is not empty" in err
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "wan").rglob("*")}
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="file cannot be written: "):
        write("tiny", tmp_path / "file", 0)


def test_a_disk_without_room_is_told_before_anything_is_written(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")(30 * 10**9, 10 * 10**9, 20 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ExportError, match=r"room for 20.0 GB; the checkpoint needs 24.2 GB"):
        write("full", tmp_path / "wan", 0)
    assert not files(tmp_path)
