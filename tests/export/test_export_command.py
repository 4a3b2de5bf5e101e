"""``python -m export`` from end to end, in repositories of its own."""

import hashlib
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from atelier.inpainting import load_generator
from export.artefact import CHECKOUT
from tests.golden.lama.cases import FOLDER, golden

PLAIN = FOLDER / "models" / "best_plain.ckpt"


@pytest.fixture
def overflowing(tmp_path):
    """Right in float32, beyond half precision's range: one layer a million times up, the next as much down."""
    folder = tmp_path / "overflowing"
    (folder / "models").mkdir(parents=True)
    shutil.copy(FOLDER / "config.yaml", folder)
    content = torch.load(PLAIN, weights_only=True)
    weights = content["state_dict"]
    for name in ("weight", "bias"):
        weights[f"generator.model.1.bn_l.{name}"] *= 1e6
    weights["generator.model.2.ffc.convl2l.weight"] *= 1e-6
    torch.save(content, folder / "models" / "best.ckpt")
    return folder


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("target", "suffix", "precision"),
    [("onnx", "onnx", "fp32"), ("torchscript", "pt", "fp32"), ("onnx", "onnx", "fp16")],
)
def test_a_fresh_repository(run, tmp_path, target, suffix, precision):
    repository = tmp_path / "deep" / "repository"
    status, out, err = run(
        "lama", "--checkpoint", FOLDER, "--target", target, "--precision", precision, "--repository", repository,
        "--version", 3,
    )  # fmt: skip
    assert (status, err) == (0, "")
    source = CHECKOUT / "model_repository" / "lama"
    configs = [f"lama/configs/{path.name}" for path in (source / "configs").iterdir()]
    artefact = f"lama/3/model.{suffix}"
    assert files(repository) == sorted(
        ["lama", "lama/3", artefact, f"{artefact}.json", "lama/config.pbtxt", "lama/configs", *configs]
    )
    for name in ["config.pbtxt", *(path.removeprefix("lama/") for path in configs)]:
        assert (repository / "lama" / name).read_bytes() == (source / name).read_bytes()
    for case in ("gradient 96x64", "noise, bottleneck 13x9", "batch of 4, 120x80", "known", "same", "ok"):
        assert case in out
    assert f"model.{suffix} (" in out
    assert "CHANGED" not in out

    found = json.loads((repository / f"{artefact}.json").read_text(encoding="utf-8"))
    assert found["model"] == "lama"
    assert (found["target"], found["precision"], found["synthetic"]) == (target, precision, False)
    assert found["sha256"] == hashlib.sha256((repository / artefact).read_bytes()).hexdigest()
    assert found["checkpoint"] == {
        "name": "lama",
        "file": "best.ckpt",
        "sha256": hashlib.sha256((FOLDER / "models" / "best.ckpt").read_bytes()).hexdigest(),
    }
    assert found["generator"]["ngf"] == 8
    assert found["versions"]["torch"] == torch.__version__
    assert ("onnx" in found["versions"]) == (target == "onnx")
    cases = found["verified"]["cases"]
    assert len(cases) >= 7
    assert found["verified"]["tolerance"]["max_levels"] == {"fp32": 1, "fp16": 6}[precision]
    assert all(case["finite"] and case["known_identical"] and not case["black"] for case in cases)
    assert sum(case["values"] for case in cases) > 50_000
    assert str(FOLDER) not in json.dumps(found)


def test_the_same_input_gives_the_same_files(run, tmp_path):
    for name in ("a", "b"):
        assert run("lama", "--checkpoint", FOLDER, "--repository", tmp_path / name)[0] == 0
    for file in ("model.onnx", "model.onnx.json"):
        assert (tmp_path / "a/lama/1" / file).read_bytes() == (tmp_path / "b/lama/1" / file).read_bytes()


def test_configs_that_are_there_stay(run, tmp_path):
    (tmp_path / "lama").mkdir()
    (tmp_path / "lama" / "config.pbtxt").write_text("mine")
    assert run("lama", "--checkpoint", FOLDER, "--repository", tmp_path, "--no-verify")[0] == 0
    assert (tmp_path / "lama" / "config.pbtxt").read_text() == "mine"
    assert files(tmp_path / "lama") == ["1", "1/model.onnx", "1/model.onnx.json", "config.pbtxt"]
    assert json.loads((tmp_path / "lama/1/model.onnx.json").read_text())["verified"] is None


