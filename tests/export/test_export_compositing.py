"""Random Qwen2-VL, SAM 2 and BiRefNet: on disk like the published ones, and taken by who takes those."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration, Sam2Model, Sam2VideoModel

from export.compositing import networks
from export.compositing.synthetic import write_birefnet, write_qwen2_vl, write_sam2
from export.errors import ExportError

WRITERS = {"qwen2-vl": write_qwen2_vl, "sam2": write_sam2, "birefnet": write_birefnet}
FILES = {
    "qwen2-vl": [
        *("chat_template.json", "config.json", "generation_config.json", "model-00001-of-00002.safetensors"),
        *("model-00002-of-00002.safetensors", "model.safetensors.index.json", "preprocessor_config.json"),
        *("tokenizer.json", "tokenizer_config.json"),
    ],
    "sam2": ["config.json", "model.safetensors", "preprocessor_config.json"],
    "birefnet": ["BiRefNet_config.py", "birefnet.py", "config.json", "model.safetensors"],
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    for name, write in WRITERS.items():
        write("tiny", folder / name, 0)
    return folder


def tensors(folder):
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


@pytest.mark.parametrize("name", WRITERS)
def test_the_command_writes_the_published_files(run, tmp_path, name):
    status, out, err = run("synthetic", name, "--seed", 5, "--output", tmp_path / "deep" / name)
    assert (status, err) == (0, "")
    assert out.endswith(f"a random {name}, tiny, seed 5\n")
    assert sorted(file.name for file in (tmp_path / "deep" / name).iterdir()) == sorted(FILES[name])
    assert all(file.stat().st_mode & 0o004 for file in (tmp_path / "deep" / name).iterdir())


@pytest.mark.parametrize("name", WRITERS)
def test_the_seed_decides(tiny, tmp_path, name):
    state = torch.get_rng_state()
    WRITERS[name]("tiny", tmp_path / "same", 0)
    WRITERS[name]("tiny", tmp_path / "other", 1)
    assert torch.equal(torch.get_rng_state(), state)
    first, same, other = (tensors(folder) for folder in (tiny / name, tmp_path / "same", tmp_path / "other"))
    assert first.keys() == same.keys() == other.keys()
    for key, value in first.items():
        assert torch.equal(value, same[key])
        assert value.isfinite().all()
        if value.is_floating_point():
            assert not torch.equal(value, other[key]), key


def test_qwen_has_the_flat_settings_and_old_names_of_the_published_one(tiny):
    folder = tiny / "qwen2-vl"
    config = json.loads((folder / "config.json").read_text())
    assert "text_config" not in config
    assert config["model_type"] == "qwen2_vl"
    assert config["rope_scaling"]["type"] == "mrope"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    found = tensors(folder)
    assert index["weight_map"].keys() == found.keys()
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in found.values())
    assert {
        "lm_head.weight", "model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.bias", "model.norm.weight",
        "visual.blocks.0.attn.qkv.weight", "visual.merger.mlp.2.bias", "visual.patch_embed.proj.weight",
    } <= found.keys()  # fmt: skip
    assert not [name for name in found if "language_model" in name]


def test_transformers_takes_qwen_whole(tiny):
    model, info = Qwen2VLForConditionalGeneration.from_pretrained(
        tiny / "qwen2-vl", local_files_only=True, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    found = tensors(tiny / "qwen2-vl")
    assert torch.equal(model.model.visual.merger.ln_q.weight, found["visual.merger.ln_q.weight"])
    assert torch.equal(model.model.language_model.norm.weight, found["model.norm.weight"])
    assert model.generation_config.do_sample
    assert model.generation_config.top_k == 1


def test_qwens_tokenizer_knows_every_language_and_the_networks_tokens(tiny):
    tokenizer = AutoTokenizer.from_pretrained(str(tiny / "qwen2-vl"), local_files_only=True)
    config = json.loads((tiny / "qwen2-vl" / "config.json").read_text())
    for text in ("고양이를 놓아 줘", "a cat, walking\n", "色调艳丽", "🐈"):
        tokens = tokenizer(text).input_ids
        assert tokenizer.decode(tokens) == text
        assert max(tokens) < 256
    for name, word in {
        "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>", "eos_token_id": "<|im_end|>",
        "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
        "bos_token_id": "<|endoftext|>", "vision_token_id": "<|vision_pad|>",
    }.items():  # fmt: skip
        assert tokenizer(word).input_ids == [config[name]]
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.chat_template is None  # as in the published folder, where it lies in a file of its own


def test_qwens_chat_has_the_published_form(tiny):
    tokenizer = AutoTokenizer.from_pretrained(str(tiny / "qwen2-vl"), local_files_only=True)
    template = json.loads((tiny / "qwen2-vl" / "chat_template.json").read_text())["chat_template"]
    content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], chat_template=template, tokenize=False, add_generation_prompt=True
    )
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|image_pad|><|vision_end|>What is it?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_transformers_takes_sam2_for_videos_and_for_pictures(tiny):
    _, info = Sam2VideoModel.from_pretrained(tiny / "sam2", local_files_only=True, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    model, info = Sam2Model.from_pretrained(tiny / "sam2", local_files_only=True, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    shared = model.shared_image_embedding.positional_embedding
    assert torch.equal(shared, model.prompt_encoder.shared_embedding.positional_embedding)


def test_birefnets_indices_are_numbers_and_its_code_says_that_it_was_run(tiny):
    found = tensors(tiny / "birefnet")
    index = found["bb.layers.1.blocks.1.attn.relative_position_index"]
    assert index.dtype == torch.int64
    assert index.unique().numel() == 49
    assert found["squeeze_module.0.bn_in.num_batches_tracked"].dtype == torch.int64
    assert (found["squeeze_module.0.bn_in.running_var"] > 0).all()
    config = json.loads((tiny / "birefnet" / "config.json").read_text())
    assert config["auto_map"]["AutoModelForImageSegmentation"] == "birefnet.BiRefNet"
    for file in ("birefnet.py", "BiRefNet_config.py"):
        with pytest.raises(RuntimeError, match="was run"):
            exec((tiny / "birefnet" / file).read_text())


@pytest.mark.parametrize(
    "make, parameters",
    # Published: Qwen2-VL-7B 8.29 B, SAM 2.1 large 224.4 M, BiRefNet 220 M.
    [(networks.qwen, 8_291_375_616), (networks.sam2, 224_446_642), (networks.birefnet, 220_176_498)],
)
def test_the_full_size_is_the_published_models(make, parameters):
    module = make("full").module
    assert sum(value.numel() for value in module.parameters()) == parameters
    assert all(value.is_meta for value in module.parameters())


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_written_over_what_is_there(run, tiny, tmp_path, name):
    shutil.copytree(tiny / name, tmp_path / name)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / name).rglob("*")}
    status, _, err = run("synthetic", name, "--output", tmp_path / name)
    assert (status, err.count("\n")) == (1, 1)
    assert "is not empty" in err
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / name).rglob("*")}
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="file cannot be written: "):
        WRITERS[name]("tiny", tmp_path / "file", 0)
