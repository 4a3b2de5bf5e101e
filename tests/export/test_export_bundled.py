"""The bundled checkpoint and the bundled artefact are one function, and what the exporter makes today."""

import hashlib
import json

import numpy as np
import pytest
from onnxruntime import InferenceSession
from PIL import Image

from atelier.inpainting import load_generator
from export.lama.export import export
from tests.conftest import ROOT
from training import settings

CHECKPOINT = ROOT / "weights" / "lama-mini"
ARTEFACT = ROOT / "model_repository" / "lama" / "1" / "model.onnx"


def _session(path):
    return InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def description():
    return json.loads(ARTEFACT.with_name("model.onnx.json").read_text(encoding="utf-8"))


def test_both_are_of_the_same_weights(description):
    weights = (CHECKPOINT / "models" / "best.ckpt").read_bytes()
    assert len(weights) <= 12_000_000
    assert description["checkpoint"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert description["sha256"] == hashlib.sha256(ARTEFACT.read_bytes()).hexdigest()
    assert description["verified"]["all"]["max_levels"] <= 1


def test_the_exporter_makes_the_same_function_again(tmp_path):
    export(CHECKPOINT, "onnx", "fp32", tmp_path, version=1)
    bundled, again = _session(ARTEFACT), _session(tmp_path / "lama" / "1" / "model.onnx")
    for name in ("page.png", "cat.png"):
        image = np.asarray(Image.open(ROOT / "samples" / name).convert("RGB"))[:296, :400]
        mask = np.asarray(Image.open(ROOT / "samples" / f"{name[:-4]}.mask.png").convert("L"))[:296, :400]
        inputs = {"IMAGE": image[None], "MASK": mask[None]}
        first, second = (session.run(["INPAINTED"], inputs)[0] for session in (bundled, again))
        np.testing.assert_array_equal(first, second)
        assert not np.array_equal(first[0], image)


def test_the_network_is_the_one_that_the_settings_describe():
    assert load_generator(CHECKPOINT).config == settings.read(ROOT / "training" / "settings.yaml").generator.config()


def test_the_card_of_the_training_holds_its_settings():
    made = json.loads((CHECKPOINT / "training.json").read_text(encoding="utf-8"))
    wanted = settings.read(ROOT / "training" / "settings.yaml")
    assert made["steps"] == made["steps_planned"] == wanted.total_steps
    assert settings.parse(made["settings"]) == wanted
