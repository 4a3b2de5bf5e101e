"""GVM's exporter: artefacts that compute what the checkpoint computes, at any size; what is refused."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest

from atelier.matting import MattingPipeline, MattingSettings
from atelier.matting.checkpoint import load
from export.gvm.export import Source, check_tensorrt
from export.gvm.graphs import DECODER, ENCODER, GRAPHS, UNET, run_onnx
from tests.conftest import ROOT
from tests.golden.gvm.cases import CASES, assert_golden, bases, golden

MODELS = [graph.model for graph in GRAPHS]


@pytest.fixture(scope="module")
def checkpoints(gvm_exports):
    return gvm_exports.checkpoints


def module(*arguments):
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)


def source_of(checkpoints, name):
    arguments = bases(checkpoints, name)
    return Source(**arguments)


class OnnxNetworks:
    """The artefacts of a repository as the pipeline's networks."""

    def __init__(self, repository, sampler):
        self.sampler = sampler
        self.run = {graph: run_onnx(graph, repository / graph.model / "1" / "model.onnx") for graph in GRAPHS}

    def encode(self, frames):
        return self.run[ENCODER]({"FRAMES": frames})

    def predict(self, sample, timestep):
        return self.run[UNET]({"SAMPLE": sample, "TIMESTEP": np.array([timestep], np.float32)})

    def decode(self, latents):
        return self.run[DECODER]({"LATENTS": latents})


@pytest.fixture(scope="module")
def exported(checkpoints, gvm_exports):
    """``exported(case name, precision)``: a pipeline over the artefacts of the case's checkpoint."""
    made = {}

    def get(name, precision="fp32"):
        repository = gvm_exports(name, precision)
        if repository not in made:
            networks = OnnxNetworks(repository, source_of(checkpoints, name).load().sampler)
            made[repository] = MattingPipeline(networks), repository
        return made[repository]

    return get


@pytest.mark.parametrize("name", CASES)
def test_the_artefacts_answer_what_upstream_answered(exported, name):
    case = golden(name)
    ensemble = min(case.expected)
    settings = MattingSettings(**case.settings, ensemble_size=ensemble)
    alpha = exported(name)[0](case.frames, settings, noise=case.noise, thresholds=False)
    assert_golden(alpha, case.expected[ensemble])


@pytest.mark.parametrize("name", ["a01_readme", "a06_dav"])  # an adapter is merged before, in float32
def test_half_precision_stays_within_its_own_tolerance(exported, name):
    """Random networks amplify rounding more than trained ones; what is wrong differs by ten times that."""
    case = golden(name)
    settings = MattingSettings(**case.settings, ensemble_size=1)
    alpha = exported(name, "fp16")[0](case.frames, settings, thresholds=False)
    assert_golden(alpha, case.expected[min(case.expected)], largest=0.05, mean=5e-3)


def test_every_artefact_is_described_and_takes_any_size(exported):
    _, repository = exported("a04_lora")
    for graph in GRAPHS:
        folder = repository / graph.model
        assert (folder / "config.pbtxt").is_file()
        facts = json.loads((folder / "1" / "model.onnx.json").read_text("utf-8"))
        assert facts["checkpoint"] == {"name": "ckpt", "pretrain_type": "svd"}
        assert facts["lora"]["modules"] == 50
        assert facts["sampler"] == {"num_train_timesteps": 1000, "shift": 3.0}
        assert len(facts["verified"]["cases"]) >= 2
        model = onnx.load(folder / "1" / "model.onnx")
        for value in (*model.graph.input, *model.graph.output):
            axes = {**graph.inputs, graph.output: graph.axes}[value.name]
            dims = value.type.tensor_type.shape.dim
            assert [index for index, dim in enumerate(dims) if dim.dim_param] == list(axes)
        assert {opset.domain for opset in model.opset_import} <= {"", "ai.onnx"}


def test_cross_attention_is_folded_to_its_bias(exported, checkpoints):
    whole = load(checkpoints / "ckpt").unet.state_dict()
    assert not [name for name in whole if "attn2" in name and not name.endswith("to_out.0.bias")]
    model = onnx.load(exported("a01_readme")[1] / "gvm_unet" / "1" / "model.onnx")
    sides = [dim for tensor in model.graph.initializer for dim in tensor.dims]
    assert 1024 not in sides  # nothing is left of the tokens


def test_tensorrt_parses_and_builds_all_three(checkpoints):
    sizes = check_tensorrt(source_of(checkpoints, "a06_dav"), "fp16")
    assert set(sizes) == set(MODELS)
    assert all(size > 100_000 for size in sizes.values())


def test_the_command_exports_a_random_checkpoint(tmp_path):
    made = module("export", "synthetic", "gvm", "--output", str(tmp_path / "가중치"), "--seed", "3")
    assert made.returncode == 0, made.stderr
    options = ["--lora-base", str(tmp_path / "가중치" / "unet"), "--repository", str(tmp_path / "models")]
    run = module("export", "gvm", "--checkpoint", str(tmp_path / "가중치"), *options)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("verified") == 3
    for model in MODELS:
        facts = json.loads((tmp_path / "models" / model / "1" / "model.onnx.json").read_text("utf-8"))
        assert facts["synthetic"] is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--checkpoint", "nowhere"], "There is no folder nowhere"),
        (["--checkpoint", "nowhere", "--target", "tensorrt"], "machine with the GPU"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(tmp_path, arguments, words):
    run = module("export", "gvm", *arguments, "--repository", str(tmp_path / "models"))
    assert run.returncode == 1
    assert words in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "models").exists()


def test_a_contradicting_type_is_refused(checkpoints, tmp_path):
    options = ["--pretrain-type", "dav", "--repository", str(tmp_path / "models")]
    run = module("export", "gvm", "--checkpoint", str(checkpoints / "ckpt"), *options)
    assert run.returncode == 1
    assert "are of type svd" in run.stderr
