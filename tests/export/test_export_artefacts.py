"""The artefacts against what upstream answered, through the very files that Triton serves."""

import collections
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from atelier.inpainting import load_generator
from export.lama.fused import FusedGenerator, LamaGraph
from export.lama.targets import onnx_model, run_onnx, run_torchscript, write_torchscript
from export.lama.verify import FLOAT_ATOL, TOLERANCE
from tests.golden.lama.cases import FOLDER, HOT, NAMES, golden

RUNNERS = {"onnx": run_onnx, "torchscript": run_torchscript}
SUFFIX = {"onnx": "onnx", "torchscript": "pt"}


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    """Both checkpoints as every artefact, each written once: ``artefact(checkpoint, target, precision)``."""
    folder, written = tmp_path_factory.mktemp("artefacts"), {}

    def write(checkpoint, target, precision):
        key = checkpoint.name, target, precision
        if key not in written:
            path = folder / f"{checkpoint.name}-{precision}.{SUFFIX[target]}"
            generator = load_generator(checkpoint)
            if target == "onnx":
                path.write_bytes(onnx_model(generator, precision))
            else:
                write_torchscript(generator, precision, path)
            written[key] = RUNNERS[target](path)
        return written[key]

    return write


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", ["onnx", "torchscript"])
@pytest.mark.parametrize("name", NAMES)
def test_upstreams_picture(artefact, name, target, precision):
    """Traced at one size, right at all of them; masks of every value; bytes outside the hole untouched."""
    case = golden(name)
    answer = artefact(case.checkpoint, target, precision)(case.image, case.mask)
    assert answer.dtype == np.uint8
    assert answer.shape == case.image.shape
    np.testing.assert_array_equal(answer[case.mask == 0], case.image[case.mask == 0])

    hole = case.cut(case.mask) > 0
    gap = np.abs(case.cut(answer)[hole].astype(int) - case.levels[hole])
    tolerance = TOLERANCE[precision]
    assert gap.size > 0
    assert gap.max() <= tolerance.max_levels
    assert (gap > 0).sum() <= max(2, tolerance.max_share * gap.size)  # one value of a small hole is a large share of it
    if precision == "fp16":
        assert 20 * np.log10(255 / max(np.sqrt((gap**2).mean()), 1e-9)) >= tolerance.min_psnr


@pytest.mark.parametrize("transform", ["fft", "matmul"])
@pytest.mark.parametrize("name", NAMES)
def test_folding_and_joining_keep_the_prediction(name, transform):
    case = golden(name)
    image, mask = case.tensors
    with torch.inference_mode():
        predicted = FusedGenerator(load_generator(case.checkpoint), transform, "fp32")(
            torch.cat([image * (1 - mask), mask], dim=1)
        )
    np.testing.assert_allclose(predicted.numpy(), case.predicted, rtol=0, atol=FLOAT_ATOL)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_where_it_really_is_half(name):
    """In PyTorch: ONNX Runtime's CPU provider computes half-precision graphs in float32, and cannot overflow."""
    case = golden(name)
    image, mask = case.tensors
    network = FusedGenerator(load_generator(case.checkpoint), "matmul", "fp16")
    with torch.inference_mode():
        predicted = network(torch.cat([image * (1 - mask), mask], dim=1))
    gap = np.abs(predicted.numpy() - case.predicted)
    assert gap.max() <= 1e-2  # 6.2e-3 measured
    assert np.sqrt(np.mean(gap**2)) <= 1e-3


def test_half_precision_fourier_units_are_what_overflows():
    """The same network with its Fourier units in half precision too is NaN everywhere."""

    case = golden("hot/square_256.npz")
    image, mask = case.tensors
    masked = torch.cat([image * (1 - mask), mask], dim=1)
    with torch.inference_mode():
        kept = FusedGenerator(load_generator(HOT), "matmul", "fp16")(masked)
        generator = load_generator(HOT, transform="matmul").half()
        lost = generator.predict(image.half(), mask.half())
    assert torch.isfinite(kept).all()
    assert torch.isnan(lost).all()


