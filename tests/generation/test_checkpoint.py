"""Wan's checkpoints: both layouts come to the same networks; what is wrong with a folder is told in one sentence."""

import gc
import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from diffusers import UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from safetensors.torch import load_file, save_file
from transformers import UMT5Config, UMT5EncoderModel

from atelier.generation.checkpoint import CheckpointError, load_components, load_transformer
from atelier.weights import digest
from export.wan.synthetic import write

GOLDEN = Path(__file__).parents[1] / "golden" / "wan"
PARTS = ("text_encoder", "transformer", "vae")
DIT = "diffusion_pytorch_model"
T5 = "models_t5_umt5-xxl-enc-bf16.pth"
VAE = "Wan2.2_VAE.pth"
SHARDS = f"transformer/{DIT}-0000{{}}-of-00003.safetensors"


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """The same random weights in both layouts."""
    folder = tmp_path_factory.mktemp("wan")
    for layout in ("diffusers", "original"):
        write("tiny", folder / layout, 0, layout)
    return folder


@pytest.fixture
def diffusers(layouts, tmp_path):
    """A copy in diffusers' layout, to be spoilt."""
    return shutil.copytree(layouts / "diffusers", tmp_path / "weights")


@pytest.fixture
def original(layouts, tmp_path):
    """A copy in the original layout, to be spoilt."""
    return shutil.copytree(layouts / "original", tmp_path / "weights")


def assert_equal(found, expected):
    ours, theirs = found.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype, name
        assert torch.equal(ours[name], value), name


def settings(module):
    ignored = {"architectures", "dtype"}
    config = module.config.to_dict() if hasattr(module.config, "to_dict") else dict(module.config)
    plain = json.loads(json.dumps(config))
    return {name: value for name, value in plain.items() if name[0] != "_" and name not in ignored}


def refused(folder, words):
    with pytest.raises(CheckpointError, match=words) as error:
        load_components(folder)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert str(folder.parent) not in sentence
    assert error.value.__suppress_context__ or error.value.__context__ is None
    return sentence


def change(file, **changes):
    """Replace tensors of a file (double underscores for dots), or take them out: None."""
    safe = file.suffix == ".safetensors"
    state = load_file(file) if safe else torch.load(file, weights_only=True)
    state = {name: value.clone() for name, value in state.items()}  # the file that they are mapped from is rewritten
    for name, value in changes.items():
        state.pop(name.replace("__", "."), None)
        if value is not None:
            state[name.replace("__", ".")] = value
    save_file(state, file, metadata={"format": "pt"}) if safe else torch.save(state, file)


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_the_original_golden_transformer_is_the_one_of_diffusers_bit_for_bit():
    assert_equal(load_transformer(GOLDEN / "wan_ckpt"), load_transformer(GOLDEN / "pipeline"))


def test_the_original_golden_transformer_computes_what_upstream_computed():
    case = load_file(GOLDEN / "transformer_io.safetensors")
    transformer = load_transformer(GOLDEN / "wan_ckpt")
    for kind in ("t2v", "i2v"):
        with torch.inference_mode():
            (found,) = transformer(
                case["hidden_states"], case[f"timestep_{kind}"], case["encoder_hidden_states"], return_dict=False
            )
        torch.testing.assert_close(found, case[f"out_{kind}_alpha0.0"], atol=2e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_networks_are_what_from_pretrained_loads(dtype):
    expected = WanPipeline.from_pretrained(GOLDEN / "pipeline", dtype=dtype)
    found = load_components(GOLDEN / "pipeline", dtype=dtype, vae_dtype=dtype)
    for name in PARTS:
        assert_equal(getattr(found, name), getattr(expected, name))
        assert settings(getattr(found, name)) == settings(getattr(expected, name))
        for ours, theirs in zip(getattr(found, name).buffers(), getattr(expected, name).buffers(), strict=True):
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs)
        assert not getattr(found, name).training
        assert not any(parameter.requires_grad for parameter in getattr(found, name).parameters())
    assert found.text_encoder.dtype == expected.text_encoder.dtype
    assert found.tokenizer("a cat").input_ids == expected.tokenizer("a cat").input_ids
    assert UniPCMultistepScheduler.from_config(found.scheduler).config == expected.scheduler.config


