"""The ``openvino`` backend's own parts: parameters, types, errors. What it computes is tested with `lama`."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from atelier.serving.backends.batching import RunError
from atelier.serving.backends.config import LoadError, ModelConfig
from atelier.serving.backends.openvino_session import OpenvinoSession, properties


class Log:
    def __init__(self):
        self.warnings = []

    def log_info(self, message):
        pass

    def log_warn(self, message):
        self.warnings.append(message)


def config(folder, **changes):
    document = {
        "name": "joined",
        "max_batch_size": 4,
        "default_model_filename": "model.onnx",
        "input": [{"name": name, "data_type": "TYPE_FP32", "dims": [-1]} for name in ("A", "B")],
        "output": [{"name": "C", "data_type": "TYPE_FP32", "dims": [-1]}],
        **changes,
    }
    return ModelConfig.parse(document, folder)


def parameters(**texts):
    return {"parameters": {key: {"string_value": text} for key, text in texts.items()}}


@pytest.fixture
def folder(tmp_path):
    tensors = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None]) for name in "ABC"}
    node = helper.make_node("Concat", ["A", "B"], ["C"], axis=1)
    graph = helper.make_graph([node], "joined", [tensors["A"], tensors["B"]], [tensors["C"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path


def test_it_computes_and_keeps_what_it_has_answered(folder):
    session = OpenvinoSession(config(folder), Log())
    one = session.run({"A": np.ones((2, 3), np.float32), "B": np.zeros((2, 1), np.float32)}, ["C"])["C"]
    two = session.run({"A": np.zeros((1, 5), np.float32), "B": np.ones((1, 2), np.float32)}, ["C"])["C"]
    assert one.tolist() == [[1, 1, 1, 0]] * 2
    assert two.tolist() == [[0, 0, 0, 0, 0, 1, 1]]


def test_arrays_that_do_not_fit_are_an_error_and_the_next_run_works(folder):
    session = OpenvinoSession(config(folder), Log())
    with pytest.raises(RunError, match="openvino error") as caught:
        session.run({"A": np.ones((2, 3, 1), np.float32), "B": np.ones((2, 3), np.float32)}, ["C"])
    assert "\n" not in str(caught.value)
    fine = {"A": np.ones((2, 3), np.float32), "B": np.ones((2, 3), np.float32)}
    assert (session.run(fine, ["C"])["C"] == 1).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"default_model_filename": "other.onnx"}, "unable to find"),
        ({"input": [{"name": "A", "data_type": "TYPE_FP32", "dims": [-1]}]}, "expects 1 inputs, model provides 2"),
        ({"output": [{"name": "D", "data_type": "TYPE_FP32", "dims": [-1]}]}, "unexpected inference output 'D'"),
        ({"output": [{"name": "C", "data_type": "TYPE_FP16", "dims": [-1]}]}, "expects datatype TYPE_FP16"),
        ({"output": [{"name": "C", "data_type": "TYPE_FP32", "dims": [3]}]}, "the model expects 2 dimensions"),
        (parameters(INFERENCE_NUM_THREADS="two"), "non-negative number, got two"),
        (parameters(NUM_STREAMS="many"), "AUTO/NUMA, got many"),
        (parameters(PERFORMANCE_HINT="fast"), "LATENCY or THROUGHPUT, got fast"),
        (parameters(HINT_BF16="maybe"), "either YES or NO, got maybe"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(folder, changes, words):
    with pytest.raises(LoadError, match=words):
        OpenvinoSession(config(folder, **changes), Log())


def test_a_file_that_is_no_model_is_refused_in_one_sentence(folder):
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(LoadError) as caught:
        OpenvinoSession(config(folder), Log())
    assert "\n" not in str(caught.value)


def test_parameters_become_properties(folder):
    log = Log()
    texts = {"INFERENCE_NUM_THREADS": "3", "NUM_STREAMS": "auto", "PERFORMANCE_HINT": "throughput", "junk": "1"}
    found = properties(config(folder, **parameters(**texts)), log)
    assert found == {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 3,
        "NUM_STREAMS": "AUTO",
        "PERFORMANCE_HINT": "THROUGHPUT",
    }
    assert log.warnings == ["model 'joined': parameter 'junk' is ignored: the backend has none of that name"]


def test_float32_is_what_it_computes_in_unless_told_otherwise(folder):
    assert properties(config(folder), Log())["INFERENCE_PRECISION_HINT"] == "f32"
    assert properties(config(folder, **parameters(HINT_BF16="YES")), Log())["INFERENCE_PRECISION_HINT"] == "bf16"
