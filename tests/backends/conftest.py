"""One embedded server for all tests of the backends, and models made in the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import tritonclient.http as client
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from atelier.access import HTTP_HEADER
from atelier.serving import embedded
from atelier.serving.launcher import Server
from tests.conftest import served, server_options

ROOT = Path(__file__).resolve().parents[2]

Shape = Sequence[int | str | None] | None

ONE_INSTANCE = "instance_group [{ count: 1 kind: KIND_CPU }]"


def value(name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def graph(
    nodes: Iterable[onnx.NodeProto],
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
    initializers: Iterable[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    made = helper.make_graph(list(nodes), "test", list(inputs), list(outputs), list(initializers))
    return helper.make_model(made, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def tensor(name: str, dims: Sequence[int], kind: str = "FP32", extra: str = "") -> str:
    return f'{{ name: "{name}" data_type: TYPE_{kind} dims: [ {", ".join(map(str, dims))} ] {extra} }}'


def config(backend: str, inputs: Sequence[str], outputs: Sequence[str], batch: int = 8, extra: str = "") -> str:
    return (
        f'backend: "{backend}"\nmax_batch_size: {batch}\n{extra}\n{ONE_INSTANCE}\n'
        f"input [ {', '.join(inputs)} ]\noutput [ {', '.join(outputs)} ]\n"
    )


def parameter(key: str, text: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{text}" }} }}\n'


class Models:
    """A repository under test, and the server that has it."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        self.url = server.http_url.removeprefix("http://")
        self.headers = {HTTP_HEADER: server.options.admin_key}
        self.client = client.InferenceServerClient(self.url, concurrency=16, network_timeout=300)

    def version(self, name: str, text: str) -> Path:
        """Write the configuration; returns the version's folder for the artefact."""
        version = self.folder / name / "1"
        version.mkdir(parents=True, exist_ok=True)
        (self.folder / name / "config.pbtxt").write_text(text)
        return version

    def onnx(self, name: str, model: onnx.ModelProto, text: str, file: str = "model.onnx") -> None:
        path = self.version(name, text) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)

    def torchscript(self, name: str, module: torch.nn.Module, text: str) -> None:
        torch.jit.script(module).save(str(self.version(name, text) / "model.pt"))

    def load(self, name: str) -> str:
        """Load a model; returns why it did not load, in one line, or nothing."""
        try:
            self.client.load_model(name, headers=self.headers)
        except InferenceServerException as error:
            assert error.status() == "400"
            return str(error.message()).split("\n\nAt:")[0]
        return ""

    def infer(
        self, name: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Ask; the answer keeps the response's order."""
        return _arrays(self.client.infer(name, _given(inputs), outputs=_wanted(outputs)))

    def infer_many(self, name: str, requests: Sequence[Mapping[str, np.ndarray]]) -> list[Any]:
        """Ask all at once; an answer or an exception for each."""
        answers: list[Any] = []
        for pending in [self.client.async_infer(name, _given(inputs)) for inputs in requests]:
            try:
                answers.append(_arrays(pending.get_result()))
            except InferenceServerException as error:
                answers.append(error)
        return answers

    def refusal(self, name: str, inputs: Mapping[str, np.ndarray]) -> tuple[str, str]:
        """Ask for what must fail; returns the HTTP status and the message."""
        with pytest.raises(InferenceServerException) as caught:
            self.infer(name, inputs)
        return str(caught.value.status()), str(caught.value.message())

    def statistics(self, name: str) -> dict[str, Any]:
        return dict(self.client.get_inference_statistics(name, headers=self.headers)["model_stats"][0])


def _given(inputs: Mapping[str, np.ndarray]) -> list[client.InferInput]:
    given = []
    for name, array in inputs.items():
        given.append(client.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        given[-1].set_data_from_numpy(array)
    return given


def _wanted(outputs: Sequence[str] | None) -> list[client.InferRequestedOutput] | None:
    return None if outputs is None else [client.InferRequestedOutput(name) for name in outputs]


def _arrays(answer: client.InferResult) -> dict[str, np.ndarray]:
    return {entry["name"]: answer.as_numpy(entry["name"]) for entry in answer.get_response()["outputs"]}


@pytest.fixture(scope="module")
def completing(launch: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """A server that completes configurations. The launcher's own never does: it gets one as a foreign program."""
    folder = tmp_path_factory.mktemp("completing")
    own = embedded.locate()
    own.assemble_backends(folder / "backends", ROOT / "backends")
    program = folder / "tritonserver"
    program.write_text(
        "#!/bin/bash\n"
        f"export LD_LIBRARY_PATH={own.environment()['LD_LIBRARY_PATH']} PATH={own.environment()['PATH']}\n"
        f'exec {own.binary} "${{@/--disable-auto-complete-config/--backend-directory={folder}/backends}}"\n'
    )
    program.chmod(0o755)
    (folder / "models").mkdir()
    made = Models(folder / "models", launch(folder / "models", binary=program))
    yield made
    made.client.close()


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    folder = tmp_path_factory.mktemp("backends")
    with served(server_options(folder)) as server:
        made = Models(folder, server)
        yield made
        made.client.close()
