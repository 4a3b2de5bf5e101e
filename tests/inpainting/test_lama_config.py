import copy

import pytest
import yaml

from atelier.inpainting.config import ConfigError, GeneratorConfig, parse_config, read_config
from tests.golden.lama.cases import FOLDER


@pytest.fixture
def document():
    return yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))


def change(document, path, value):
    changed = copy.deepcopy(document)
    *blocks, key = path.split(".")
    block = changed
    for name in blocks:
        block = block[name]
    if value is None:
        block.pop(key)
    else:
        block[key] = value
    return changed


def test_the_golden_config():
    assert read_config(FOLDER / "config.yaml") == GeneratorConfig(ngf=8, n_blocks=2)


@pytest.mark.parametrize(("blocks", "name"), [(18, "big-lama"), (9, "lama-fourier")])
def test_the_published_settings(document, blocks, name):
    document["generator"] |= {"ngf": 64, "n_blocks": blocks}
    config = parse_config(document)
    assert config == GeneratorConfig(n_blocks=blocks), name
    assert config.channels(3) == 512
    assert config.global_channels == 384


@pytest.mark.parametrize(
    ("value", "activation"), [("sigmoid", "sigmoid"), ("tanh", "tanh"), (True, "tanh"), (False, "none"), (None, "tanh")]
)
def test_the_last_layer(document, value, activation):
    assert parse_config(change(document, "generator.add_out_act", value)).activation == activation


def test_defaults_may_be_written_out(document):
    document["generator"] |= {"padding_type": "reflect", "out_ffc": False, "spatial_transform_layers": None}
    document["generator"]["resnet_conv_kwargs"] |= {"gated": False, "fft_norm": "ortho"}
    assert parse_config(document) == GeneratorConfig(ngf=8, n_blocks=2)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            "generator.kind",
            "pix2pixhd_global",
            "generator.kind 'pix2pixhd_global' is not supported; accepted is 'ffc_r",
        ),
        ("generator.kind", None, "generator.kind None"),
        ("generator.input_nc", 3, "generator.input_nc 3 is not supported; accepted is 4"),
        ("generator.output_nc", 1, "generator.output_nc 1"),
        ("generator.ngf", "many", "generator.ngf 'many' is not supported; accepted is a whole number"),
        ("generator.ngf", 0, "generator.ngf 0"),
        ("generator.n_blocks", True, "generator.n_blocks True"),
        ("generator.n_downsampling", 5, "generator.n_downsampling 5 .* from 1 to 3"),
        ("generator.add_out_act", "softmax", "generator.add_out_act 'softmax'"),
        ("generator.add_out_act", [1], "generator.add_out_act"),
        ("generator.out_ffc", True, "generator.out_ffc True is not supported; accepted is False"),
        ("generator.spatial_transform_layers", [3], "generator.spatial_transform_layers"),
        ("generator.padding_type", "zeros", "generator.padding_type 'zeros'"),
        ("generator.surprise", 1, "generator.surprise is not a setting"),
        ("generator.resnet_conv_kwargs.gated", True, "resnet_conv_kwargs.gated True"),
        ("generator.resnet_conv_kwargs.spectral_pos_encoding", True, "spectral_pos_encoding True"),
        ("generator.resnet_conv_kwargs.use_se", True, "use_se True"),
        ("generator.resnet_conv_kwargs.enable_lfu", True, "resnet_conv_kwargs.enable_lfu True"),
        ("generator.resnet_conv_kwargs.enable_lfu", None, "resnet_conv_kwargs.enable_lfu True"),  # upstream's default
        ("generator.resnet_conv_kwargs.surprise", 1, "resnet_conv_kwargs.surprise is not a setting"),
        ("generator.resnet_conv_kwargs.ratio_gin", 0, "ratio_gin 0.0 and ratio_gout 0.0 are not supported"),
        ("generator.resnet_conv_kwargs.ratio_gout", 0.5, "ratio_gin 0.75 and ratio_gout 0.5"),
        ("generator.resnet_conv_kwargs.ratio_gin", 0.001, "leaves a half of 64 channels empty"),
        ("generator.resnet_conv_kwargs", "none", "generator.resnet_conv_kwargs must be a block"),
        ("generator.init_conv_kwargs.ratio_gout", 0.5, "init_conv_kwargs.ratio_gout 0.5"),
        ("generator.downsample_conv_kwargs.ratio_gin", 0.25, "downsample_conv_kwargs.ratio_gin 0.25"),
        ("generator.downsample_conv_kwargs.ratio_gin", "half", "ratio_gin 'half' is not a number between 0 and 1"),
        ("generator.ngf", "${generator.ngf}", r"the interpolation \$\{generator.ngf\} is circular"),
        ("generator.ngf", "${generator.nothing}", r"the interpolation \$\{generator.nothing\} leads nowhere"),
        ("generator.ngf", "${env:USER}", r"the interpolation \$\{env:USER\} is not supported"),
        ("generator.ngf", "1${generator.n_blocks}", "is not supported; accepted is"),
        ("generator", None, "no 'generator' block"),
        ("training_model.concat_mask", False, "training_model.concat_mask False"),
        ("training_model.add_noise_kwargs", {"sigma": 1}, "training_model.add_noise_kwargs"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(document, path, value, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        parse_config(change(document, path, value))
    assert "\n" not in str(caught.value)


def test_a_longer_circle(document):
    document["generator"]["ngf"] = "${generator.n_blocks}"
    document["generator"]["n_blocks"] = "${generator.ngf}"
    with pytest.raises(ConfigError, match="circular"):
        parse_config(document)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "config.yaml is not a YAML file"),
        ("!!python/object/apply:os.getcwd []", "config.yaml is not a YAML file"),
        ("", "config.yaml holds no settings"),
        ("- 1", "config.yaml holds no settings"),
    ],
)
def test_files_that_are_no_config(tmp_path, text, sentence):
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=sentence):
        read_config(tmp_path / "config.yaml")


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.yaml cannot be read: No such file"):
        read_config(tmp_path / "config.yaml")
