"""A configuration without inputs or outputs is completed from the model file, as by the C++ backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from atelier.serving.backends.config import LoadError
from atelier.serving.backends.onnx_complete import complete

from .conftest import Models, graph, value

AXES = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
BATCHED = graph(
    [helper.make_node("Add", ["X", "X"], ["Y"]), helper.make_node("ReduceSum", ["X", "axes"], ["ROWS"], keepdims=0)],
    [value("X", ["N", "W"])],
    [value("Y", ["N", "W"]), value("ROWS", ["N"])],
    [AXES],
)
FIXED = graph([helper.make_node("Add", ["X", "X"], ["Y"])], [value("X", [1, 4])], [value("Y", [1, 4])])
X = {"name": "X", "data_type": "TYPE_FP32", "dims": [-1]}
Y = {"name": "Y", "data_type": "TYPE_FP32", "dims": [-1]}
ROWS = {"name": "ROWS", "data_type": "TYPE_FP32", "dims": [1], "reshape": {"shape": []}}


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log_info(self, message: str) -> None:
        self.lines.append(message)

    log_warn = log_info


def completed(folder: Path, model: onnx.ModelProto, **given: Any) -> dict[str, Any]:
    onnx.save(model, folder / "model.onnx")
    text: dict[str, Any] = {"name": "m", "max_batch_size": 0, "input": [], "output": [], **given}
    complete(text, folder, Log())
    return text


def test_batching_is_found(tmp_path: Path) -> None:
    done = completed(tmp_path, BATCHED)

    assert (done["input"], done["output"]) == ([X], [ROWS, Y])
    assert (done["max_batch_size"], done["dynamic_batching"]) == (4, {})


def test_a_batch_size_is_kept(tmp_path: Path) -> None:
    assert completed(tmp_path, BATCHED, max_batch_size=16)["max_batch_size"] == 16


def test_only_what_is_missing_is_filled(tmp_path: Path) -> None:
    done = completed(tmp_path, BATCHED, output=[Y])

    assert (done["input"], done["output"]) == ([X], [Y])


def test_no_batching_where_a_first_dimension_is_fixed(tmp_path: Path) -> None:
    done = completed(tmp_path, FIXED)

    assert (done["max_batch_size"], done["input"][0]["dims"]) == (0, [1, 4])
    assert "dynamic_batching" not in done


def test_a_batch_size_for_a_model_that_does_not_batch(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="autofill failed for model 'm': model does not support"):
        completed(tmp_path, FIXED, max_batch_size=8)


def test_a_full_configuration_is_left_alone(tmp_path: Path) -> None:
    done = completed(tmp_path, BATCHED, input=[X], output=[Y])

    assert (done["max_batch_size"], "dynamic_batching" in done) == (0, False)


def test_the_server_takes_the_completed_configuration(completing: Models) -> None:
    completing.onnx("bare", BATCHED, 'backend: "onnxruntime"')
    assert completing.load("bare") == ""

    text = completing.client.get_model_config("bare")
    answer = completing.infer("bare", {"X": np.array([[1, 2], [3, 4]], np.float32)})

    assert text["max_batch_size"] == 4
    assert "dynamic_batching" in text
    assert [entry["name"] for entry in text["output"]] == ["ROWS", "Y"]
    assert (answer["ROWS"].tolist(), answer["Y"].tolist()) == ([[3], [7]], [[2, 4], [6, 8]])


def test_the_server_says_why_a_configuration_cannot_be_completed(completing: Models) -> None:
    completing.onnx("bare_fixed", FIXED, 'backend: "onnxruntime" max_batch_size: 8')

    assert "model does not support batching while non-zero max_batch_size" in completing.load("bare_fixed")
