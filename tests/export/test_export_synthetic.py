"""Random checkpoints: on disk like published ones, in behaviour like trained ones."""

import pickletools
import sys
import zipfile

import numpy as np
import pytest
import torch

from atelier.inpainting import GeneratorConfig, LamaGenerator, load_generator, read_config
from export.errors import ExportError
from export.lama.pictures import cases
from export.lama.synthetic import SETTINGS, write
from tests.golden.lama.cases import FOLDER


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write("tiny", folder, 0)
    return folder


def pickle_of(checkpoint):
    with zipfile.ZipFile(checkpoint) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def names_in(checkpoint):
    return {
        argument for operation, argument, _ in pickletools.genops(pickle_of(checkpoint)) if operation.name == "GLOBAL"
    }


def test_the_round_trip(tiny):
    assert sorted(path.name for path in tiny.rglob("*")) == ["best.ckpt", "config.yaml", "models"]
    generator = load_generator(tiny)
    assert generator.config == SETTINGS["tiny"] == GeneratorConfig(ngf=8, n_blocks=2)
    assert (tiny / "models" / "best.ckpt").stat().st_size < 1_000_000


def test_the_layout_has_the_published_quirks(tiny):
    """What a plain loader trips over: foreign classes, and interpolations that nothing else resolves."""
    text = (tiny / "config.yaml").read_text(encoding="utf-8")
    assert "${env:USER}" in text
    assert "${generator.resnet_conv_kwargs.ratio_gin}" in text
    assert "run_title: synthetic" in text
    foreign = {"omegaconf.dictconfig DictConfig", "pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint"}
    assert foreign <= names_in(tiny / "models" / "best.ckpt")
    assert foreign <= names_in(FOLDER / "models" / "best.ckpt")
    assert not {"omegaconf", "pytorch_lightning"} & set(sys.modules)
    with pytest.raises(Exception, match=r"(?i)weights"):
        torch.load(tiny / "models" / "best.ckpt", weights_only=True)
    with pytest.raises(ModuleNotFoundError):
        torch.load(tiny / "models" / "best.ckpt", weights_only=False)


def test_the_keys_are_the_golden_ones(tiny):
    ours, golden = load_generator(tiny).state_dict(), load_generator(FOLDER).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in golden.items()}


def test_predictions_are_spread(tiny):
    generator = load_generator(tiny)
    for case in list(cases(tiny))[:3]:
        image = torch.from_numpy(case.image).permute(0, 3, 1, 2).float() / 255
        mask = (torch.from_numpy(case.mask) > 0).float().unsqueeze(1)
        with torch.inference_mode():
            predicted = generator.predict(image, mask)
        assert 0.05 < predicted.std() < 0.4, case.name
        assert 0.2 < predicted.mean() < 0.8, case.name


def test_the_seed_decides(tmp_path, tiny):
    state = torch.get_rng_state()
    write("tiny", tmp_path / "same", 0)
    write("tiny", tmp_path / "other", 1)
    assert torch.equal(torch.get_rng_state(), state)
    first, same, other = (
        load_generator(folder).state_dict() for folder in (tiny, tmp_path / "same", tmp_path / "other")
    )
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["model.1.ffc.convl2l.weight"], other["model.1.ffc.convl2l.weight"])
    assert (tiny / "models" / "best.ckpt").read_bytes() == (tmp_path / "same" / "models" / "best.ckpt").read_bytes()


def test_the_full_size_is_big_lamas():
    with torch.device("meta"):
        generator = LamaGenerator(SETTINGS["full"])
    assert len(generator.state_dict()) == 989
    assert sum(parameter.numel() for parameter in generator.parameters()) == 50_975_875
    assert SETTINGS["full"] == GeneratorConfig(n_blocks=18)


@pytest.mark.parametrize("config", [*SETTINGS.values(), GeneratorConfig(n_downsampling=2, activation="none")])
def test_a_written_block_is_read_as_what_it_was(tmp_path, config):
    (tmp_path / "config.yaml").write_text(config.block(), encoding="utf-8")
    assert read_config(tmp_path / "config.yaml") == config


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        write("tiny", tmp_path / "file", 0)
    assert np.array_equal(list(tmp_path.iterdir()), [tmp_path / "file"])
