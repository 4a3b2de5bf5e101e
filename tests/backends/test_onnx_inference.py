"""What a served ONNX model answers, through the embedded server."""

from __future__ import annotations

import time

import numpy as np
import pytest
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from tests.conftest import logged

from .conftest import Models, config, graph, parameter, tensor, value

DELAY = "dynamic_batching { max_queue_delay_microseconds: 300000 }"
QUEUED = "dynamic_batching { max_queue_delay_microseconds: 2000000 preferred_batch_size: [ 3 ] }"


def test_concurrent_requests_share_runs(models: Models) -> None:
    model = graph([helper.make_node("Add", ["X", "X"], ["Y"])], [value("X", ["N", "W"])], [value("Y", ["N", "W"])])
    models.onnx("batched", model, config("onnxruntime", [tensor("X", [-1])], [tensor("Y", [-1])], 8, DELAY))
    assert models.load("batched") == ""
    requests = [{"X": np.full((1 + i % 2, 5), i, np.float32)} for i in range(16)]

    answers = models.infer_many("batched", requests)

    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer["Y"], request["X"] * 2)
    statistics = models.statistics("batched")
    while statistics["inference_count"] < 24:  # the last run is counted after its answers are sent
        time.sleep(0.05)
        statistics = models.statistics("batched")
    assert statistics["inference_count"] == 24
    assert statistics["execution_count"] <= 8


def test_other_shapes_are_answered_too(models: Models) -> None:
    requests = [{"X": np.full((1, 3 + i % 3), i, np.float32)} for i in range(9)]

    answers = models.infer_many("batched", requests)

    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer["Y"], request["X"] * 2)


def test_half_precision(models: Models) -> None:
    kind = TensorProto.FLOAT16
    model = graph(
        [helper.make_node("Add", ["X", "X"], ["Y"])], [value("X", ["N", 3], kind)], [value("Y", ["N", 3], kind)]
    )
    models.onnx("half", model, config("onnxruntime", [tensor("X", [3], "FP16")], [tensor("Y", [3], "FP16")]))
    assert models.load("half") == ""
    given = np.array([[0.5, 1.25, -3]], np.float16)

    answer = models.infer("half", {"X": given})["Y"]

    assert answer.dtype == np.float16
    np.testing.assert_array_equal(answer, given * 2)


@pytest.mark.parametrize(("kind", "onnx_kind", "dtype"), [
    ("BOOL", TensorProto.BOOL, np.bool_),
    ("UINT8", TensorProto.UINT8, np.uint8),
    ("INT16", TensorProto.INT16, np.int16),
    ("INT64", TensorProto.INT64, np.int64),
    ("FP64", TensorProto.DOUBLE, np.float64),
])  # fmt: skip
def test_types_pass_unchanged(models: Models, kind: str, onnx_kind: int, dtype: type) -> None:
    name = f"identity_{kind.lower()}"
    nodes = [helper.make_node("Identity", ["X"], ["Y"])]
    model = graph(nodes, [value("X", ["N", 3], onnx_kind)], [value("Y", ["N", 3], onnx_kind)])
    models.onnx(name, model, config("onnxruntime", [tensor("X", [3], kind)], [tensor("Y", [3], kind)]))
    assert models.load(name) == ""
    given = np.array([[0, 1, 100]]).astype(dtype)

    answer = models.infer(name, {"X": given})["Y"]

    assert answer.dtype == dtype
    np.testing.assert_array_equal(answer, given)


def test_texts(models: Models) -> None:
    kind = TensorProto.STRING
    nodes = [helper.make_node("Identity", ["X"], ["Y"])]
    model = graph(nodes, [value("X", ["N", 2], kind)], [value("Y", ["N", 2], kind)])
    models.onnx("texts", model, config("onnxruntime", [tensor("X", [2], "STRING")], [tensor("Y", [2], "STRING")]))
    assert models.load("texts") == ""

    answer = models.infer("texts", {"X": np.array([["größe", "b"], ["", "漢字"]], np.object_)})["Y"]

    assert answer.tolist() == [["größe".encode(), b"b"], [b"", "漢字".encode()]]
    status, message = models.refusal("texts", {"X": np.array([[b"\xff\xfe", b"b"]], np.object_)})
    assert (status, "not UTF-8" in message) == ("400", True)


def test_outputs_are_alphabetical_and_only_those_asked_for(models: Models) -> None:
    nodes = [helper.make_node("Identity", ["X"], [name]) for name in ("C", "A", "B")]
    model = graph(nodes, [value("X", ["N", 1])], [value(name, ["N", 1]) for name in ("C", "A", "B")])
    outputs = [tensor(name, [1]) for name in ("B", "C", "A")]
    models.onnx("ordered", model, config("onnxruntime", [tensor("X", [1])], outputs))
    assert models.load("ordered") == ""
    given = {"X": np.ones((1, 1), np.float32)}

    assert list(models.infer("ordered", given)) == ["A", "B", "C"]
    assert list(models.infer("ordered", given, ["C", "B"])) == ["B", "C"]


def test_a_fixed_shape_without_batching(models: Models) -> None:
    model = graph([helper.make_node("Add", ["X", "X"], ["Y"])], [value("X", [1, 3, 2])], [value("Y", [1, 3, 2])])
    models.onnx("fixed", model, config("onnxruntime", [tensor("X", [1, 3, 2])], [tensor("Y", [1, 3, 2])], batch=0))
    assert models.load("fixed") == ""
    given = np.arange(6, dtype=np.float32).reshape(1, 3, 2)

    np.testing.assert_array_equal(models.infer("fixed", {"X": given})["Y"], given * 2)