@pytest.mark.parametrize("target", ["onnx", "torchscript"])
def test_a_batch_is_its_pictures(artefact, target):
    case = golden("batch4_96.npz")
    run = artefact(FOLDER, target, "fp32")
    together = run(case.image, case.mask).astype(int)
    apart = np.concatenate([run(case.image[i : i + 1], case.mask[i : i + 1]) for i in range(4)])
    assert np.abs(together - apart).max() <= 1
    assert (together != apart).mean() <= 1e-3


@pytest.mark.parametrize("target", ["onnx", "torchscript"])
@pytest.mark.parametrize(("bias", "level"), [(30.0, 255), (-30.0, 0)])
def test_white_stays_white(tmp_path, target, bias, level):
    """A saturated prediction is 255 in upstream; a logistic function that stops just below 1 makes 254 of it."""
    generator = load_generator(FOLDER)
    generator.model[-2].bias += bias
    if target == "onnx":
        (tmp_path / "model.onnx").write_bytes(onnx_model(generator, "fp32"))
    else:
        write_torchscript(generator, "fp32", tmp_path / "model.pt")
    run = RUNNERS[target](tmp_path / f"model.{SUFFIX[target]}")
    answer = run(np.full((1, 32, 48, 3), 128, np.uint8), np.ones((1, 32, 48), np.uint8))
    np.testing.assert_array_equal(answer, level)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_the_native_onnx_backend_checks(precision):
    content = onnx_model(load_generator(FOLDER), precision)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = {value.name: (value.type, value.shape) for value in [*session.get_inputs(), *session.get_outputs()]}
    assert found == {
        "IMAGE": ("tensor(uint8)", ["N", "H", "W", 3]),
        "MASK": ("tensor(uint8)", ["N", "H", "W"]),
        "INPAINTED": ("tensor(uint8)", ["N", "H", "W", 3]),
    }
    model = onnx.load_from_string(content)
    assert model.ir_version <= 10
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    operators = collections.Counter(node.op_type for node in model.graph.node)
    assert not {"DFT", "STFT", "ScatterND", "If", "Loop"} & set(operators)
    # Made once, not once a unit: one pair of matrices for the width, one for the height.
    assert operators["Cos"] == operators["Sin"] == 2
    assert len(content) < 1_000_000


def test_the_half_precision_graph_casts_around_the_fourier_units():
    """Each unit's products and its convolution take float32, all other convolutions half precision."""
    model = onnx.load_from_string(onnx_model(load_generator(FOLDER), "fp16"))
    kinds = {weight.name: weight.data_type for weight in model.graph.initializer}
    kernels = {weight.name: list(weight.dims[2:]) for weight in model.graph.initializer}
    convolutions = [node.input[1] for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    float32 = [name for name in convolutions if kinds[name] == onnx.TensorProto.FLOAT]
    half = [name for name in convolutions if kinds[name] == onnx.TensorProto.FLOAT16]
    assert len(float32) == 4  # two units in each of two blocks
    assert all(kernels[name] == [1, 1] for name in float32)
    assert len(half) == len(convolutions) - 4 == 24
    inferred = onnx.shape_inference.infer_shapes(model)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    assert len(products) == 32
    assert all(types[node.output[0]] == onnx.TensorProto.FLOAT for node in products)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_the_native_pytorch_backend_needs(tmp_path, precision):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_torchscript(load_generator(FOLDER), precision, tmp_path / "model.pt")
    assert not caught
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(tmp_path / "model.pt"))
    assert [argument.name for argument in module.forward.schema.arguments] == ["self", "IMAGE", "MASK"]
    assert [str(result.type) for result in module.forward.schema.returns] == ["Tensor"]
    # A device in the graph would be that of the tracing machine, and wrong on every other.
    constants = [str(node) for node in module.inlined_graph.nodes() if node.kind() == "prim::Constant"]
    assert constants
    assert not [text for text in constants if "Device" in text]


def test_the_graph_is_the_module(artefact):
    """What is traced, and the trace, on a picture that neither has seen."""
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (3, 24, 40, 3), dtype=np.uint8)
    mask = (rng.random((3, 24, 40)) > 0.7).astype(np.uint8)
    graph = LamaGraph(FusedGenerator(load_generator(FOLDER), "fft", "fp32"))
    with torch.inference_mode():
        expected = graph(torch.from_numpy(image), torch.from_numpy(mask)).numpy()
    np.testing.assert_array_equal(artefact(FOLDER, "torchscript", "fp32")(image, mask), expected)