def test_the_two_types_are_told_apart(layouts):
    found = load_components(layouts / "original", dtype=torch.bfloat16)
    assert found.text_encoder.dtype == torch.bfloat16
    assert found.transformer.blocks[0].attn1.to_q.weight.dtype == torch.bfloat16
    assert found.transformer.scale_shift_table.dtype == torch.float32
    assert {parameter.dtype for parameter in found.vae.parameters()} == {torch.float32}


def frames(components):
    """A video of a Korean prompt."""
    parts = {name: getattr(components, name) for name in (*PARTS, "tokenizer")}
    scheduler = UniPCMultistepScheduler.from_config(components.scheduler)
    pipeline = WanPipeline(**parts, scheduler=scheduler, expand_timesteps=True)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(42)
    size = {"height": 32, "width": 64, "num_frames": 5, "num_inference_steps": 2}
    return torch.from_numpy(pipeline("고양이가 걷는다", **size, generator=generator, output_type="np").frames)


def test_both_layouts_are_one_pipeline(layouts):
    ours, theirs = (load_components(layouts / layout) for layout in ("diffusers", "original"))
    assert (ours.layout, theirs.layout) == ("diffusers", "original")
    for name in PARTS:
        assert_equal(getattr(ours, name), getattr(theirs, name))
        assert settings(getattr(ours, name)) == settings(getattr(theirs, name))
    assert ours.scheduler == theirs.scheduler
    video = frames(ours)
    assert torch.equal(video, frames(theirs))
    assert video.std() > 0.05


