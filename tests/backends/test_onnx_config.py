"""Configurations that the C++ ONNX Runtime backend refuses at load are refused here, in its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import pytest
from onnx import TensorProto, helper

from tests.conftest import logged

from .conftest import Models, config, graph, parameter, tensor, value

N = "N"
FLOAT16 = TensorProto.FLOAT16


def doubled(shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    return graph([helper.make_node("Add", ["X", "X"], ["Y"])], [value("X", shape, kind)], [value("Y", shape, kind)])


DYNAMIC = doubled([N, 3, "H", "W"])
FIXED = doubled([N, 3, 8, 8])
UNBATCHED = doubled([1, 3, 8, 8])
HALF = doubled([N, 4], kind=FLOAT16)
TWO = graph(
    [helper.make_node("Add", ["A", "B"], ["Y"]), helper.make_node("Sub", ["A", "B"], ["Z"])],
    [value("A", [N, 2]), value("B", [N, 2])],
    [value("Y", [N, 2]), value("Z", [N, 2])],
)
ROWS = graph(
    [helper.make_node("ReduceSum", ["X", "axes"], ["Y"], keepdims=0)],
    [value("X", [N, 4])],
    [value("Y", [N])],
    [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
)
TOTAL = graph([helper.make_node("ReduceSum", ["X"], ["Y"])], [value("X", [N, 4])], [value("Y", [1, 1])])
OPTIONAL = graph(
    [helper.make_node("Mul", ["X", "SCALE"], ["Y"])],
    [value("X", [4]), value("SCALE", [1])],
    [value("Y", [4])],
    [helper.make_tensor("SCALE", TensorProto.FLOAT, [1], [3.0])],
)
SEQUENCE = graph(
    [helper.make_node("SequenceConstruct", ["X"], ["Y"])],
    [value("X", [N, 4])],
    [helper.make_tensor_sequence_value_info("Y", TensorProto.FLOAT, None)],
)
FLAT = doubled([N])

X = tensor("X", [3, -1, -1])
Y = tensor("Y", [3, -1, -1])
X8, Y8 = tensor("X", [3, 8, 8]), tensor("Y", [3, 8, 8])
X4, Y4 = tensor("X", [4]), tensor("Y", [4])
BATCH1 = [tensor("X", [1, 3, 8, 8])], [tensor("Y", [1, 3, 8, 8])]
LOADS = ""
COUNTS = 'batch_input [{ kind: BATCH_ELEMENT_COUNT target_name: "C" data_type: TYPE_FP32 source_input: "X" }]'


@dataclass(frozen=True)
class Case:
    name: str
    model: onnx.ModelProto
    inputs: list[str]
    outputs: list[str]
    words: str = LOADS
    batch: int = 8
    extra: str = ""


def with_parameter(name: str, key: str, text: str, words: str = LOADS) -> Case:
    return Case(name, DYNAMIC, [X], [Y], words, extra=parameter(key, text))


def accelerator(kind: str, name: str) -> str:
    return f'optimization {{ execution_accelerators {{ {kind}_execution_accelerator: [ {{ name: "{name}" }} ] }} }}'


CASES = [
    Case("exact", DYNAMIC, [X], [Y]),
    Case("input_fixed", DYNAMIC, [X8], [Y]),
    Case("input_dynamic", FIXED, [X], [Y8], "the model expects 4 dimensions (shape [-1,3,8,8]) but the model config"),
    Case(
        "output_fixed", DYNAMIC, [X], [Y8], "the model expects 4 dimensions (shape [-1,3,-1,-1]) but the model config"
    ),
    Case("output_dynamic", FIXED, [X8], [Y], "complete shape [-1,3,-1,-1])"),
    Case("rank", DYNAMIC, [tensor("X", [3, -1])], [Y], "specifies 3 dimensions (an initial batch dimension because"),
    Case("rank_unbatched", UNBATCHED, [X8], [Y8], "specifies 3 dimensions (shape [3,8,8])", batch=0),
    Case(
        "no_batch_dim", UNBATCHED, [X8], [Y8], "for the model to support batching the shape should have at least 1 dim"
    ),
    Case("no_batch_dim_1", UNBATCHED, [X8], [Y8], "the first dimension must be -1; but shape expected by", batch=1),
    Case("no_batch_dim_0", UNBATCHED, *BATCH1, batch=0),
    Case(
        "output_not_batched", TOTAL, [X4], [tensor("Y", [1])], "the first dimension must be -1; but shape expected by"
    ),
    Case(
        "input_name",
        DYNAMIC,
        [tensor("image", [3, -1, -1])],
        [Y],
        "unexpected inference input 'image', allowed inputs are: X",
    ),
    Case(
        "output_name",
        DYNAMIC,
        [X],
        [tensor("result", [3, 8, 8])],
        "unexpected inference output 'result', allowed outputs are: Y",
    ),
    Case("extra_input", DYNAMIC, [X, X8.replace("X", "Q")], [Y], "configuration expects 2 inputs, model provides 1"),
    Case(
        "missing_input", TWO, [tensor("A", [2])], [tensor("Y", [2])], "configuration expects 1 inputs, model provides 2"
    ),
    Case("output_subset", TWO, [tensor("A", [2]), tensor("B", [2])], [tensor("Z", [2])]),
    Case(
        "input_type",
        DYNAMIC,
        [X.replace("FP32", "FP16")],
        [Y],
        "configuration expects datatype TYPE_FP16 for input 'X', model provides TYPE_FP32",
    ),
    Case(
        "output_type",
        HALF,
        [X4.replace("FP32", "FP16")],
        [Y4],
        "configuration expects datatype TYPE_FP32 for output 'Y', model provides TYPE_FP16",
    ),
    Case("half", HALF, [X4.replace("FP32", "FP16")], [Y4.replace("FP32", "FP16")]),
    Case("bf16", DYNAMIC, [X.replace("FP32", "BF16")], [Y], "unsupported datatype TYPE_BF16 for input 'X'"),
    Case(
        "optional_batched",
        DYNAMIC,
        [tensor("X", [3, -1, -1], extra="optional: true")],
        [Y],
        "configuration expects 0 inputs",
    ),
    Case("optional", OPTIONAL, [X4, tensor("SCALE", [1], extra="optional: true")], [Y4], batch=0),
    Case(
        "optional_with_batch",
        OPTIONAL,
        [tensor("SCALE", [1], extra="optional: true"), X4],
        [Y4],
        "optional input 'SCALE' is not supported for models that support batching",
        batch=2,
    ),
    Case(
        "ragged",
        DYNAMIC,
        [tensor("X", [3, -1, -1], extra="allow_ragged_batch: true")],
        [Y],
        "with shape [-1] for ragged input 'X', model provides [-1,3,-1,-1]",
    ),
    Case(
        "ragged_flat",
        FLAT,
        [tensor("X", [1], extra="allow_ragged_batch: true")],
        [tensor("Y", [1], extra="reshape { shape: [] }")],
        "needs the C++ backend",
    ),
    Case("rows_unreshaped", ROWS, [X4], [tensor("Y", [1])], "the model expects 1 dimensions (shape [-1])"),
    Case("rows", ROWS, [X4], [tensor("Y", [1], extra="reshape { shape: [] }")]),
    Case(
        "sequence_output",
        SEQUENCE,
        [X4],
        [Y4],
        "Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE' for I/O 'Y', expected 'ONNX_TYPE_TENSOR'.",
    ),
    Case("batch_input", DYNAMIC, [X], [Y], "'batch_input' needs the C++ backend", extra=COUNTS),
    Case(
        "cpu_accelerator",
        DYNAMIC,
        [X],
        [Y],
        "unknown Execution Accelerator 'openvino' is requested",
        extra=accelerator("cpu", "openvino"),
    ),
    Case("gpu_accelerator", DYNAMIC, [X], [Y], extra=accelerator("gpu", "anything")),
    Case("graph_level", DYNAMIC, [X], [Y], extra="optimization { graph { level: 7 } }"),
    with_parameter("intra_junk", "intra_op_thread_count", "many", "failed to convert 'many' to integral number"),
    with_parameter("intra", "intra_op_thread_count", "1"),
    with_parameter("inter_junk", "inter_op_thread_count", "", "failed to convert '' to integral number"),
    with_parameter("mode_2", "execution_mode", "2", "Expected values for execution_mode are 0 or 1 but got 2"),
    with_parameter("mode_1", "execution_mode", "1"),
    with_parameter("arena_junk", "enable_mem_arena", "yes", "failed to convert 'yes' to boolean"),
    with_parameter("pattern_junk", "enable_mem_pattern", "2", "failed to convert '2' to boolean"),
    with_parameter("arena_off", "enable_mem_arena", "0"),
    with_parameter("shrinkage", "memory.enable_memory_arena_shrinkage", "cpu:0"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_load(models: Models, case: Case) -> None:
    name = f"onnx_{case.name}"
    models.onnx(name, case.model, config("onnxruntime", case.inputs, case.outputs, case.batch, case.extra))

    reason = models.load(name)

    assert case.words in reason
    assert bool(case.words) == bool(reason), reason
    if not reason:
        models.client.unload_model(name, headers=models.headers)


def test_what_is_ignored_is_named_in_the_log(models: Models) -> None:
    extra = parameter("no_such_key", "1") + parameter("gpu_mem_limit", "1") + accelerator("gpu", "tensorrt")
    models.onnx("onnx_ignored", DYNAMIC, config("onnxruntime", [X], [Y], extra=extra))

    assert models.load("onnx_ignored") == ""

    for ignored in ("parameter 'no_such_key' is ignored", "'gpu_mem_limit' is ignored", "'tensorrt' is ignored"):
        assert logged(models.server, ignored)


def test_a_missing_file_is_named(models: Models) -> None:
    models.version("onnx_missing", config("onnxruntime", [X], [Y]))

    assert "failed to stat file" in models.load("onnx_missing")


def test_junk_is_no_model(models: Models) -> None:
    (models.version("onnx_junk", config("onnxruntime", [X], [Y])) / "model.onnx").write_bytes(b"junk")

    assert "onnx runtime error 7:" in models.load("onnx_junk")


@pytest.mark.parametrize(
    ("name", "file", "extra"),
    [
        ("onnx_folder", "model.onnx/model.onnx", ""),
        ("onnx_renamed", "deep/net.onnx", 'default_model_filename: "deep/net.onnx"'),
    ],
)
def test_file_names(models: Models, name: str, file: str, extra: str) -> None:
    models.onnx(name, DYNAMIC, config("onnxruntime", [X], [Y], extra=extra), file)

    assert models.load(name) == ""


def test_platform_alone_is_enough(models: Models) -> None:
    text = config("onnxruntime", [X], [Y]).replace('backend: "onnxruntime"', 'platform: "onnxruntime_onnx"')
    models.onnx("onnx_platform", DYNAMIC, text)

    assert models.load("onnx_platform") == ""
