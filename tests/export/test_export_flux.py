"""Random checkpoints of FLUX: on disk like published ones, and read by diffusers' own pipelines."""

import json
import shutil
from collections import namedtuple

import pytest
import torch
from diffusers import Flux2KleinInpaintPipeline, FluxFillPipeline, FluxPriorReduxPipeline
from safetensors import safe_open
from transformers import CLIPTextModel, Qwen3ForCausalLM, SiglipVisionModel, T5EncoderModel

from export.errors import ExportError
from export.flux import networks
from export.flux.synthetic import Weights, write_fill, write_klein, write_redux


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flux")
    write_fill("tiny", folder / "fill", 0)
    write_redux("tiny", folder / "redux", 0)
    write_klein("tiny", folder / "klein", 0)
    return folder


def tensors(folder):
    found = {}
    for file in sorted(folder.rglob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            found |= {f"{file.parent.name}/{name}": opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    return found


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("flux-fill", "scheduler text_encoder text_encoder_2 tokenizer tokenizer_2 transformer vae"),
        ("flux-redux", "feature_extractor image_embedder image_encoder"),
        ("flux2-klein", "scheduler text_encoder tokenizer transformer vae"),
    ],
)
def test_the_command_writes_diffusers_layout(run, tmp_path, name, parts):
    status, out, _ = run("synthetic", name, "--seed", 3, "--output", tmp_path / "deep" / name)
    assert status == 0
    assert out.endswith(f"a random {name}, tiny, seed 3\n")
    assert sorted(path.name for path in (tmp_path / "deep" / name).iterdir()) == sorted(
        ["model_index.json", *parts.split()]
    )
    assert all(path.stat().st_mode & 0o004 for path in (tmp_path / "deep").rglob("*"))


def test_files_and_tensors_have_the_published_names(made):
    files = {str(path.relative_to(made / "fill")) for path in (made / "fill").rglob("*") if path.is_file()}
    assert {
        *("tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer_2/tokenizer.json", "vae/config.json"),
        *("transformer/diffusion_pytorch_model.safetensors.index.json", "text_encoder/model.safetensors"),
        *("text_encoder_2/model.safetensors.index.json", "text_encoder_2/model-00001-of-00002.safetensors"),
    } <= files
    index = json.loads((made / "fill" / "model_index.json").read_text())
    assert index["_class_name"] == "FluxFillPipeline"
    assert index["tokenizer_2"] == ["transformers", "T5TokenizerFast"]
    names = tensors(made / "fill").keys() | tensors(made / "redux").keys() | tensors(made / "klein").keys()
    assert {
        "text_encoder/text_model.encoder.layers.0.layer_norm1.weight",
        "text_encoder_2/shared.weight",
        "transformer/transformer_blocks.0.norm1.linear.weight",
        "transformer/single_transformer_blocks.1.proj_mlp.bias",
        "image_encoder/vision_model.embeddings.patch_embedding.weight",
        "image_embedder/redux_up.weight",
        "vae/bn.running_var",
        "text_encoder/model.embed_tokens.weight",
    } <= names
    assert not {"text_encoder_2/encoder.embed_tokens.weight", "text_encoder/lm_head.weight"} & names  # tied


def test_the_seed_decides(made, tmp_path):
    state = torch.get_rng_state()
    write_fill("tiny", tmp_path / "same", 0)
    write_fill("tiny", tmp_path / "other", 1)
    assert torch.equal(torch.get_rng_state(), state)
    first, same, other = (tensors(folder) for folder in (made / "fill", tmp_path / "same", tmp_path / "other"))
    assert first.keys() == same.keys() == other.keys()
    for name, value in first.items():
        assert torch.equal(value, same[name])
        assert not torch.equal(value, other[name]), name  # no tensor is a constant, so that mixing them up shows


@pytest.mark.parametrize(
    ("network", "part"),
    [
        (CLIPTextModel, "fill/text_encoder"),
        (T5EncoderModel, "fill/text_encoder_2"),
        (SiglipVisionModel, "redux/image_encoder"),
        (Qwen3ForCausalLM, "klein/text_encoder"),
    ],
)
def test_transformers_finds_every_tensor(made, network, part):
    _, info = network.from_pretrained(made / part, local_files_only=True, output_loading_info=True)
    assert not any(info.values())


def picture(size=(64, 96)):
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))


def test_diffusers_reads_them_and_their_pictures_are_spread(made):
    fill = FluxFillPipeline.from_pretrained(made / "fill", local_files_only=True)
    parts = {name: getattr(fill, name) for name in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")}
    redux = FluxPriorReduxPipeline.from_pretrained(made / "redux", local_files_only=True, **parts)
    klein = Flux2KleinInpaintPipeline.from_pretrained(made / "klein", local_files_only=True)
    mask = torch.ones(1, 1, 64, 96)
    prior = redux(fill.image_processor.numpy_to_pil(picture((56, 56)).permute(0, 2, 3, 1).numpy()), prompt="고양이")
    assert 0.1 < prior.prompt_embeds[:, 512:].std() < 3
    common = {"image": picture(), "mask_image": mask, "num_inference_steps": 3, "output_type": "np"}
    made_by = {
        "fill": fill(**prior, **common, height=64, width=96, generator=torch.Generator().manual_seed(1)),
        "klein": klein(prompt="고양이", **common, guidance_scale=1.0, generator=torch.Generator().manual_seed(1)),
    }
    for found in made_by.values():
        assert found.images.shape == (1, 64, 96, 3)
        assert 0.3 < found.images.mean() < 0.7
        assert 0.05 < found.images.std() < 0.4


def test_the_tokenizers(made):
    fill = FluxFillPipeline.from_pretrained(made / "fill", transformer=None, vae=None, local_files_only=True)
    for tokenizer, known in ((fill.tokenizer, True), (fill.tokenizer_2, False)):
        tokens = tokenizer("고양이").input_ids
        assert tokens[-1] == tokenizer.eos_token_id
        assert (tokenizer.unk_token_id not in tokens[:-1]) == known  # T5's published vocabulary has no Korean either
    assert fill.tokenizer("가").input_ids != fill.tokenizer("나").input_ids
    assert (fill.tokenizer.model_max_length, fill.tokenizer_2.model_max_length) == (77, 512)


@pytest.mark.parametrize(
    ("make", "numbers"),
    [
        (
            networks.fill,
            {
                "transformer": 11_902_391_360,
                "text_encoder": 123_060_480,
                "text_encoder_2": 4_762_310_656,
                "vae": 83_819_683,
            },
        ),
        (networks.redux, {"image_encoder": 428_225_600, "image_embedder": 64_503_808}),
        (networks.klein, {"transformer": 3_875_544_576, "text_encoder": 4_022_468_096}),
    ],
)
def test_the_full_sizes_are_the_published_models(make, numbers):
    made = make("full")
    assert all(parameter.is_meta for part in made.values() for parameter in part.module.parameters())
    for name, number in numbers.items():
        assert sum(Weights(name, made[name], torch.bfloat16, 0).sizes.values()) == 2 * number


def test_nothing_is_written_over_what_is_there_nor_without_room(monkeypatch, made, tmp_path):
    with pytest.raises(ExportError, match="is not empty"):
        write_redux("tiny", made / "fill", 0)
    usage = namedtuple("usage", "total used free")(60 * 10**9, 40 * 10**9, 20 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ExportError, match=r"room for 20.0 GB; the checkpoint needs 33.7 GB"):
        write_fill("full", tmp_path / "full", 0)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
