"""Repositories as files: profiles, what a model requires, what it lacks."""

import shutil

import pytest

from atelier.errors import InvalidInput
from atelier.serving.repository import discover, latest_version, missing, parse_config
from tests.conftest import ROOT

REPOSITORY = ROOT / "model_repository"


def make(root, name, config='backend: "python"', files=("1/model.py",)):
    folder = root / name
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
    folder.mkdir(exist_ok=True)
    (folder / "config.pbtxt").write_text(config)
    return folder


def parameter(key, value):
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'


def test_the_bundled_models_lack_nothing():
    models = discover([REPOSITORY])
    lacks = missing(models, ROOT / "backends")
    assert {model.name for model in models} - lacks.keys() >= {"inpaint", "lama"}


def test_every_python_model_has_a_canary():
    python = [model for model in discover([REPOSITORY]) if model.backend == "python"]
    assert {"matte", "generate", "inpaint", "composite_stream"} <= {model.name for model in python}
    assert [model.name for model in python if not 60 <= float(model.parameter("canary") or 0) <= 7200] == []


def test_models_whose_weights_are_not_bundled_say_how_to_bring_them(tmp_path):
    for name in ("gvm_unet", "gvm_vae_encoder", "gvm_vae_decoder", "matte"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("model.onnx*"))
        (tmp_path / name / "1").mkdir(exist_ok=True)
    lacks = missing(discover([tmp_path]), ROOT / "backends")
    assert "python -m export gvm" in lacks["gvm_unet"]
    assert lacks["matte"] == "It calls gvm_unet, gvm_vae_encoder, gvm_vae_decoder, which cannot be loaded."


def test_a_profile_replaces_whole_configurations():
    by_name = {model.name: model for model in discover([REPOSITORY], "torchscript")}
    assert by_name["lama"].backend == "pytorch"
    assert by_name["lama"].profile == "torchscript"
    assert by_name["inpaint"].profile == "default"


def test_unknown_profile_names_those_there_are():
    with pytest.raises(
        InvalidInput,
        match=r"No model has the profile 'quantum'; there are: official, openvino, pytorch, tensorrt, torchscript",
    ):
        discover([REPOSITORY], "quantum")


def test_missing_artefact_says_how_to_bring_it(tmp_path):
    make(tmp_path, "net", 'backend: "onnxruntime"\n' + parameter("bring", "python -m export net"), files=())
    make(tmp_path, "front", 'backend: "python"\n' + parameter("requires", "net"))
    make(tmp_path, "above", 'backend: "python"\n' + parameter("requires", "front"))
    lacks = missing(discover([tmp_path]), ROOT / "backends")
    assert lacks["net"] == "net/1/model.onnx is missing; bring it with: python -m export net"
    assert lacks["front"] == "It calls net, which cannot be loaded."
    assert lacks["above"] == "It calls front, which cannot be loaded."


def test_a_required_model_that_is_nowhere(tmp_path):
    make(tmp_path, "front", 'backend: "python"\n' + parameter("requires", "ghost"))
    assert missing(discover([tmp_path]), None) == {"front": "It calls ghost, which cannot be loaded."}


def test_a_backend_that_only_the_container_has(tmp_path):
    make(tmp_path, "net", 'backend: "tensorrt"', files=("1/model.plan",))
    models = discover([tmp_path])
    assert "NVIDIA's container" in missing(models, ROOT / "backends")["net"]
    assert missing(models, None) == {}


def test_the_newest_version_and_a_named_artefact(tmp_path):
    config = 'backend: "onnxruntime" default_model_filename: "small.onnx"'
    folder = make(tmp_path, "net", config, files=("1/small.onnx", "10/small.onnx", "9/small.onnx", "notes/x", "02/x"))
    assert latest_version(folder) == 10
    assert discover([tmp_path])[0].artefact == folder / "10" / "small.onnx"


def test_a_name_in_two_repositories(tmp_path):
    make(tmp_path / "a", "same")
    make(tmp_path / "b", "same")
    with pytest.raises(InvalidInput, match="'same' stands in two repositories"):
        discover([tmp_path / "a", tmp_path / "b"])


def test_a_repository_that_is_not_there(tmp_path):
    with pytest.raises(InvalidInput, match="is not a folder"):
        discover([tmp_path / "nowhere"])


def test_parse_errors_have_line_and_column(tmp_path):
    file = tmp_path / "config.pbtxt"
    file.write_text('backend: "python"\nmax_batch: 8\n')
    with pytest.raises(InvalidInput, match=r"config.pbtxt:2:1 : .*max_batch"):
        parse_config(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="cannot be read"):
        parse_config(file)