def test_stages_are_reported_in_order_and_nothing_is_asked_of_the_network(layouts, monkeypatch):
    def refuse(*_):
        raise AssertionError("something was looked for on the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for layout in ("diffusers", "original"):
        stages = []
        load_components(layouts / layout, on_stage=stages.append)
        assert stages == list(PARTS)


def mapped(folder):
    """The addresses at which this process has the folder's files."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if str(folder) in line:
            yield range(*(int(address, 16) for address in line.split()[0].split("-")))


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_weights_stay_where_they_lie_on_disk(layouts, layout):
    """Mapped, not copied: a second copy of the published checkpoint would be 30 GB."""
    components = load_components(layouts / layout)
    addresses = list(mapped(layouts / layout))
    for name in PARTS:
        for parameter in getattr(components, name).parameters():
            assert any(parameter.data_ptr() in place for place in addresses)
    del components, parameter
    gc.collect()
    assert not list(mapped(layouts / layout))


def test_the_transformer_alone(layouts, tmp_path):
    expected = load_components(layouts / "diffusers").transformer
    for folder in ("diffusers", "diffusers/transformer", "original"):
        assert_equal(load_transformer(layouts / folder), expected)
    save_file(expected.state_dict(), tmp_path / "merged.safetensors")
    shutil.copy(layouts / "diffusers" / "transformer" / "config.json", tmp_path)
    assert_equal(load_transformer(tmp_path / "merged.safetensors"), expected)
    with pytest.raises(CheckpointError, match=r"lacks 1 file\(s\): other.safetensors"):
        load_transformer(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks 1 file\(s\): diffusion_pytorch_model.safetensors"):
        load_transformer(tmp_path)
    with pytest.raises(CheckpointError, match="There is no folder nowhere"):
        load_transformer(tmp_path / "nowhere")


def test_the_embedding_has_two_names_and_one_memory(diffusers, layouts):
    expected = load_components(layouts / "diffusers").text_encoder
    file = diffusers / "text_encoder" / "model-00001-of-00002.safetensors"
    embedding = load_file(file)["shared.weight"].clone()
    for names in ({"shared__weight": None}, {"shared__weight": embedding}):  # the second name alone, and both
        change(file, **names, encoder__embed_tokens__weight=embedding.clone())
        found = load_components(diffusers).text_encoder
        assert_equal(found, expected)
        assert found.encoder.embed_tokens.weight is found.shared.weight


def test_a_pth_of_the_oldest_kind_is_read(original, layouts):
    state = torch.load(original / VAE, weights_only=True)
    torch.save(state, original / VAE, _use_new_zipfile_serialization=False)
    assert_equal(load_components(original).vae, load_components(layouts / "original").vae)


def test_the_digest_is_of_the_files_and_not_of_their_place(diffusers, layouts):
    first = load_components(layouts / "diffusers").digest
    assert len(first) == 64
    assert load_components(diffusers).digest == first
    assert load_components(layouts / "original").digest != first
    change(diffusers / "vae" / f"{DIT}.safetensors", quant_conv__bias=torch.full((96,), 0.5))
    assert load_components(diffusers).digest != first


@pytest.mark.parametrize("place", [0, 20_000_000, -1])
def test_the_digest_of_a_large_file_sees_its_ends_and_its_size(tmp_path, place):
    file = tmp_path / "large"
    with file.open("wb") as stream:
        stream.truncate(40_000_000)
    before = digest(tmp_path, ["large"])
    with file.open("r+b") as stream:
        stream.seek(place, 2 if place < 0 else 0)
        stream.write(b"x" * (700_000 if place > 0 else 1))  # blocks are 630 kB apart
    assert file.stat().st_size == 40_000_000
    changed = digest(tmp_path, ["large"])
    with file.open("r+b") as stream:
        stream.truncate(39_999_999)
    assert len({before, changed, digest(tmp_path, ["large"])}) == 3


@pytest.mark.parametrize(
    "file",
    [
        *("config.json", T5, VAE, f"{DIT}.safetensors.index.json", f"{DIT}-00002-of-00003.safetensors"),
        *("google/umt5-xxl/tokenizer.json", "google/umt5-xxl/tokenizer_config.json"),
    ],
)
def test_a_missing_file_of_the_original_layout_is_named(original, file):
    (original / file).unlink()
    named = f"{DIT}.safetensors" if file.endswith("index.json") else file
    assert refused(original, "lacks") == f"The checkpoint in weights lacks 1 file(s): {named}."


@pytest.mark.parametrize(
    "file",
    [
        *("scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json", "tokenizer/tokenizer.json"),
        *(f"transformer/{DIT}-00001-of-00003.safetensors", "transformer/config.json", "text_encoder/config.json"),
        *("text_encoder/model-00002-of-00002.safetensors", f"vae/{DIT}.safetensors", "vae/config.json"),
        "model_index.json",
    ],
)
def test_a_missing_file_of_diffusers_layout_is_named(diffusers, file):
    (diffusers / file).unlink()
    assert refused(diffusers, "lacks") == f"The checkpoint in weights lacks 1 file(s): {file}."


def test_all_missing_files_are_named_at_once(diffusers, tmp_path):
    for part in ("scheduler", "tokenizer", "text_encoder", "transformer", "vae"):
        shutil.rmtree(diffusers / part)
    assert refused(diffusers, "lacks") == (
        "The checkpoint in weights lacks 9 file(s): scheduler/scheduler_config.json, tokenizer/tokenizer_config.json, "
        "tokenizer/tokenizer.json, text_encoder/config.json, text_encoder/model.safetensors, transformer/config.json, "
        f"transformer/{DIT}.safetensors, vae/config.json, vae/{DIT}.safetensors."
    )
    shutil.copytree(GOLDEN / "wan_ckpt", tmp_path / "wan_ckpt")  # the transformer alone
    assert refused(tmp_path / "wan_ckpt", "lacks") == (
        f"The checkpoint in wan_ckpt lacks 4 file(s): {T5}, {VAE}, google/umt5-xxl/tokenizer_config.json, "
        "google/umt5-xxl/tokenizer.json."
    )


def test_a_folder_that_is_no_checkpoint(tmp_path):
    refused(tmp_path / "nowhere", "There is no folder nowhere")
    (tmp_path / "photos").mkdir()
    sentence = refused(tmp_path / "photos", "photos is no checkpoint of Wan")
    for name in ("model_index.json", DIT, T5, VAE):
        assert name in sentence


def cut(file):
    file.write_bytes(file.read_bytes()[:20_000])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda w: cut(w / f"{DIT}-00002-of-00003.safetensors"),
            r"weights/.*00002-of-00003.safetensors cannot be read",
        ),
        (lambda w: cut(w / T5), f"weights/{T5} cannot be read"),
        (lambda w: (w / VAE).write_bytes(b""), f"weights/{VAE} cannot be read"),
        (lambda w: torch.save({"epoch": 3}, w / VAE), f"weights/{VAE} is no plain dictionary of tensors"),
        (lambda w: torch.save({"code": Path("x")}, w / VAE), f"weights/{VAE} cannot be read"),
        (lambda w: (w / "config.json").write_text("{"), "weights/config.json cannot be read as JSON"),
        (lambda w: edit(w / "config.json", _class_name="WanAnimateModel"), "describes a WanAnimateModel of type ti2v"),
        (
            lambda w: edit(w / "config.json", model_type="i2v"),
            "a WanModel of type i2v; accepted: WanModel of type ti2v",
        ),
        (lambda w: edit(w / "config.json", num_heads=None, dim="24"), "no usable dim, num_heads"),
        (lambda w: edit(w / "config.json", num_heads=5), "dim 24 is no multiple of num_heads"),
        (
            lambda w: edit(w / "config.json", num_layers=2),
            r"weights has unexpected 27 tensor\(s\): blocks.2.cross_attn",
        ),
        (lambda w: edit(w / "config.json", num_layers=4), r"lacks 27 tensor\(s\): blocks.3.* and 24 more"),
        (
            lambda w: edit(w / "config.json", ffn_dim=41),
            r"wrong shapes of 9 .*ffn.0.weight \(\[40, 24\] instead of \[41",
        ),
        (lambda w: edit(w / "config.json", in_dim=36), r"wrong shapes of 1 tensor\(s\): patch_embedding.weight"),
        (lambda w: (w / f"{DIT}.safetensors.index.json").write_text("{}"), "index.json has no weight_map"),
        (lambda w: shutil.copy(w / T5, w / VAE), f"{VAE} is not what its name says: it lacks encoder.conv1.weight"),
        (lambda w: shutil.copy(w / VAE, w / T5), f"{T5} is not what its name says: it lacks token_embedding.weight"),
        (
            lambda w: change(w / VAE, conv2__weight=torch.ones(16, 16, 1, 1, 1)),
            "latents of 16 channels; Wan2.2's VAE has 48",
        ),
        (lambda w: change(w / T5, head__weight=torch.ones(2)), f"{T5} has unexpected 1 tensor\\(s\\): head.weight"),
        (lambda w: change(w / T5, norm__weight=None), f"{T5} lacks 1 tensor\\(s\\): norm.weight"),
        (lambda w: change(w / VAE, encoder__head__0__gamma=None), f"{VAE} lacks 1 tensor\\(s\\): encoder.head.0.gamma"),
        (
            lambda w: change(w / VAE, conv1__bias=torch.full((96,), torch.nan)),
            r"not finite in 1 tensor\(s\): conv1.bias",
        ),
        (lambda w: change(w / VAE, conv1__bias=torch.ones(96).char()), r"has integers in 1 tensor\(s\): conv1.bias"),
        (lambda w: (w / "low_noise_model").mkdir(), "two experts, Wan2.2 A14B; accepted: Wan2.2 TI2V-5B"),
        (lambda w: (w / "google/umt5-xxl/tokenizer.json").write_text("{"), "The tokenizer in umt5-xxl cannot be read"),
    ],
)
def test_a_spoilt_original_checkpoint_is_refused_in_one_sentence(original, spoil, words):
    spoil(original)
    refused(original, words)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda w: edit(w / "model_index.json", _class_name="FluxPipeline"),
            "model_index.json describes a FluxPipeline",
        ),
        (lambda w: edit(w / "model_index.json", transformer_2=["diffusers", "WanTransformer3DModel"]), "two experts"),
        (lambda w: edit(w / "model_index.json", expand_timesteps=False), "has no expand_timesteps"),
        (lambda w: (w / "model_index.json").write_text("[]"), "model_index.json holds no settings"),
        (lambda w: cut(w / "vae" / f"{DIT}.safetensors"), f"vae/{DIT}.safetensors cannot be read"),
        (
            lambda w: edit(w / "vae/config.json", _class_name="AutoencoderKL"),
            "vae/config.json describes a AutoencoderKL;",
        ),
        (lambda w: edit(w / "transformer/config.json", _class_name="WanModel"), "accepted: WanTransformer3DModel"),
        (lambda w: edit(w / "text_encoder/config.json", model_type="t5"), "describes a t5; accepted: umt5"),
        (lambda w: edit(w / "text_encoder/config.json", num_layers=3), r"in text_encoder lacks 10 tensor\(s\)"),
        (lambda w: edit(w / "transformer/config.json", patch_size=2), "transformer: the settings do not describe"),
        (lambda w: edit(w / "vae/config.json", dim_mult=[]), "vae: the settings do not describe a network"),
        (lambda w: edit(w / "vae/config.json", z_dim=16), r"in vae has wrong shapes of 7 tensor\(s\)"),
        (lambda w: change(w / "vae" / f"{DIT}.safetensors", extra=torch.ones(1)), r"unexpected 1 tensor\(s\): extra"),
        (lambda w: shutil.copy(w / SHARDS.format(1), w / SHARDS.format(2)), r"00002-of-00003.safetensors repeats \d+"),
    ],
)
def test_a_spoilt_diffusers_checkpoint_is_refused_in_one_sentence(diffusers, spoil, words):
    spoil(diffusers)
    refused(diffusers, words)


def test_a_tokenizer_with_t5s_extra_tokens_is_no_mistake(diffusers):
    """The published one is of this class, which adds 100 tokens that no text encoder needs to know."""
    shutil.copy(GOLDEN / "pipeline/tokenizer/tokenizer.json", diffusers / "tokenizer/tokenizer.json")
    edit(diffusers / "tokenizer/tokenizer_config.json", tokenizer_class="T5Tokenizer", extra_ids=200)
    assert len(load_components(diffusers).tokenizer) > 261


def test_parts_of_different_models_are_refused(diffusers):
    text = UMT5Config(vocab_size=100, d_model=16, d_kv=8, d_ff=20, num_layers=1, num_heads=2)
    UMT5EncoderModel(text).save_pretrained(diffusers / "narrow")
    (diffusers / "text_encoder").rename(diffusers / "kept")
    (diffusers / "narrow").rename(diffusers / "text_encoder")
    refused(diffusers, "The transformer takes texts of width 32, the text encoder's are 16 wide")
    shutil.rmtree(diffusers / "text_encoder")
    text.d_model = 32
    UMT5EncoderModel(text).save_pretrained(diffusers / "text_encoder")
    refused(diffusers, "The tokenizer has 259 tokens, the text encoder 100")
    shutil.rmtree(diffusers / "transformer")
    other = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=36, out_channels=16, text_dim=32, num_layers=1
    )
    other.save_pretrained(diffusers / "transformer")
    refused(diffusers, "The transformer has 36 and 16 channels, the VAE's latents 48")
