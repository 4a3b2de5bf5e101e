"""What a served TorchScript module answers, through the embedded server."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper

from tests.conftest import logged

from .conftest import Models, config, graph, tensor, value

DELAY = "dynamic_batching { max_queue_delay_microseconds: 300000 }"


class Difference(torch.nn.Module):
    """Not commutative: swapped inputs show."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a - b, a + b


class Keyed(torch.nn.Module):
    def forward(self, given: dict[str, torch.Tensor]) -> torch.Tensor:
        return given["left"] - given["right"]


class Shout(torch.nn.Module):
    def forward(self, words: list[str]) -> list[str]:
        return [word.upper() for word in words]


class Listed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x]


class Picky(torch.nn.Module):
    """Fails a run that holds a negative row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x < 0).any()):
            raise ValueError("negative")  # TorchScript keeps the type alone
        return x + 1


class Total(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum().reshape(1, 1)


class Double(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


A, B = np.array([[5, 6]], np.float32), np.array([[1, 2]], np.float32)
ONE = np.array([[1, 2]], np.float32)


@pytest.mark.parametrize(("names", "given"), [
    (("b", "a"), {"a": A, "b": B}),
    (("IN__1", "OTHER__0"), {"OTHER__0": A, "IN__1": B}),
    (("first", "second"), {"second": B, "first": A}),
    (("INPUT__x", "INPUT__0"), {"INPUT__x": A, "INPUT__0": B}),
], ids=["argument", "index", "order", "mixed_is_order"])  # fmt: skip
def test_input_names(models: Models, names: tuple[str, str], given: dict[str, np.ndarray]) -> None:
    name = f"names_{names[0]}"
    outputs = [tensor("SUM__1", [2]), tensor("DIFFERENCE__0", [2])]
    models.torchscript(name, Difference(), config("pytorch", [tensor(key, [2]) for key in names], outputs))
    assert models.load(name) == ""

    answer = models.infer(name, given)

    assert answer["DIFFERENCE__0"].tolist() == [[4, 4]]
    assert answer["SUM__1"].tolist() == [[6, 8]]
    models.client.unload_model(name, headers=models.headers)


def test_outputs_with_free_names_are_in_the_order_of_the_configuration(models: Models) -> None:
    outputs = [tensor("ZED", [2]), tensor("ALPHA", [2])]
    models.torchscript("free", Difference(), config("pytorch", [tensor("a", [2]), tensor("b", [2])], outputs))
    assert models.load("free") == ""

    assert models.infer("free", {"a": A, "b": B})["ZED"].tolist() == [[4, 4]]
    assert list(models.infer("free", {"a": A, "b": B}, ["ALPHA"])) == ["ALPHA"]


def test_a_dictionary_takes_inputs_by_name(models: Models) -> None:
    inputs = [tensor("right", [2]), tensor("left", [2])]
    models.torchscript("keyed", Keyed(), config("pytorch", inputs, [tensor("Y", [2])]))
    assert models.load("keyed") == ""

    assert models.infer("keyed", {"left": A, "right": B})["Y"].tolist() == [[4, 4]]


def test_texts(models: Models) -> None:
    inputs, outputs = [tensor("words", [-1], "STRING")], [tensor("Y", [-1], "STRING")]
    models.torchscript("shout", Shout(), config("pytorch", inputs, outputs, batch=0))
    assert models.load("shout") == ""

    assert models.infer("shout", {"words": np.array(["ab", "c"], np.object_)})["Y"].tolist() == [b"AB", b"C"]


def test_batches_half_precision_and_failing_batch_mates(models: Models) -> None:
    inputs, outputs = [tensor("x", [2], "FP16")], [tensor("Y", [2], "FP16")]
    models.torchscript("picky", Picky(), config("pytorch", inputs, outputs, 8, DELAY))
    assert models.load("picky") == ""
    requests = [{"x": np.full((1, 2), i, np.float16)} for i in (0, 1, -1, 2, 3, 4, 5, 6)]

    answers = models.infer_many("picky", requests)

    for request, answer in zip(requests, answers, strict=True):
        if request["x"][0, 0] >= 0:
            np.testing.assert_array_equal(answer["Y"], request["x"] + 1)
        else:
            assert answer.status() == "500"
            assert answer.message().startswith("PyTorch execute failure: ")
            assert "negative" in answer.message()
            assert "/" not in answer.message()
    assert logged(models.server, "Traceback of TorchScript")
    before = models.statistics("picky")["execution_count"]
    models.infer_many("picky", [request for request in requests if request["x"][0, 0] >= 0])
    assert models.statistics("picky")["execution_count"] - before <= 4


@pytest.mark.parametrize(
    ("name", "module", "output", "status", "words"),
    [
        (
            "mismatch",
            Double(),
            tensor("Y", [2], "FP16"),
            "400",
            "configuration expects datatype TYPE_FP16 for output 'Y', model provides TYPE_FP32",
        ),
        (
            "no_index",
            Double(),
            tensor("Y__1", [2]),
            "400",
            "The output Y__1 in the model configuration refers to an output index which doesn't exist. "
            "This model has 1 outputs",
        ),
        (
            "listed",
            Listed(),
            tensor("Y", [2]),
            "500",
            "PyTorch execute failure: output must be of type Tensor or List[str], received List[Tensor]",
        ),
    ],
)
def test_results_that_do_not_fit(
    models: Models, name: str, module: torch.nn.Module, output: str, status: str, words: str
) -> None:
    models.torchscript(name, module, config("pytorch", [tensor("x", [2])], [output]))
    assert models.load(name) == ""

    assert models.refusal(name, {"x": ONE}) == (status, words)
    models.client.unload_model(name, headers=models.headers)


def test_a_result_that_loses_the_batch(models: Models) -> None:
    models.torchscript("total", Total(), config("pytorch", [tensor("x", [2])], [tensor("Y", [1])]))
    assert models.load("total") == ""

    assert models.infer("total", {"x": ONE})["Y"].tolist() == [[3]]
    status, message = models.refusal("total", {"x": np.ones((3, 2), np.float32)})
    assert status == "501"
    assert "expected batch size of at least 3 in model output, got 1" in message


def test_an_ensemble_of_both_backends(models: Models) -> None:
    adding = graph([helper.make_node("Add", ["X", "X"], ["Y"])], [value("X", ["N", 2])], [value("Y", ["N", 2])])
    models.onnx("step_onnx", adding, config("onnxruntime", [tensor("X", [2])], [tensor("Y", [2])]))
    models.torchscript("step_torch", Double(), config("pytorch", [tensor("x", [2])], [tensor("Y", [2])]))
    models.version(
        "both",
        """
platform: "ensemble"
max_batch_size: 8
input [{ name: "IN" data_type: TYPE_FP32 dims: [ 2 ] }]
output [{ name: "OUT" data_type: TYPE_FP32 dims: [ 2 ] }]
ensemble_scheduling { step [
  { model_name: "step_onnx" model_version: -1
    input_map { key: "X" value: "IN" } output_map { key: "Y" value: "mid" } },
  { model_name: "step_torch" model_version: -1
    input_map { key: "x" value: "mid" } output_map { key: "Y" value: "OUT" } }
] }
""",
    )
    assert models.load("both") == ""

    np.testing.assert_array_equal(models.infer("both", {"IN": A})["OUT"], A * 4)