def test_optional_input(models: Models) -> None:
    model = graph(
        [helper.make_node("Mul", ["X", "SCALE"], ["Y"])],
        [value("X", [2]), value("SCALE", [1])],
        [value("Y", [2])],
        [helper.make_tensor("SCALE", TensorProto.FLOAT, [1], [3.0])],
    )
    inputs = [tensor("X", [2]), tensor("SCALE", [1], extra="optional: true")]
    models.onnx("optional", model, config("onnxruntime", inputs, [tensor("Y", [2])], batch=0))
    assert models.load("optional") == ""
    given = np.array([1, 2], np.float32)

    assert models.infer("optional", {"X": given})["Y"].tolist() == [3, 6]
    assert models.infer("optional", {"X": given, "SCALE": np.array([5], np.float32)})["Y"].tolist() == [5, 10]


def test_reshape_gives_a_row_its_one_value(models: Models) -> None:
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    node = helper.make_node("ReduceSum", ["X", "axes"], ["Y"], keepdims=0)
    model = graph([node], [value("X", ["N", 4])], [value("Y", ["N"])], [axes])
    rows = tensor("Y", [1], extra="reshape { shape: [] }")
    models.onnx("rows", model, config("onnxruntime", [tensor("X", [4])], [rows]))
    assert models.load("rows") == ""

    answer = models.infer("rows", {"X": np.arange(8, dtype=np.float32).reshape(2, 4)})["Y"]

    assert answer.tolist() == [[6], [22]]


def test_scalars_take_the_configured_dims(models: Models) -> None:
    model = graph([helper.make_node("Add", ["X", "X"], ["Y"])], [value("X", [])], [value("Y", [])])
    models.onnx("scalar", model, config("onnxruntime", [tensor("X", [1])], [tensor("Y", [1])], batch=0))
    assert models.load("scalar") == ""

    assert models.infer("scalar", {"X": np.array([4], np.float32)})["Y"].tolist() == [8]


def test_a_request_that_fails_leaves_its_batch_mates_alone(models: Models) -> None:
    """Gather fails for an index beyond the table, and with it a run that holds such a row."""
    kind = TensorProto.INT64
    table = helper.make_tensor("table", TensorProto.FLOAT, [3], [10, 20, 30])
    node = helper.make_node("Gather", ["table", "X"], ["Y"])
    model = graph([node], [value("X", ["N", 1], kind)], [value("Y", ["N", 1])], [table])
    models.onnx("gather", model, config("onnxruntime", [tensor("X", [1], "INT64")], [tensor("Y", [1])], 3, QUEUED))
    assert models.load("gather") == ""

    first, bad, last = models.infer_many("gather", [{"X": np.array([[i]], np.int64)} for i in (0, 7, 2)])

    assert (first["Y"].tolist(), last["Y"].tolist()) == ([[10]], [[30]])
    assert isinstance(bad, InferenceServerException)
    assert "onnx runtime error 2:" in bad.message()
    assert bad.status() == "500"


def test_errors_hold_no_path_of_the_server(models: Models) -> None:
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 4])
    node = helper.make_node("Reshape", ["X", "shape"], ["Y"], name="/block.0/Reshape")
    model = graph([node], [value("X", ["N", "W"])], [value("Y", ["M", 4])], [shape])
    models.onnx("reshaping", model, config("onnxruntime", [tensor("X", [-1])], [tensor("Y", [4])]))
    assert models.load("reshaping") == ""

    status, message = models.refusal("reshaping", {"X": np.ones((1, 3), np.float32)})

    assert status == "500"
    assert message.startswith("onnx runtime error 1: Non-zero status code returned while running Reshape node.")
    assert "requested shape:{-1,4}" in message
    assert "Name:'/block.0/Reshape'" in message  # a node's name, not a file's
    assert "/" not in message.replace("'/block.0/Reshape'", "")
    assert logged(models.server, "onnxruntime_src")


def test_an_output_without_a_row_for_each_row(models: Models) -> None:
    """[2, 8] becomes [4, 4]: too many rows are cut. [4, 2] becomes [2, 4]: too few are an error."""
    assert models.infer("reshaping", {"X": np.ones((2, 8), np.float32)})["Y"].shape == (2, 4)

    status, message = models.refusal("reshaping", {"X": np.ones((4, 2), np.float32)})

    assert status == "501"
    assert message == (
        "failed to split the output tensor 'Y' in responses: expected batch size of at least 4 in model output, got 2"
    )


def test_arena_shrinkage_for_a_device_that_is_not_there_fails_each_request(models: Models) -> None:
    model = graph([helper.make_node("Add", ["X", "X"], ["Y"])], [value("X", ["N", 1])], [value("Y", ["N", 1])])
    extra = parameter("memory.enable_memory_arena_shrinkage", "gpu:0")
    models.onnx("shrinking", model, config("onnxruntime", [tensor("X", [1])], [tensor("Y", [1])], extra=extra))
    assert models.load("shrinking") == ""

    assert models.refusal("shrinking", {"X": np.ones((1, 1), np.float32)})[0] == "500"
