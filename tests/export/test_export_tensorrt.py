"""TensorRT takes the network. Parsed and built for real, by TensorRT for RTX, which needs no GPU for that."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from atelier.inpainting import load_generator
from export import rtx
from export.artefact import CHECKOUT
from export.engine import Profile, build, tensorrt
from export.errors import ExportError
from export.lama.export import check_tensorrt, profiles
from export.lama.targets import onnx_model
from tests.golden.lama.cases import FOLDER


@pytest.fixture(scope="module")
def toolkit():
    rtx.set_up()
    return rtx.load()


def test_setting_up_twice_does_nothing(toolkit):
    assert rtx.set_up() is False
    assert toolkit.__name__ == "tensorrt_rtx_bindings"
    assert Path(toolkit.__file__).is_relative_to(CHECKOUT / ".tools" / "tensorrt-rtx")
    assert str(rtx.HOME) not in sys.path


def test_its_wheels_stay_apart(toolkit):
    listed = subprocess.run([sys.executable, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "tensorrt-rtx" not in listed.lower().replace("_", "-")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_network_is_parsed_and_built(toolkit, precision):
    before = sorted(path.name for path in (CHECKOUT / "model_repository" / "lama" / "1").iterdir())
    assert check_tensorrt(FOLDER, precision) > 100_000
    assert sorted(path.name for path in (CHECKOUT / "model_repository" / "lama" / "1").iterdir()) == before


def test_inputs_and_output_are_what_triton_declares(toolkit):
    logger = toolkit.Logger(toolkit.Logger.ERROR)
    network = toolkit.Builder(logger).create_network(1 << int(toolkit.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = toolkit.OnnxParser(network, logger)
    assert parser.parse(onnx_model(load_generator(FOLDER), "fp16"))
    assert parser.num_errors == 0
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    assert {tensor.name: (tensor.dtype, tuple(tensor.shape)) for tensor in inputs + outputs} == {
        "IMAGE": (toolkit.uint8, (-1, -1, -1, 3)),
        "MASK": (toolkit.uint8, (-1, -1, -1)),
        "INPAINTED": (toolkit.uint8, (-1, -1, -1, 3)),
    }


def test_the_transform_as_onnx_dft_is_refused(toolkit):
    """Why the Fourier units are matrix products."""
    node = onnx.helper.make_node("DFT", ["x"], ["y"], axis=1, onesided=1)
    graph = onnx.helper.make_graph(
        [node],
        "dft",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 16, 1])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 9, 2])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    profile = Profile({"x": ((1, 16, 1), (1, 16, 1), (8, 16, 1))})
    with pytest.raises(ExportError, match="TensorRT's parser refuses the network: "):
        build(toolkit, model.SerializeToString(), [profile], exact=True)


def test_a_file_that_is_no_network(toolkit):
    with pytest.raises(ExportError, match="TensorRT's parser refuses the network"):
        build(toolkit, b"not a network", [], exact=True)


def test_the_profiles_are_the_canonical_tiles():
    found = [profile.shapes["IMAGE"] for profile in profiles()]
    assert found[0] == ((1, 16, 16, 3), (4, 1024, 1024, 3), (8, 1536, 1536, 3))
    assert [shapes[1] for shapes in found[1:]] == [(4, side, side, 3) for side in (256, 512, 1024)]
    for profile in profiles():
        assert [shape[:3] for shape in profile.shapes["IMAGE"]] == list(profile.shapes["MASK"])


def test_an_engine_for_triton_needs_the_gpu():
    with pytest.raises(ExportError, match="is built on the machine with the GPU it is for"):
        tensorrt()


def test_without_the_setup_the_command_that_brings_it_is_named(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "tensorrt_rtx_bindings", raising=False)
    monkeypatch.setattr(rtx, "HOME", tmp_path)
    with pytest.raises(ExportError, match="python -m export setup-tensorrt-rtx"):
        rtx.load()