def test_a_torchscript_big_lama_becomes_onnx(run, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
        torch.jit.trace(load_generator(FOLDER), example, check_trace=False).save(str(tmp_path / "big-lama.pt"))
    status, _, err = run("lama", "--checkpoint", tmp_path / "big-lama.pt", "--repository", tmp_path / "repository")
    assert (status, err) == (0, "")
    case = golden("rect_128x96.npz")
    session = onnxruntime.InferenceSession(tmp_path / "repository/lama/1/model.onnx")
    answer = session.run(None, {"IMAGE": case.image, "MASK": case.mask})[0]
    assert np.abs(answer.astype(int) - case.levels).max() <= 1


def test_an_overflow_leaves_nothing(run, tmp_path, overflowing):
    repository = tmp_path / "repository"
    before = files(tmp_path)
    status, out, err = run("lama", "--checkpoint", overflowing, "--precision", "fp16", "--repository", repository)
    assert status == 1
    assert "FAILS" in out
    assert err.startswith("export: The artefact is not the checkpoint's network, and was not kept: on gradient 96x64, ")
    assert "the network's output is not finite" in err
    assert err.count("\n") == 1
    assert files(tmp_path) == before


def test_an_overflow_leaves_the_earlier_artefact(run, tmp_path, overflowing):
    repository = tmp_path / "repository"
    assert run("lama", "--checkpoint", FOLDER, "--repository", repository)[0] == 0
    before = {name: (repository / name).read_bytes() for name in files(repository) if (repository / name).is_file()}
    assert run("lama", "--checkpoint", overflowing, "--precision", "fp16", "--repository", repository)[0] == 1
    after = {name: (repository / name).read_bytes() for name in files(repository) if (repository / name).is_file()}
    assert before == after
    assert not [name for name in files(tmp_path) if ".export-" in name]
    # The same checkpoint is right in float32, and then takes the artefact's place.
    assert run("lama", "--checkpoint", overflowing, "--repository", repository)[0] == 0
    assert (repository / "lama/1/model.onnx").read_bytes() != before["lama/1/model.onnx"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--checkpoint", "nothing.ckpt"], "There is no checkpoint nothing.ckpt."),
        (["--checkpoint", "."], "holds no models/best.ckpt"),
        (["--checkpoint", FOLDER, "--repository", FOLDER / "README.md"], "README.md is a file; a folder"),
        (["--checkpoint", FOLDER, "--target", "tensorrt"], "is built on the machine with the GPU it is for"),
    ],
)
def test_failures_are_one_line(run, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    repository = [] if "--repository" in arguments else ["--repository", tmp_path / "repository"]
    status, out, err = run("lama", *arguments, *repository)
    assert (status, out) == (1, "")
    assert sentence in err
    assert err.startswith("export: ")
    assert err.count("\n") == 1
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lama"], "Missing option '--checkpoint'"),
        (
            ["lama", "--checkpoint", "x", "--target", "coreml"],
            "'coreml' is not one of 'onnx', 'torchscript', 'tensorrt'",
        ),
        (["lama", "--checkpoint", "x", "--precision", "int8"], "'int8' is not one of 'fp32', 'fp16'"),
        (["lama", "--checkpoint", "x", "--version", "0"], "greater than or equal to 1"),
        (["lama", "--checkpoint", "x", "--check"], "--check goes with --target tensorrt"),
        (["synthetic", "nonsense", "--output", "x"], "there is no synthetic 'nonsense'; there is "),
        (["synthetic", "lama", "--output", "x", "--size", "huge"], "'huge' is not one of 'tiny', 'full'"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_usage(run, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(*arguments)
    assert status == 2
    assert sentence in " ".join(err.split())
    assert files(tmp_path) == []


def test_help_explains_every_option():
    def help_of(*command):
        done = subprocess.run(
            [sys.executable, "-m", "export", *command, "--help"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
        return " ".join(done.stdout.split())

    for command in ("lama", "synthetic", "setup-tensorrt-rtx"):
        assert command in help_of()
    lama = help_of("lama")
    for option in ("--checkpoint", "--target", "--precision", "--repository", "--version", "--no-verify", "--check"):
        assert option in lama
    assert "[default: fp32]" in lama


def test_the_bundled_artefact_is_described():
    folder = Path(CHECKOUT / "model_repository" / "lama" / "1")
    found = json.loads((folder / "model.onnx.json").read_text(encoding="utf-8"))
    content = (folder / "model.onnx").read_bytes()
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    assert found["verified"]["cases"]
