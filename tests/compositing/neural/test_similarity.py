"""CLIP-I and DINO of a composite, with tiny random networks in the published layouts."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel

from atelier.compositing import ObjectSynthesizer
from atelier.compositing.neural.similarity import Similarity
from atelier.compositing.settings import SynthesizerSettings
from atelier.errors import CheckpointError
from tests.compositing.neural.flux import job
from tests.compositing.pictures import vase
from tests.evaluation.learned.folders import write_clip, write_dino


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("judges")
    write_clip(root / "clip")
    write_dino(root / "dinov2")
    write_dino(root / "vit", "vit")
    return root


@pytest.mark.parametrize(("name", "folder"), [("clip", "clip"), ("dino", "dinov2"), ("dino", "vit")])
def test_the_same_object_is_alike_and_another_is_less_so(folders, name, folder):
    network = Similarity({name: folders / folder}, "cpu")
    key, object_ = f"{name}_similarity", vase()
    other = object_.copy()
    other[..., :3] = 255 - other[..., :3]
    assert network(object_, object_)[key] == pytest.approx(1, abs=1e-5)
    assert network(object_, other)[key] < network(object_, object_)[key]
    hidden = object_.copy()
    hidden[hidden[..., 3] == 0] = (9, 200, 30, 0)
    assert network(object_, hidden)[key] == pytest.approx(1, abs=1e-5)
    assert network.facts[name]["digest"] and network.loaded["similarity"].host > 0


def test_dino_is_as_transformers_has_it(folders):
    """The classification token after the last normalisation, of a picture that needs no resizing."""
    rng = np.random.default_rng(0)
    pictures = [np.dstack([rng.integers(0, 256, (28, 28, 3)), np.full((28, 28), 255)]).astype(np.uint8) for _ in "ab"]
    reference = AutoModel.from_pretrained(folders / "dinov2").eval()
    mean, spread = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        tokens = [
            reference(((torch.from_numpy(p[..., :3].copy()).permute(2, 0, 1) / 255 - mean) / spread)[None])
            for p in pictures
        ]
    one, other = (found.last_hidden_state[0, 0] for found in tokens)
    expected = float(one @ other / (one.norm() * other.norm()))
    assert Similarity({"dino": folders / "dinov2"}, "cpu")(*pictures)["dino_similarity"] == pytest.approx(
        expected, abs=1e-5
    )


@pytest.mark.parametrize("residence", ["always", "request"])
def test_the_report_has_them_where_folders_are_set(folders, residence):
    settings = SynthesizerSettings(clip="clip", dino="vit", device="cpu", residence=residence)
    stage = ObjectSynthesizer(settings, root=folders)
    assert ("similarity" in stage.load()) == (residence == "always")
    made = stage(job(), "classical")
    assert -1 <= made.metrics["clip_similarity"] <= 1.00001
    assert 0.5 < made.metrics["dino_similarity"] <= 1.00001
    assert made.report.models.keys() == {"clip", "dino"}
    json.dumps(made.metrics, allow_nan=False)
    without = ObjectSynthesizer(SynthesizerSettings(device="cpu"), root=folders)(job(), "classical")
    assert not {"clip_similarity", "dino_similarity"} & without.metrics.keys()
    np.testing.assert_array_equal(made.image, without.image)


def test_what_is_no_such_network_is_refused(folders, tmp_path):
    with pytest.raises(CheckpointError, match="clip/config.json describes a clip; accepted: dinov2, vit"):
        Similarity({"dino": folders / "clip"}, "cpu")
    with pytest.raises(CheckpointError, match="There is no folder nowhere"):
        ObjectSynthesizer(SynthesizerSettings(clip="nowhere", device="cpu"), root=tmp_path).load()
