"""What is wrong with a folder of FLUX's is told in one sentence, before anything of it is loaded."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from atelier.compositing.neural.synthesis import NeuralSynthesizer
from atelier.errors import CheckpointError, InvalidInput
from tests.compositing.neural.flux import settings, write_all


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("flux"))


@pytest.fixture
def folders(made, tmp_path):
    """Copies, to be spoilt."""
    return {name: shutil.copytree(folder, tmp_path / name) for name, folder in made.items()}


def refused(folders, words, **changes):
    with pytest.raises(CheckpointError, match=words) as error:
        NeuralSynthesizer(folders, settings(**changes))
    sentence = str(error.value)
    assert "\n" not in sentence
    assert str(folders["checkpoint"].parent) not in sentence
    return sentence


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    "file",
    [
        *("model_index.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json"),
        *("tokenizer_2/tokenizer.json", "text_encoder/model.safetensors", "vae/config.json"),
        *("text_encoder_2/model-00002-of-00002.safetensors", "vae/diffusion_pytorch_model.safetensors"),
        "transformer/diffusion_pytorch_model-00003-of-00006.safetensors",
    ],
)
def test_a_missing_file_is_named(folders, file):
    (folders["checkpoint"] / file).unlink()
    assert refused(folders, "lacks") == f"The checkpoint in checkpoint lacks 1 file(s): {file}."


def test_all_missing_files_are_named_at_once(folders):
    for part in ("text_encoder", "tokenizer", "vae"):
        shutil.rmtree(folders["checkpoint"] / part)
    assert refused(folders, "lacks") == (
        "The checkpoint in checkpoint lacks 6 file(s): tokenizer/tokenizer_config.json, tokenizer/tokenizer.json, "
        "text_encoder/config.json, text_encoder/model.safetensors, vae/config.json, "
        "vae/diffusion_pytorch_model.safetensors."
    )
    shutil.rmtree(folders["redux"] / "image_embedder")
    shutil.copytree(folders["checkpoint"].parent / "klein", folders["checkpoint"], dirs_exist_ok=True)


def test_folders_that_are_not_there(folders):
    shutil.rmtree(folders["redux"])
    refused(folders, "There is no folder redux, which is to hold FLUX.1-Redux")
    with pytest.raises(InvalidInput, match=r"identity redux needs the weights of FLUX.1-Redux; accepted without"):
        NeuralSynthesizer({"checkpoint": folders["checkpoint"]}, settings())
    with pytest.raises(InvalidInput, match=r"network flux.2-klein needs its weights"):
        NeuralSynthesizer({"checkpoint": folders["checkpoint"]}, settings(network="flux.2-klein"))


def test_another_model_is_named(folders):
    index = folders["checkpoint"] / "model_index.json"
    edit(index, _class_name="FluxPipeline")
    refused(folders, "describes a FluxPipeline; accepted for FLUX.1-Fill: FluxFillPipeline")
    refused({**folders, "checkpoint": folders["klein"]}, "describes a Flux2KleinPipeline; accepted for FLUX.1-Fill")
    refused({**folders, "klein": folders["redux"]}, "describes a FluxPriorRedux", network="flux.2-klein")
    edit(index, _class_name="FluxFillPipeline")
    edit(folders["checkpoint"] / "transformer" / "config.json", in_channels=64)
    refused(folders, "takes 64 channels; FLUX.1-Fill's takes 384")
    edit(folders["checkpoint"] / "transformer" / "config.json", in_channels=384, _class_name="SD3Transformer2DModel")
    refused(folders, "transformer/config.json describes a SD3Transformer2DModel; accepted: FluxTransformer2DModel")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (("checkpoint", "text_encoder_2", {"d_model": 128}), "T5's embeddings are 128 wide, the transformer takes 64"),
        (
            ("checkpoint", "text_encoder", {"hidden_size": 32}),
            "CLIP's embeddings are 32 wide, the transformer takes 16",
        ),
        (("redux", "image_embedder", {"txt_in_features": 32}), "Redux's embeddings are 32 wide, the transformer takes"),
    ],
)
def test_parts_of_different_models_are_told(folders, spoil, words):
    name, part, changes = spoil
    edit(folders[name] / part / "config.json", **changes)
    refused(folders, words)


def test_parts_of_different_kleins_are_told(folders):
    edit(folders["klein"] / "text_encoder" / "config.json", hidden_size=32)
    refused(folders, "Qwen3's embeddings are 96 wide, the transformer takes 48", network="flux.2-klein")


def test_damaged_files_and_settings(folders):
    vae = folders["checkpoint"] / "vae"
    whole = (vae / "diffusion_pytorch_model.safetensors").read_bytes()
    (vae / "diffusion_pytorch_model.safetensors").write_bytes(whole[:20_000])
    refused(folders, "vae/diffusion_pytorch_model.safetensors cannot be read")
    (vae / "diffusion_pytorch_model.safetensors").write_bytes(whole)
    (vae / "config.json").write_text("{")
    refused(folders, "vae/config.json cannot be read as JSON")


@pytest.mark.parametrize(
    ("name", "part", "file"),
    [
        ("checkpoint", "vae", "diffusion_pytorch_model.safetensors"),
        ("checkpoint", "text_encoder", "model.safetensors"),
        ("redux", "image_encoder", "model.safetensors"),
        ("redux", "image_embedder", "diffusion_pytorch_model.safetensors"),
    ],
)
def test_tensors_that_are_missing_are_not_drawn_at_random(folders, name, part, file):
    path = folders[name] / part / file
    state = {key: value.clone() for key, value in load_file(path).items()}
    del state[min(state)]
    save_file(state, path, metadata={"format": "pt"})
    refused(folders, f"{part}.* lacks 1 tensor|cannot be loaded")


def test_a_broken_tokenizer(folders):
    (folders["checkpoint"] / "tokenizer_2" / "tokenizer.json").write_text("{}")
    refused(folders, "tokenizers or scheduler in checkpoint cannot be loaded")
